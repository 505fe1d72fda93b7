# shellcheck shell=bash
# What the scripts here share: where things are, and how files get into a package.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The one version there is.
# shellcheck disable=SC2034  # whoever reads this file uses it
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")

# Everything in a package bears the time of the commit, so that the same sources make the same bytes.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)
fi
export SOURCE_DATE_EPOCH

# The newest symbol of the C library that a program needs, as a version.
glibc_of() {
    objdump -T "$1" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1
}

# put MODE SOURCE TARGET: one file, with the folders above it.
put() {
    install -D -m "$1" "$2" "$3"
}

# put_texts BINARY FOLDER: what the program says about itself, for manuals and shells.
put_texts() {
    mkdir -p "$2"
    "$1" man >"$2/pinion.1"
    "$1" completions bash >"$2/pinion.bash"
    "$1" completions zsh >"$2/_pinion"
    "$1" completions fish >"$2/pinion.fish"
}

# put_tuning FOLDER: the host's settings, and what applies them.
put_tuning() {
    local script
    for script in apply check undo; do
        put 755 "$root/tuning/$script" "$1/$script"
    done
    put 644 "$root/tuning/lib.sh" "$1/lib.sh"
    put 644 "$root/tuning/settings" "$1/settings"
}

# put_program BINARY TARGET: without what only a debugger reads; names for backtraces stay.
put_program() {
    put 755 "$1" "$2"
    strip --strip-debug "$2"
}
