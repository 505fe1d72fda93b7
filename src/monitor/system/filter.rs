//! The body of a request: options, and which servers it is meant for.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::state::{Settled, State};

/// Which servers are meant: those that meet every condition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    server_name: String,
    cluster: String,
    host: String,
    exact_match: bool,
    tags: Vec<String>,
    domain: String,
}

impl Filter {
    fn admits(&self, settled: &Settled) -> bool {
        let Settled { options, config, .. } = settled;
        let named = |wanted: &str, found: &str| {
            wanted.is_empty()
                || (if self.exact_match { wanted == found } else { found.contains(wanted) })
        };
        named(&self.server_name, &config.server_name)
            && named(&self.host, &options.host)
            // A single server belongs to no cluster.
            && named(&self.cluster, "")
            && self.tags.iter().all(|tag| options.tags.contains(tag))
            && (self.domain.is_empty() || self.domain == config.domain)
    }
}

/// What became of a body.
pub(super) enum Read<T> {
    /// These are the options.
    Options(T),
    /// It is meant for another server.
    Elsewhere,
    /// It cannot be read.
    Wrong(String),
}

/// Reads a body, which may be empty.
pub(super) fn read<T: DeserializeOwned + Default>(state: &State, body: &[u8]) -> Read<T> {
    if body.is_empty() {
        return Read::Options(T::default());
    }
    let value = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Null) => return Read::Options(T::default()),
        Ok(value @ Value::Object(_)) => plain(value),
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                Value::String(_) => "string",
                _ => "number",
            };
            return Read::Wrong(format!("json: cannot unmarshal {kind} into an object"));
        }
        Err(error) => return Read::Wrong(complaint(&error)),
    };
    let filter = match Filter::deserialize(&value) {
        Ok(filter) => filter,
        Err(error) => return Read::Wrong(format!("json: {error}")),
    };
    match T::deserialize(value) {
        Ok(_) if !filter.admits(&state.settled()) => Read::Elsewhere,
        Ok(options) => Read::Options(options),
        Err(error) => Read::Wrong(format!("json: {error}")),
    }
}

/// Names in lower case, and without fields that say nothing: as the reference reads JSON.
fn plain(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(name, value)| (name.to_lowercase(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn complaint(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}
