//! Mappings: publishes to one subject that go to others instead (spec 4).

use std::fmt;

use base::Random;
use subjects::{Transform, TransformFault, grammar, transform};

/// One destination of a mapping, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingTarget {
    /// The subject, with transform functions.
    pub destination: String,
    /// Of 100.
    pub weight: u8,
    /// Only on servers of this cluster; anywhere if empty.
    pub cluster: String,
}

/// Why a mapping cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingFault {
    /// Its source is no subject.
    Subject,
    /// Two destinations are the same.
    Duplicate(String),
    /// A weight is above 100.
    Weight,
    /// The weights of one cluster add up to more than 100.
    TotalWeight,
    /// A destination cannot be made from the source.
    Transform(TransformFault),
}

impl fmt::Display for MappingFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => formatter.write_str("invalid subject"),
            Self::Duplicate(subject) => write!(formatter, "duplicate entry for {subject:?}"),
            Self::Weight => formatter.write_str("individual weights need to be <= 100"),
            Self::TotalWeight => formatter.write_str("total weight needs to be <= 100"),
            Self::Transform(fault) => fault.fmt(formatter),
        }
    }
}

/// Publishes to one subject that go to others instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The subject, with wildcards.
    pub source: String,
    /// Where they go, with weights, as configured.
    pub targets: Vec<MappingTarget>,
    /// Destinations by cluster; those of no cluster are the first.
    sets: Vec<(String, Vec<Destination>)>,
}

/// Where a drawn number below this, and not below those ahead, goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    below: u8,
    transform: Transform,
}

impl Mapping {
    /// A mapping. What is left of 100 in the weights of a cluster stays on the source's subject,
    /// or is lost if the source itself is one of the destinations.
    ///
    /// # Errors
    /// As the reference refuses it.
    pub fn new(source: &str, targets: Vec<MappingTarget>) -> Result<Self, MappingFault> {
        if !grammar::is_pattern(source.as_bytes()) {
            return Err(MappingFault::Subject);
        }
        let mut sets: Vec<(String, Vec<Destination>)> = vec![(String::new(), Vec::new())];
        for (place, target) in targets.iter().enumerate() {
            let destination = target.destination.as_str();
            if targets[..place].iter().any(|other| other.destination == destination) {
                return Err(MappingFault::Duplicate(destination.into()));
            }
            if target.weight > 100 {
                return Err(MappingFault::Weight);
            }
            let known = sets.iter().position(|(cluster, _)| *cluster == target.cluster);
            let place = known.unwrap_or(sets.len());
            if known.is_none() {
                sets.push((target.cluster.clone(), Vec::new()));
            }
            let set = &mut sets[place].1;
            let total: u32 = set.iter().map(|other| u32::from(other.below)).sum();
            if total + u32::from(target.weight) > 100 {
                return Err(MappingFault::TotalWeight);
            }
            transform::check_mapping(source, destination).map_err(MappingFault::Transform)?;
            let transform = Transform::new(source, destination).map_err(MappingFault::Transform)?;
            set.push(Destination { below: target.weight, transform });
        }
        let loses = targets.iter().any(|target| target.destination == source);
        for (_, set) in &mut sets {
            complete(source, set, loses)?;
        }
        Ok(Self { source: source.into(), targets, sets })
    }

    /// Is it for this subject?
    pub fn is_for(&self, subject: &[u8]) -> bool {
        grammar::is_subset(subject, self.source.as_bytes())
    }

    /// Puts into `out` where a publish to `subject` goes on a server of `cluster`; nothing if it is
    /// to be lost.
    pub fn apply(&self, subject: &[u8], cluster: &str, random: &mut Random, out: &mut Vec<u8>) {
        out.clear();
        let own = self.sets[1..].iter().find(|(name, _)| name == cluster);
        let (_, set) = own.unwrap_or(&self.sets[0]);
        let drawn = match &set[..] {
            [only] if only.below == 100 => 0,
            _ => random.below(100),
        };
        if let Some(chosen) = set.iter().find(|one| drawn < u64::from(one.below)) {
            chosen.transform.apply(subject, random, out);
        }
    }
}

