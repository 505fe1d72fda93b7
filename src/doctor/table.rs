//! The table of host settings, `tuning/settings`, as values.

use std::fmt::Write as _;

/// The table that the scripts in `tuning/` work from.
const SETTINGS: &str = include_str!("../../tuning/settings");

/// One setting of a host. The fields are those of the table, which explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) area: &'static str,
    pub(super) wanted_for: &'static str,
    pub(super) kind: Kind,
    pub(super) at: &'static str,
    pub(super) want: &'static str,
    pub(super) why: &'static str,
    pub(super) effect: &'static str,
    pub(super) cost: &'static str,
    pub(super) source: &'static str,
    pub(super) undo: &'static str,
}

/// What a setting is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sysctl,
    File,
    Boot,
    Service,
    Limit,
}

impl Setting {
    /// Is it wanted by this profile? Without one, by any that is not opt-in.
    pub(super) fn is_for(&self, profile: &str) -> bool {
        self.wanted_for == "both" || self.wanted_for == profile
    }
}

/// Every setting, in the order of the table.
pub(super) fn settings() -> Vec<Setting> {
    SETTINGS.split("\n\n").filter_map(setting).collect()
}

/// One block; `None` for one of comments alone.
fn setting(block: &'static str) -> Option<Setting> {
    let value =
        |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let name = value("name")?;
    let text = |key| value(key).unwrap_or_else(|| panic!("setting {name} has no {key}"));
    Some(Setting {
        name,
        area: text("area"),
        wanted_for: text("for"),
        kind: match text("kind") {
            "sysctl" => Kind::Sysctl,
            "file" => Kind::File,
            "boot" => Kind::Boot,
            "service" => Kind::Service,
            "limit" => Kind::Limit,
            other => panic!("setting {name} is of a kind that does not exist: {other}"),
        },
        at: text("at"),
        want: text("want"),
        why: text("why"),
        effect: text("effect"),
        cost: text("cost"),
        source: text("source"),
        undo: text("undo"),
    })
}

/// The table as the documentation shows it.
pub(super) fn markdown() -> String {
    let mut text = String::from(
        "| Setting | For | Where | Wanted | Why | What it costs |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in settings() {
        let Setting { name, wanted_for, at, want, why, cost, .. } = setting;
        let _ = writeln!(text, "| `{name}` | {wanted_for} | `{at}` | `{want}` | {why} | {cost} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_is_whole_and_says_how_it_is_undone() {
        let settings = settings();
        assert!(settings.len() > 30, "{}", settings.len());
        assert_eq!(SETTINGS.matches("\nname: ").count(), settings.len());
        let names: BTreeSet<&str> = settings.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), settings.len(), "a name is used once");
        for setting in settings {
            let name = setting.name;
            let areas = [
                "needed",
                "processor",
                "interrupts",
                "kernel",
                "memory",
                "network",
                "disk",
                "limits",
            ];
            assert!(areas.contains(&setting.area), "{name}");
            let profiles = ["latency", "throughput", "both", "opt-in"];
            assert!(profiles.contains(&setting.wanted_for), "{name}");
            let verb = setting.want.split(' ').next().unwrap_or_default();
            let verbs = ["=", ">=", "<=", "pick", "any", "list", "within", "has"];
            assert!(verbs.contains(&verb), "{name}");
            for text in [setting.why, setting.effect, setting.cost, setting.source, setting.undo] {
                assert!(!text.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let document = include_str!("../../docs/TUNE.md");
        let (_, after) = document.split_once("<!-- settings:begin -->\n\n").expect("it begins");
        let (shown, _) = after.split_once("\n<!-- settings:end -->").expect("it ends");
        assert_eq!(shown, markdown(), "put the output of `pinion doctor --table` there");
    }
}
