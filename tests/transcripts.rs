//! Replays `tests/transcripts/*.txt` against pinion on one, two and eight cores, and against the
//! real nats-server when there is one.
//!
//! `PINION_BROKER` replaces the pinion under test, `PINION_REFERENCE` names the
//! reference, and `PINION_TRANSCRIPT_FILTER` keeps the transcripts whose file or title contains it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use process::{Broker, Launch, Process};
use transcript::memory;
use transcript::replay::{Input, replay};
use transcript::script::{Marks, Transcript, parse_file};
use transcript::socket::Sockets;

#[path = "support/process.rs"]
mod process;
#[path = "support/transcript/mod.rs"]
mod transcript;

/// Transcripts mostly wait for a broker to start; two more than the cores of a small machine.
const WORKERS: usize = 4;
/// With cut input they mostly look whether a byte was read, which takes as much of a core as the
/// broker does.
const CUTTERS: usize = 2;
/// Those who cut input do so one after the other: brokers that get no turn for want of cores miss
/// the deadlines they are to keep.
static CUTTING: Mutex<()> = Mutex::new(());

/// What pinion says when it is asked for a feature to come.
const REFUSAL: &str = "not yet supported: ";

#[test]
fn one_core() {
    replay_all(&Against::pinion(1), Input::Whole);
}

#[test]
fn one_core_cut_at_every_byte() {
    replay_all(&Against::pinion(1), Input::Cut);
}

#[test]
fn two_cores() {
    replay_all(&Against::pinion(2), Input::Whole);
}

#[test]
fn two_cores_cut_at_every_byte() {
    replay_all(&Against::pinion(2), Input::Cut);
}

#[test]
fn eight_cores() {
    replay_all(&Against::pinion(8), Input::Whole);
}

#[test]
fn reference() {
    if let Some(reference) = Against::reference() {
        replay_all(&reference, Input::Whole);
    }
}

#[test]
fn reference_cut_at_every_byte() {
    if let Some(reference) = Against::reference() {
        replay_all(&reference, Input::Cut);
    }
}

#[test]
fn in_memory() {
    replay_all(&Against::Memory, Input::Whole);
}

#[test]
fn in_memory_cut_at_every_byte() {
    replay_all(&Against::Memory, Input::Cut);
}

/// A row named by a transcript is a row of the document.
#[test]
fn differences_are_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMPATIBILITY.md");
    let document = fs::read_to_string(document).expect("docs/COMPATIBILITY.md is readable");
    for transcript in transcripts() {
        let marks = transcript.marks;
        for name in marks.differs.iter().chain(&marks.awaits) {
            let row = format!("| `{name}` |");
            assert!(document.contains(&row), "{}: no row {row}", transcript.place);
        }
    }
}

/// What transcripts are replayed against.
enum Against {
    /// The shard in this process.
    Memory,
    /// The binary under test.
    Pinion(Broker),
    Reference(Broker),
}

impl Against {
    fn pinion(cores: u32) -> Self {
        let broker = Broker::under_test(cores);
        if broker.cores.is_some() { Self::Pinion(broker) } else { Self::Reference(broker) }
    }

    fn reference() -> Option<Self> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/bin/nats-server");
        let binary = env::var_os("PINION_REFERENCE").map_or(installed, PathBuf::from);
        if !binary.exists() {
            println!("no reference: {} does not exist; run scripts/peers", binary.display());
            return None;
        }
        Some(Self::Reference(Broker { binary, cores: None }))
    }

    fn runs(&self, marks: &Marks, input: Input) -> bool {
        let cut = input == Input::Cut;
        let elsewhere = match self {
            Self::Memory => marks.process_only || marks.awaits.is_some(),
            Self::Pinion(_) => false,
            Self::Reference(_) => marks.differs.is_some() || (cut && marks.reference_uncut),
        };
        !(elsewhere || (cut && marks.uncut))
    }

    fn replay(&self, transcript: &Transcript, input: Input) -> Result<(), String> {
        let (config, flags) = (transcript.config.clone(), transcript.flags.clone());
        let broker = match self {
            Self::Memory => {
                let mut backend = memory::start(&config, &flags)?;
                return replay(transcript, &mut *backend, input);
            }
            Self::Pinion(broker) | Self::Reference(broker) => broker.clone(),
        };
        let launch = Launch { broker, port: None, config, flags };
        let process = match (Process::start(&launch), &transcript.marks.awaits, self) {
            (Err(error), Some(_), Self::Pinion(_)) if error.contains(REFUSAL) => return Ok(()),
            (Ok(_), Some(awaited), Self::Pinion(_)) => {
                return Err(format!("{awaited} is there: `! awaits` is out of date"));
            }
            (started, _, _) => started?,
        };
        replay(transcript, &mut Sockets::new(process), input)
    }
}

fn transcripts() -> Vec<Transcript> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the transcripts are readable")
        .map(|entry| entry.expect("the transcripts are readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let filter = env::var("PINION_TRANSCRIPT_FILTER").unwrap_or_default();
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a transcript is text");
        all.extend(parse_file(&name, &text).unwrap_or_else(|error| panic!("{error}")));
    }
    all.retain(|t| t.place.contains(&filter) || t.title.contains(&filter));
    all
}

/// Replays every transcript on a few threads and fails with all that failed.
fn replay_all(against: &Against, input: Input) {
    let mut transcripts = transcripts();
    transcripts.retain(|transcript| against.runs(&transcript.marks, input));
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let (workers, alone) = match input {
        Input::Whole => (WORKERS, None),
        Input::Cut => (CUTTERS, Some(CUTTING.lock().unwrap_or_else(PoisonError::into_inner))),
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(one) = transcripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = against.replay(one, input) {
                        let failure = format!("{}: {}: {error}", one.place, one.title);
                        failures.lock().expect("no worker panics").push(failure);
                    }
                }
            });
        }
    });
    drop(alone);
    let mut failures = failures.into_inner().expect("no worker panics");
    failures.sort();
    let (failed, all) = (failures.len(), transcripts.len());
    assert!(failures.is_empty(), "{failed} of {all} failed:\n{}", failures.join("\n"));
    println!("{all} transcripts replayed");
}
