//! `mappings`, of the global account and of others.

use accounts::{Mapping, MappingTarget};

use super::auth::{is_subject, shown};
use super::schema::{Reader, at, map, text};
use super::tree::{Node, Value};
use crate::notation::quote;

/// `mappings` at the top level: those of the global account.
pub(super) fn set(reader: &mut Reader, _: &str, node: &Node) -> Result<(), String> {
    let mappings = read(reader, node)?;
    reader.settings.mappings = Some(mappings);
    Ok(())
}

/// A subject to a destination, to a weighted one, or to a list of those. What is wrong is
/// complained about and left out.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Result<Vec<Mapping>, String> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for (subject, node) in map(node)?.iter() {
        if !is_subject(subject) {
            let reason = format!("Subject {} is not a valid subject", quote(subject));
            reader.errors.push(at(node, &reason));
            continue;
        }
        match read_one(reader, subject, node) {
            Ok(Some(mapping)) => mappings.push(mapping),
            Ok(None) => {}
            Err(problem) => reader.errors.push(problem),
        }
    }
    Ok(mappings)
}

fn read_one(reader: &mut Reader, subject: &str, node: &Node) -> Result<Option<Mapping>, String> {
    let weighted: &[Node] = match &node.value {
        Value::String(_) => {
            let destination = text(node)?;
            let shown = quote(&destination);
            let target = MappingTarget { destination, weight: 100, cluster: String::new() };
            let mapping = Mapping::new(subject, vec![target]).map_err(|fault| {
                let reason = format!("Error adding mapping for {} to {shown}", quote(subject));
                at(node, &format!("{reason} : {fault}"))
            })?;
            return Ok(Some(mapping));
        }
        Value::Array(destinations) => destinations,
        _ => std::slice::from_ref(node),
    };
    let mut targets = Vec::new();
    for destination in weighted {
        match read_target(destination) {
            Ok(target) => targets.push(target),
            Err(problem) => reader.errors.push(problem),
        }
    }
    if targets.is_empty() && !matches!(node.value, Value::Array(_)) {
        return Ok(None);
    }
    let mapping = Mapping::new(subject, targets);
    let complain =
        |fault| at(node, &format!("Error adding mapping for {} : {fault}", quote(subject)));
    mapping.map(Some).map_err(complain)
}

fn read_target(node: &Node) -> Result<MappingTarget, String> {
    let Value::Map(destination) = &node.value else {
        return Err(at(node, "Expected an entry for the mapping destination"));
    };
    let (mut subject, mut cluster) = (String::new(), String::new());
    let mut weight = None;
    for (key, node) in destination.iter() {
        match key.to_lowercase().as_str() {
            "dest" | "destination" => subject = text(node)?,
            "cluster" => cluster = text(node)?,
            "weight" => weight = Some(read_weight(node)?),
            _ => {
                let reason = format!("Unknown field {} for mapping destination", quote(key));
                return Err(at(node, &reason));
            }
        }
    }
    let Some(weight) = weight else {
        let subject = quote(&subject);
        return Err(at(node, &format!("Missing weight for mapping destination {subject}")));
    };
    Ok(MappingTarget { destination: subject, weight, cluster })
}

fn read_weight(node: &Node) -> Result<u8, String> {
    let weight = match &node.value {
        Value::Integer(weight) => *weight,
        Value::String(_) => {
            let written = text(node)?;
            let number = written.strip_suffix('%').unwrap_or(&written);
            number.parse().map_err(|_| {
                at(node, &format!("Invalid weight {} for mapping destination", quote(number)))
            })?
        }
        other => {
            let shown = shown(other);
            return Err(at(node, &format!("Unknown entry type for weight of {shown}\n")));
        }
    };
    if !(0..=100).contains(&weight) {
        return Err(at(node, &format!("Invalid weight {weight} for mapping destination")));
    }
    Ok(weight as u8)
}
