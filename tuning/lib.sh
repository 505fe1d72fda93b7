# shellcheck shell=bash
# What apply, check and undo share: the table, sets of CPUs, and how a setting stands.
# Sourced, never run.

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
table=$folder/settings
root=''
# Read by apply and undo.
export state=/var/lib/pinion/tuning
profile=latency
only=''
shards=''
house=''

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 64
}

# --- sets of CPUs ---------------------------------------------------------------------------------

# `0-2,5` as one number per line.
cpus_of() {
    local part parts
    IFS=, read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        [[ $part =~ ^[0-9]+(-[0-9]+)?$ ]] || return 1
        seq "${part%-*}" "${part#*-}"
    done
}

# Numbers, one per line, as `0-2,5`.
list_of() {
    sort -nu | awk '
        NR > 1 && $1 == last + 1 { last = $1; next }
        NR > 1 { printf "%s%s", sep, (first == last ? first : first "-" last); sep = "," }
        { first = last = $1 }
        END { if (NR) printf "%s%s", sep, (first == last ? first : first "-" last) }'
}

# `0-2,5` as the kernel's hexadecimal mask, in words of 32 CPUs.
mask_of() {
    local cpu word words=() most=0 text=''
    for cpu in $(cpus_of "$1"); do
        word=$((cpu / 32))
        words[word]=$((${words[word]:-0} | 1 << (cpu % 32)))
        ((word > most)) && most=$word
    done
    for ((word = most; word >= 0; word--)); do
        if [[ -z $text ]]; then
            printf -v text '%x' "${words[word]:-0}"
        else
            printf -v text '%s,%08x' "$text" "${words[word]:-0}"
        fi
    done
    printf '%s' "$text"
}