/// Adds what is left of 100, and turns weights into bounds.
fn complete(source: &str, set: &mut Vec<Destination>, loses: bool) -> Result<(), MappingFault> {
    let total: u8 = set.iter().map(|one| one.below).sum();
    if total != 100 && !loses {
        let transform = Transform::new(source, &transform::tokenized(source));
        let transform = transform.map_err(MappingFault::Transform)?;
        set.push(Destination { below: 100 - total, transform });
    }
    set.sort_by_key(|one| one.below);
    let mut bound = 0;
    for one in set {
        bound += one.below;
        one.below = bound;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(destination: &str, weight: u8, cluster: &str) -> MappingTarget {
        MappingTarget { destination: destination.into(), weight, cluster: cluster.into() }
    }

    /// How often of 1000 a subject goes where.
    fn spread(mapping: &Mapping, subject: &str, cluster: &str) -> Vec<(String, u32)> {
        let mut random = Random::new(7);
        let mut counts: Vec<(String, u32)> = Vec::new();
        for _ in 0..1000 {
            let mut out = Vec::new();
            mapping.apply(subject.as_bytes(), cluster, &mut random, &mut out);
            let out = String::from_utf8_lossy(&out).into_owned();
            match counts.iter_mut().find(|(name, _)| *name == out) {
                Some((_, count)) => *count += 1,
                None => counts.push((out, 1)),
            }
        }
        counts.sort();
        counts
    }

    fn names(counts: &[(String, u32)]) -> Vec<&str> {
        counts.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn all_goes_to_the_only_destination() {
        let mapping = Mapping::new("a.*.*", vec![target("b.$2.$1", 100, "")]).expect("a mapping");
        assert!(mapping.is_for(b"a.x.y"));
        assert!(!mapping.is_for(b"a.x"));
        assert_eq!(spread(&mapping, "a.x.y", ""), [(String::from("b.y.x"), 1000)]);
    }

    #[test]
    fn what_is_left_stays_or_is_lost() {
        let stays = Mapping::new("a", vec![target("b", 30, "")]).expect("a mapping");
        let counts = spread(&stays, "a", "");
        assert_eq!(names(&counts), ["a", "b"]);
        assert!((600..800).contains(&counts[0].1), "{counts:?}");
        let loses = Mapping::new("a", vec![target("b", 30, ""), target("a", 20, "")]);
        let counts = spread(&loses.expect("a mapping"), "a", "");
        assert_eq!(names(&counts), ["", "a", "b"]);
        assert!((400..600).contains(&counts[0].1), "{counts:?}");
        let partly = Mapping::new("a.*", vec![target("b", 1, "")]).expect("a mapping");
        assert_eq!(names(&spread(&partly, "a.x", "")), ["a.x", "b"]);
    }

    #[test]
    fn destinations_of_the_own_cluster_take_the_place_of_all_others() {
        let targets = vec![target("b", 100, ""), target("c", 100, "east")];
        let mapping = Mapping::new("a", targets).expect("a mapping");
        assert_eq!(names(&spread(&mapping, "a", "")), ["b"]);
        assert_eq!(names(&spread(&mapping, "a", "west")), ["b"]);
        assert_eq!(names(&spread(&mapping, "a", "east")), ["c"]);
    }

    #[test]
    fn mappings_that_cannot_be() {
        let rows = [
            ("a..b", vec![], "invalid subject"),
            ("a", vec![target("b", 10, ""), target("b", 10, "")], "duplicate entry for \"b\""),
            ("a", vec![target("b", 101, "")], "individual weights need to be <= 100"),
            (
                "a",
                vec![target("b", 60, ""), target("c", 60, "")],
                "total weight needs to be <= 100",
            ),
            (
                "a.*",
                vec![target("b.$2", 60, "")],
                "invalid mapping destination: wildcard index out of range in $2: [2]",
            ),
        ];
        for (source, targets, expected) in rows {
            let fault = Mapping::new(source, targets).expect_err("a bad mapping");
            assert_eq!(fault.to_string(), expected, "{source}");
        }
    }
}
