//! A host as its files show it: how each setting stands there.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::table::{Kind, Setting};

/// CPUs by number.
pub(super) type Cpus = BTreeSet<usize>;

/// A host, or in tests a folder that looks like one.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
    /// The CPUs of the shards; empty if none can be set aside.
    pub(super) shards: Cpus,
    /// All others.
    pub(super) house: Cpus,
}

/// How one place of a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// As wanted.
    Good,
    /// Not as wanted; what it is.
    Differs(String),
    /// There, but not to be read by this user.
    Unseen,
}

impl Host {
    /// Looks at the host below `root` (`/`). Without a set of CPUs for the shards, those that the
    /// kernel has set aside, or all but the first where there are more than two.
    pub(super) fn new(root: &Path, shards: Option<&str>) -> Result<Self, String> {
        let mut host = Self { root: root.to_owned(), shards: Cpus::new(), house: Cpus::new() };
        let online = host.cpus("sys/devices/system/cpu/online");
        host.shards = match shards {
            Some(list) => {
                let chosen = parse_list(list);
                let chosen = chosen.filter(|chosen| !chosen.is_empty());
                chosen.ok_or_else(|| format!("--cpus: not a set of CPUs: {list}"))?
            }
            None => host.cpus("sys/devices/system/cpu/isolated"),
        };
        if host.shards.is_empty() && online.len() > 2 {
            host.shards = online.iter().copied().skip(1).collect();
        }
        if !host.shards.is_subset(&online) {
            let (shards, online) = (list_text(&host.shards), list_text(&online));
            return Err(format!("--cpus: {shards} is more than what is online: {online}"));
        }
        host.house = online.difference(&host.shards).copied().collect();
        Ok(host)
    }

    fn cpus(&self, path: &str) -> Cpus {
        let text = fs::read_to_string(self.root.join(path)).unwrap_or_default();
        parse_list(text.trim()).unwrap_or_default()
    }

    /// A file's text below the root, without blanks at its ends.
    pub(super) fn read(&self, path: &str) -> std::io::Result<String> {
        let text = fs::read_to_string(self.root.join(path.trim_start_matches('/')))?;
        Ok(text.trim().to_owned())
    }

    /// Does a hypervisor run this host?
    pub(super) fn is_virtual(&self) -> bool {
        let flags = self.read("/proc/cpuinfo").unwrap_or_default();
        flags.lines().any(|line| line.starts_with("flags") && line.ends_with("hypervisor"))
            || flags.split_whitespace().any(|word| word == "hypervisor")
    }

    /// Is there another CPU for what is kept off the shards'?
    pub(super) fn can_place(&self, setting: &Setting) -> bool {
        let needs = setting.at.contains('{') || setting.want.contains('{');
        !needs || (!self.shards.is_empty() && !self.house.is_empty())
    }

    /// The wanted value with this host's CPUs.
    pub(super) fn wanted(&self, setting: &Setting) -> String {
        self.fill(setting.want)
    }

    /// A template of the table with this host's CPUs.
    pub(super) fn fill(&self, template: &str) -> String {
        let filled = template.replace("{shards}", &list_text(&self.shards));
        filled.replace("{house}", &list_text(&self.house))
    }

    /// The places of a setting on this host; none if it has no such knob.
    pub(super) fn places(&self, setting: &Setting) -> Vec<String> {
        match setting.kind {
            Kind::Boot => vec![self.fill(setting.at)],
            Kind::Service | Kind::Limit => vec![setting.at.to_owned()],
            Kind::Sysctl => {
                self.existing(vec![format!("/proc/sys/{}", setting.at.replace('.', "/"))])
            }
            Kind::File if setting.at.contains("{shards}") => {
                let each = self.shards.iter();
                let paths = each.map(|cpu| setting.at.replace("{shards}", &cpu.to_string()));
                self.existing(paths.collect())
            }
            Kind::File => self.existing(self.glob(setting.at)),
        }
    }

    fn existing(&self, mut paths: Vec<String>) -> Vec<String> {
        paths.retain(|path| self.root.join(path.trim_start_matches('/')).exists());
        paths
    }

    /// The paths that a pattern with `*` inside names stands for.
    fn glob(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for name in pattern.split('/').skip(1) {
            let mut next = Vec::new();
            for folder in &found {
                if !name.contains('*') {
                    next.push(format!("{folder}/{name}"));
                    continue;
                }
                let entries = fs::read_dir(self.root.join(folder.trim_start_matches('/')));
                let mut names: Vec<String> = entries
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|entry| is_match(name, entry))
                    .collect();
                names.sort_by_key(|name| (name.len(), name.clone()));
                next.extend(names.iter().map(|name| format!("{folder}/{name}")));
            }
            found = next;
        }
        found
    }

    /// How one place stands.
    pub(super) fn standing(&self, setting: &Setting, place: &str) -> Standing {
        let now = match setting.kind {
            Kind::Boot => Ok(self.boot_word(place)),
            Kind::Service => Ok(self.service(place)),
            Kind::Limit => Ok(limit(place)),
            Kind::Sysctl | Kind::File => self.read(place).map(|text| {
                // A file of choices has the present one in brackets.
                let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                inside.map_or(text.clone(), |(chosen, _)| chosen.to_owned())
            }),
        };
        match now {
            Ok(now) if fits(&now, &self.wanted(setting), place) => Standing::Good,
            Ok(now) => Standing::Differs(now),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Standing::Unseen,
            Err(_) => Standing::Differs(String::new()),
        }
    }

    /// The last word of that name on the kernel's command line.
    fn boot_word(&self, word: &str) -> String {
        let name = word.split('=').next().unwrap_or_default();
        let line = self.read("/proc/cmdline").unwrap_or_default();
        let mut words = line.split_whitespace().rev();
        let found = words.find(|word| word.split_once('=').is_some_and(|(own, _)| own == name));
        found.unwrap_or_default().to_owned()
    }

    fn service(&self, unit: &str) -> String {
        if self.root != Path::new("/") {
            return self.read(&format!("/run/services/{unit}")).unwrap_or("inactive".into());
        }
        if !Path::new("/run/systemd/system").is_dir() {
            return "inactive".into();
        }
        let asked = Command::new("systemctl").args(["is-active", "--quiet", unit]).status();
        let active = asked.is_ok_and(|status| status.success());
        if active { "active" } else { "inactive" }.into()
    }
}