# A mask as `0-2,5`.
list_of_mask() {
    local words word bit number base
    IFS=, read -ra words <<<"$1"
    for ((number = 0; number < ${#words[@]}; number++)); do
        word=$((16#${words[number]}))
        base=$(((${#words[@]} - 1 - number) * 32))
        for ((bit = 0; bit < 32; bit++)); do
            ((word >> bit & 1)) && echo $((base + bit))
        done
    done | list_of
}

is_subset() {
    [[ -z $(comm -23 <(cpus_of "$1" | sort) <(cpus_of "$2" | sort)) ]]
}

# Which CPUs belong to shards and which to the rest. Without --cpus: those that the kernel has set
# aside, or all but the first where there are more than two.
split_cpus() {
    local online
    online=$(read_first "$root/sys/devices/system/cpu/online") || online=0
    if [[ -z $shards ]]; then
        shards=$(read_first "$root/sys/devices/system/cpu/isolated") || shards=''
    fi
    if [[ -z $shards ]] && (($(cpus_of "$online" | wc -l) > 2)); then
        shards=$(cpus_of "$online" | tail -n +2 | list_of)
    fi
    [[ -n $shards ]] || return 0
    cpus_of "$shards" >/dev/null || fail "--cpus: not a set of CPUs: $shards"
    is_subset "$shards" "$online" || fail "--cpus: $shards is more than what is online: $online"
    house=$(comm -23 <(cpus_of "$online" | sort) <(cpus_of "$shards" | sort) | list_of)
    [[ -n $house ]] || fail '--cpus: none is left for everything else'
}

# --- the table ------------------------------------------------------------------------------------

# Calls `$1 name area for kind at want why undo` for each setting that is wanted.
each_setting() {
    local call=$1 line key
    local -A row=()
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line == '#'* ]]; then
            continue
        elif [[ -n $line ]]; then
            key=${line%%:*}
            row[$key]=${line#"$key: "}
        elif ((${#row[@]})); then
            offer "$call"
            row=()
        fi
    done <"$table"
    if ((${#row[@]})); then
        offer "$call"
    fi
}

# Part of each_setting: passes on what profile and --only want.
offer() {
    if [[ -n $only ]]; then
        [[ ,$only, == *",${row[name]},"* ]] || return 0
    else
        [[ ${row[for]} == both || ${row[for]} == "$profile" ]] || return 0
    fi
    local at=${row[at]} want=${row[want]} cpu places=() place
    if [[ $at$want == *'{'* && -z $shards ]]; then
        left_out "${row[name]}" 'needs --cpus: too few CPUs to set some aside'
        return
    fi
    if [[ ${row[kind]} == boot ]]; then
        at=${at//'{shards}'/$shards}
    fi
    want=${want//'{shards}'/$shards}
    want=${want//'{house}'/$house}
    case ${row[kind]} in
        sysctl) places=("/proc/sys/${at//.//}") ;;
        file)
            if [[ $at == *'{shards}'* ]]; then
                for cpu in $(cpus_of "$shards"); do
                    places+=("${at//'{shards}'/$cpu}")
                done
            else
                while IFS= read -r place; do
                    places+=("${place#"$root"}")
                done < <(compgen -G "$root$at" | sort -V)
            fi
            ;;
        *) places=("$at") ;;
    esac
    local found=0
    for place in "${places[@]}"; do
        if [[ ${row[kind]} == file || ${row[kind]} == sysctl ]]; then
            [[ -e $root$place ]] || continue
        fi
        found=1
        "$call" "${row[name]}" "${row[kind]}" "$place" "$want" "${row[why]}" "${row[undo]}"
    done
    if ((!found)); then
        left_out "${row[name]}" 'this machine has no such knob'
    fi
}

left_out() {
    printf '  %-20s left out: %s\n' "$1" "$2"
}

# --- how a setting stands -------------------------------------------------------------------------

# The first line, without blanks at its ends. Fails if it cannot be read.
read_first() {
    local text=''
    [[ -r $1 ]] || return 1
    { IFS= read -r text <"$1" || [[ -n $text ]]; } 2>/dev/null || return 1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}

# What a place says now: the text that would be written to have it again.
present() {
    local kind=$1 place=$2 want=$3 text
    case $kind in
        boot)
            text=$(read_first "$root/proc/cmdline") || return 1
            # The last word of that name counts.
            text=$(tr ' ' '\n' <<<"$text" | grep "^${place%%=*}=" | tail -n 1) || text=''
            ;;
        service)
            if [[ -n $root ]]; then
                text=$(read_first "$root/run/services/$place") || text=inactive
            elif [[ ! -d /run/systemd/system ]]; then
                text=inactive
            else
                text=$(systemctl is-active "$place" 2>/dev/null) || text=${text:-inactive}
                [[ $text == active ]] || text=inactive
            fi
            ;;
        limit) text=$(limit_of "$place") || return 1 ;;
        *)
            text=$(read_first "$root$place") || return 1
            if [[ $text == *'['*']'* ]]; then
                text=${text#*'['}
                text=${text%%']'*}
            fi
            ;;
    esac
    printf '%s' "$text"
}

# The limit that our file sets, or that of this shell.
limit_of() {
    local file=$root/etc/security/limits.d/90-pinion.conf value
    value=$(awk -v item="$1" '$2 == "hard" && $3 == item { print $4 }' "$file" 2>/dev/null)
    if [[ -n $value && $1 == memlock ]]; then
        value=$((value * 1024))
    elif [[ -z $value && $1 == memlock ]]; then
        value=$(ulimit -H -l)
        [[ $value == unlimited ]] || value=$((value * 1024))
    elif [[ -z $value ]]; then
        value=$(ulimit -H -n)
    fi
    printf '%s' "$value"
}

# Is `$1` what `$2` asks for?
fits() {
    local now=$1 verb=${2%% *} value=${2#* } choice
    case $verb in
        '=' | pick) [[ $now == "$value" ]] ;;
        '>=') [[ $now == unlimited ]] || { [[ $now =~ ^-?[0-9]+$ ]] && ((now >= value)); } ;;
        '<=') [[ $now =~ ^-?[0-9]+$ ]] && ((now <= value)) ;;
        any)
            for choice in $value; do
                [[ $now == "$choice" ]] && return 0
            done
            return 1
            ;;
        list) [[ $(as_list "$now") == "$(cpus_of "$value" | list_of)" ]] ;;
        within) [[ -n $now ]] && is_subset "$now" "$value" ;;
        has) [[ " $now " == *"=$value "* || " $now " == *",$value "* ]] ;;
        *) fail "the table has no such verb: $verb" ;;
    esac
}

# CPUs as the kernel shows them: `0-1` in *_list and sysctl files, `3` or `ff,ffffffff` in masks.
as_list() {
    case $place in
        *cpumask | *_cpus | *smp_affinity)
            if [[ $place == /proc/sys/* ]]; then printf '%s' "$1"; else list_of_mask "$1"; fi
            ;;
        *) printf '%s' "$1" ;;
    esac
}

# What to write so that it fits.
value_for() {
    local verb=${1%% *} value=${1#* } place=$2
    case $verb in
        any) printf '%s' "${value%% *}" ;;
        list)
            case $place in
                /proc/sys/*) printf '%s' "$value" ;;
                *) mask_of "$value" ;;
            esac
            ;;
        *) printf '%s' "$value" ;;
    esac
}

# --- options --------------------------------------------------------------------------------------

common_option() {
    case $1 in
        --profile)
            profile=${2:-}
            [[ $profile == latency || $profile == throughput ]] \
                || fail '--profile takes latency or throughput'
            ;;
        --cpus) shards=${2:-} ;;
        --only) only=${2:-} ;;
        --root) root=${2%/} ;;
        --state) state=${2:-} ;;
        *) return 1 ;;
    esac
    [[ $# -ge 2 ]] || fail "$1 needs a value"
}

check_only() {
    local name
    for name in ${only//,/ }; do
        grep -qx "name: $name" "$table" || fail "--only: no such setting: $name"
    done
}
