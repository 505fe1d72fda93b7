//! A store is damaged in one place, at many places of every file, and in every way: what is intact
//! is served, what is lost is reported, and the store works on.

use sim::storage::wreck::{Blow, Verdict, Wreck, check_locked, sizes_of_segments};
use storage::File;

/// Offsets of a file that are hit: the ends and many between.
fn places(bytes: u64) -> impl Iterator<Item = u64> {
    (0..bytes).step_by(997).chain([bytes - 1, bytes - 30, bytes - 70, bytes - 200])
}

fn strike(wreck: &Wreck, blow: &Blow, what: &str) -> Verdict {
    wreck.strike(blow).unwrap_or_else(|problem| panic!("{what}: {blow:?}: {problem}"))
}

/// Messages that one block of the journal, or one frame, may hold.
const FEW: usize = 30;
const FRAME: usize = 130;

/// Are no more messages lost by one flipped bit than what it stands in holds?
fn is_little(verdict: &Verdict, in_segment: bool, encrypted: bool) -> bool {
    let plain = verdict.lost.iter().filter(|(name, _)| name != b"packed").count();
    match (in_segment, encrypted) {
        (true, true) => verdict.lost.len() <= FRAME,
        (true, false) => plain <= 1 && verdict.lost.len() <= FRAME,
        (false, _) => verdict.lost.len() <= FEW,
    }
}

fn damage_everything(encrypted: bool) {
    let what = if encrypted { "encrypted" } else { "plain" };
    let wreck = Wreck::new(encrypted).expect("nothing is wrong yet");
    let files = wreck.files();
    let is_segment = |file: &File| matches!(file, File::Segment(_));
    assert!(files.iter().filter(|(file, _)| is_segment(file)).count() > 5, "{files:?}");
    let mut served = 0;
    for &(file, bytes) in &files {
        for at in places(bytes) {
            let verdict = strike(&wreck, &Blow::Flip(file, at * 8 + at % 8), what);
            let is_little = is_little(&verdict, is_segment(&file), encrypted);
            assert!(is_little, "{what} {file:?} {at}: {verdict:?}");
            assert_eq!(verdict.logs, 0, "{what} {file:?} {at}: {verdict:?}");
            served += 1;
        }
        for block in (0..bytes / 4096).step_by(3) {
            let verdict = strike(&wreck, &Blow::Wipe(file, block), what);
            assert!(verdict.lost.len() <= FRAME, "{what} {file:?} {block}: {verdict:?}");
        }
        for at in (0..bytes).step_by(5003) {
            let verdict = strike(&wreck, &Blow::Cut(file, at), what);
            assert!(is_segment(&file) || at < 1 << 20, "{verdict:?}");
        }
        let verdict = strike(&wreck, &Blow::Remove(file), what);
        assert!(verdict.lost.len() < 300, "{what} {file:?}: {verdict:?}");
    }
    assert!(served > 300);
    let segments: Vec<File> = files.iter().map(|(file, _)| *file).filter(is_segment).collect();
    for pair in segments.windows(2) {
        let verdict = strike(&wreck, &Blow::Swap(pair[0], pair[1]), what);
        assert!(verdict.lost.is_empty(), "{what} {pair:?}: {verdict:?}");
    }
    let verdict = strike(&wreck, &Blow::NoJournal, what);
    assert!(verdict.logs <= 1 && verdict.lost.len() < 200, "{what}: {verdict:?}");
}

#[test]
fn what_is_intact_is_served_wherever_a_store_is_damaged() {
    damage_everything(false);
}

#[test]
fn what_is_intact_is_served_wherever_an_encrypted_store_is_damaged() {
    damage_everything(true);
}

#[test]
fn a_compressed_log_takes_less_room() {
    let [compressed, plain] = sizes_of_segments().expect("both are kept");
    assert!(compressed * 4 < plain * 3, "{compressed} instead of {plain}");
}

#[test]
fn an_encrypted_store_opens_with_its_key_alone_and_shows_nothing() {
    check_locked().expect("it stays locked");
}
