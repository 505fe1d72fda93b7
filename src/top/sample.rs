//! One look at a server.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::Sort;
use super::fetch::Source;

/// What was seen at one moment.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) varz: Value,
    pub(super) connections: Vec<Value>,
    pub(super) cores: BTreeMap<u32, Core>,
}

/// What a core has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Core {
    values: BTreeMap<String, f64>,
    /// Upper bounds of histograms, and how many there were below each.
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Core {
    /// A value by its name, without what all names begin with.
    pub(super) fn get(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or_default()
    }

    /// The bound below which a share of what a histogram counted since then lies.
    pub(super) fn percentile(&self, name: &str, then: Option<&Self>, share: f64) -> Option<f64> {
        let now = self.buckets.get(name)?;
        let before = then.and_then(|then| then.buckets.get(name));
        let count = |place: usize| {
            let earlier = before.and_then(|before| before.get(place)).map_or(0.0, |found| found.1);
            now[place].1 - earlier
        };
        let all = count(now.len().checked_sub(1)?);
        if all <= 0.0 {
            return None;
        }
        let place = (0..now.len()).find(|place| count(*place) >= share * all)?;
        Some(now[place].0)
    }
}

impl Sample {
    /// Looks at all that is shown.
    pub(super) fn take(source: &Source, sort: Sort, rows: usize) -> Result<Self, String> {
        let json = |path: &str| -> Result<Value, String> {
            serde_json::from_str(&source.get(path)?).map_err(|error| format!("{path}: {error}"))
        };
        let varz = json("/varz")?;
        let mut connz = json(&format!("/connz?limit={}&sort={}", rows.max(1), sort.name()))?;
        let connections = match connz["connections"].take() {
            Value::Array(connections) => connections,
            _ => Vec::new(),
        };
        let metrics = source.get("/metrics");
        let metrics = metrics.map_err(|problem| format!("{problem}: is this a pinion?"))?;
        Ok(Self { at: Instant::now(), varz, connections, cores: cores_of(&metrics) })
    }

    /// A number of `/varz`.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.varz[name].as_f64().unwrap_or_default()
    }

    /// A text of `/varz`.
    pub(super) fn text(&self, name: &str) -> &str {
        self.varz[name].as_str().unwrap_or_default()
    }
}

fn cores_of(metrics: &str) -> BTreeMap<u32, Core> {
    let mut cores: BTreeMap<u32, Core> = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("pinion_core_")) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let label = |wanted: &str| {
            let start = labels.find(&format!("{wanted}=\""))? + wanted.len() + 2;
            labels[start..].split('"').next()
        };
        let Some(core) = label("core").and_then(|core| core.parse().ok()) else { continue };
        let core = cores.entry(core).or_default();
        if let (Some(name), Some(bound)) = (name.strip_suffix("_bucket"), label("le")) {
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(0.0) };
            core.buckets.entry(name.to_owned()).or_default().push((bound, value));
        } else {
            core.values.insert(name.to_owned(), value);
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x\npinion_core_connections{server_id=\"A\",core=\"1\"} 3\n\
        pinion_core_turn_seconds_bucket{server_id=\"A\",core=\"1\",le=\"0.000002\"} 5\n\
        pinion_core_turn_seconds_bucket{server_id=\"A\",core=\"1\",le=\"0.000004\"} 9\n\
        pinion_core_turn_seconds_bucket{server_id=\"A\",core=\"1\",le=\"+Inf\"} 10\n\
        gnatsd_varz_mem{server_id=\"A\"} 1\npinion_core_odd 7\n";

    #[test]
    fn metrics_of_cores_are_read() {
        let cores = cores_of(TEXT);
        assert_eq!(cores.len(), 1);
        let core = &cores[&1];
        assert!((core.get("connections") - 3.0).abs() < f64::EPSILON);
        assert!(core.get("nothing").abs() < f64::EPSILON);
        assert_eq!(core.percentile("turn_seconds", None, 0.5), Some(0.000_002));
        assert_eq!(core.percentile("turn_seconds", None, 0.9), Some(0.000_004));
        assert_eq!(core.percentile("turn_seconds", None, 0.99), Some(f64::INFINITY));
        assert_eq!(core.percentile("turn_seconds", Some(core), 0.5), None);
        assert_eq!(core.percentile("nothing", None, 0.5), None);
    }
}