/// The hard limit of this process, as processes it starts would have it.
fn limit(name: &str) -> String {
    let resource =
        if name == "memlock" { Resource::RLIMIT_MEMLOCK } else { Resource::RLIMIT_NOFILE };
    match getrlimit(resource) {
        Ok((_, RLIM_INFINITY)) => "unlimited".into(),
        Ok((_, hard)) => hard.to_string(),
        Err(error) => error.desc().into(),
    }
}

/// Does a name match a pattern with `*`?
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((first, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    while let Some((middle, after)) = rest.split_once('*') {
        let Some(at) = left.find(middle) else { return false };
        left = &left[at + middle.len()..];
        rest = after;
    }
    left.ends_with(rest)
}

/// Is `now` what a setting wants at this place?
fn fits(now: &str, want: &str, place: &str) -> bool {
    let (verb, value) = want.split_once(' ').unwrap_or((want, ""));
    let number = |text: &str| text.parse::<i64>().ok();
    let set = || if is_mask(place) { parse_mask(now) } else { parse_list(now) };
    match verb {
        "=" | "pick" => now == value,
        ">=" => now == "unlimited" || number(now).is_some_and(|now| Some(now) >= number(value)),
        "<=" => number(now).is_some_and(|now| Some(now) <= number(value)),
        "any" => value.split(' ').any(|choice| choice == now),
        "list" => set().is_some() && set() == parse_list(value),
        "within" => match (set(), parse_list(value)) {
            (Some(now), Some(value)) => now.is_subset(&value),
            _ => false,
        },
        "has" => now.strip_suffix(value).is_some_and(|head| head.ends_with(['=', ','])),
        _ => false,
    }
}

/// Does the kernel show CPUs there as a hexadecimal mask?
fn is_mask(place: &str) -> bool {
    let name = place.rsplit('/').next().unwrap_or_default();
    !place.starts_with("/proc/sys/")
        && (name == "cpumask" || name.ends_with("_cpus") || name.ends_with("smp_affinity"))
}

/// `0-2,5` as numbers.
pub(super) fn parse_list(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= base::limits::CORES_MAX * 64 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// `3` or `ff,ffffffff` as numbers.
fn parse_mask(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for (place, word) in text.rsplit(',').enumerate() {
        let bits = u32::from_str_radix(word, 16).ok()?;
        let set = (0..32).filter(|bit| bits >> bit & 1 == 1);
        cpus.extend(set.map(|bit| place * 32 + bit));
    }
    Some(cpus)
}

/// Numbers as `0-2,5`.
pub(super) fn list_text(cpus: &Cpus) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => spans.push((cpu, cpu)),
        }
    }
    let show = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    spans.iter().map(show).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cpus_are_read_as_lists_and_masks() {
        let five: Cpus = [0, 1, 2, 5].into();
        assert_eq!(parse_list("0-2,5"), Some(five.clone()));
        assert_eq!(list_text(&five), "0-2,5");
        assert_eq!(parse_list(""), Some(Cpus::new()));
        assert_eq!(parse_list("0-x"), None);
        assert_eq!(parse_list("0-99999999"), None);
        assert_eq!(parse_mask("27"), Some(five));
        assert_eq!(parse_mask("1,00000000"), Some([32].into()));
        assert_eq!(parse_mask("g"), None);
    }

    #[test]
    fn names_match_patterns() {
        assert!(is_match("nvme*", "nvme0n1"));
        assert!(is_match("rx-*", "rx-0"));
        assert!(is_match("*", "x"));
        assert!(is_match("a*b*c", "axxbc"));
        assert!(!is_match("a*b*c", "axxc"));
        assert!(!is_match("cpu*", "xcpu"));
    }

    #[test]
    fn each_verb_has_its_meaning() {
        let rows = [
            ("1", "= 1", "x", true),
            ("2", "= 1", "x", false),
            ("5", ">= 4", "x", true),
            ("unlimited", ">= 4", "x", true),
            ("n/a", ">= 4", "x", false),
            ("5", "<= 4", "x", false),
            ("hpet", "any tsc kvm-clock", "x", false),
            ("tsc", "any tsc kvm-clock", "x", true),
            ("3", "list 0-1", "/proc/irq/default_smp_affinity", true),
            ("0-1", "list 0-1", "/proc/sys/kernel/watchdog_cpumask", true),
            ("ff", "list 0-1", "/sys/devices/virtual/workqueue/cpumask", false),
            ("0", "within 0-1", "x_list", true),
            ("0,3", "within 0-1", "x_list", false),
            ("isolcpus=domain,2-7", "has 2-7", "x", true),
            ("isolcpus=domain,12-7", "has 2-7", "x", false),
            ("", "has 2-7", "x", false),
        ];
        for (now, want, place, expected) in rows {
            assert_eq!(fits(now, want, place), expected, "{now} {want} {place}");
        }
    }
}
