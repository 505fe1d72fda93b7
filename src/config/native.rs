//! The block `pinion`: what nats-server has no key for.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::options::Profile;
use super::schema::{Reader, Row, Rule, at, integer, map, row, text};
use super::settings::Settings;
use super::tree::Node;
use crate::notation::{parse_duration, quote};

static ROWS: &[Row] = &[
    row(&["profile"], Rule::With(set_profile)),
    row(&["cores"], Rule::With(set_cores)),
    row(&["spin"], Rule::With(set_spin)),
];

/// Reads the block.
pub(super) fn set(reader: &mut Reader, _key: &str, node: &Node) -> Result<(), String> {
    reader.read_block(ROWS, map(node)?);
    Ok(())
}

/// The profile of that name. The error says which there are.
pub(crate) fn parse_profile(name: &str) -> Result<Profile, String> {
    match name.to_lowercase().as_str() {
        "dev" => Ok(Profile::Dev),
        "latency" => Ok(Profile::Latency),
        "throughput" => Ok(Profile::Throughput),
        _ => Err("must be dev, latency or throughput".to_owned()),
    }
}

fn set_profile(reader: &mut Reader, _key: &str, node: &Node) -> Result<(), String> {
    let name = text(node)?;
    let profile = parse_profile(&name)
        .map_err(|problem| at(node, &format!("profile {} {problem}", quote(&name))))?;
    reader.settings.profile = Some(profile);
    Ok(())
}

fn set_cores(reader: &mut Reader, _key: &str, node: &Node) -> Result<(), String> {
    let cores = usize::try_from(integer(node)?).ok().and_then(NonZeroUsize::new);
    reader.settings.cores = Some(cores.ok_or_else(|| at(node, "at least one core is needed"))?);
    Ok(())
}

fn set_spin(reader: &mut Reader, _key: &str, node: &Node) -> Result<(), String> {
    let words = text(node)?;
    let nanoseconds = parse_duration(&words)
        .map_err(|problem| at(node, &format!("error parsing spin: {problem}")))?;
    let nanoseconds =
        u64::try_from(nanoseconds).map_err(|_| at(node, "spin cannot be negative"))?;
    reader.settings.spin = Some(Duration::from_nanos(nanoseconds));
    Ok(())
}

/// What a profile says where nothing else does.
pub(super) fn fill_in(settings: &mut Settings) {
    let (cores, spin) = match settings.profile {
        None => return,
        // A laptop has other things to do.
        Some(Profile::Dev) => (NonZeroUsize::new(1), Duration::ZERO),
        // Longer than a round trip through a client on the same network takes, so that an answer
        // finds the core awake: 63 k requests a second in place of 40 k on one connection.
        Some(Profile::Latency) => (None, Duration::from_micros(100)),
        Some(Profile::Throughput) => (None, Duration::ZERO),
    };
    settings.cores = settings.cores.or(cores);
    settings.spin = settings.spin.or(Some(spin));
}

#[cfg(test)]
mod tests {
    use super::super::parser::Nothing;
    use super::super::{Options, load, parse_bytes};
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        let file = parse_bytes("n.conf", text.as_bytes(), &mut Nothing);
        let file = file.map_err(|problem| problem.to_string())?;
        load(Settings::default(), Some(("n.conf", file)))
    }

    #[test]
    fn a_profile_fills_in_what_is_not_said() {
        let dev = options("pinion { profile: dev }").expect("good");
        assert_eq!((dev.cores.map(usize::from), dev.spin), (Some(1), Some(Duration::ZERO)));
        let latency = options("pinion { profile: LATENCY }").expect("good");
        assert_eq!(latency.profile, Some(Profile::Latency));
        assert_eq!((latency.cores, latency.spin), (None, Some(Duration::from_micros(100))));
        let own = options("pinion { profile: latency, cores: 3, spin: \"5us\" }").expect("good");
        assert_eq!(own.cores.map(usize::from), Some(3));
        assert_eq!(own.spin, Some(Duration::from_micros(5)));
        assert_eq!(options("").expect("good").spin, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, complaint) in [
            ("pinion { profile: fast }", "must be dev, latency or throughput"),
            ("pinion { cores: 0 }", "at least one core is needed"),
            ("pinion { spin: 5 }", "interface conversion"),
            ("pinion { spin: \"-1s\" }", "cannot be negative"),
            ("pinion { speed: 1 }", "unknown field \"speed\""),
            ("pinion: 1", "interface conversion"),
        ] {
            let problem = options(text).expect_err(text);
            assert!(problem.contains(complaint), "{text}: {problem}");
            assert!(problem.starts_with("n.conf:1:"), "{text}: {problem}");
        }
    }
}
