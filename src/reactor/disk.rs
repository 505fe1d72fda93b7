//! Carries out what the store asks of the disk, on the core's own ring: no turn waits for it.
//!
//! Each request is a task of a few steps, and each step an operation of the ring: a write to a file
//! that is not open yet opens it first. While the store opens, at start, nothing else is to be done
//! and requests are carried out one by one.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::fs::{self, File as OpenFile, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base::Time;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use storage::{
    Action, Blocks, DiskCompletion, DiskFailure, DiskRequest, FOLDERS, File, Listing, Refusal,
    RequestId, Store,
};

use super::meter::Commits;
use super::ring::{self, Event, FileWork, Lasting, Ring};
use crate::drive::Drive;
use crate::log::Logger;

/// Tasks under way at a time. The rest waits, so that the ring is never full of them.
const TASKS_MAX: usize = 128;
/// Segments that are kept open for the next look.
const OPEN_MAX: usize = 512;
/// The file that says that a server works here.
const LOCK: &str = "lock";

/// The store's folder and what is under way in it.
pub(crate) struct Disk {
    root: PathBuf,
    /// Held for as long as the process lives.
    _lock: Flock<OpenFile>,
    folders: Vec<(&'static str, OpenFile)>,
    direct: bool,
    /// How writes are made to last.
    lasting: Lasting,
    open: HashMap<File, Open>,
    tasks: HashMap<u32, Task>,
    waiting: VecDeque<DiskRequest>,
    /// Empty between turns.
    requests: Vec<DiskRequest>,
    looks: u64,
    /// What was written to the journal.
    pub(super) commits: Commits,
    logger: Logger,
}

/// An open file.
struct Open {
    file: OwnedFd,
    looked: u64,
    busy: u32,
}

/// A request under way.
struct Task {
    id: RequestId,
    file: File,
    step: Step,
}

enum Step {
    /// The file is opened for this.
    Open(Action),
    /// The file is made, and given room.
    Create(u64),
    /// The room is given.
    Allocate,
    /// Blocks are moved.
    Move,
    /// Renamed to this.
    Rename(File),
    /// The last step, which brings nothing.
    Last,
}

impl Disk {
    /// Makes the store's folder ready, and sees to it that no other process works there.
    pub(crate) fn open(root: &Path, logger: Logger) -> Result<Self, String> {
        let problem = |path: &Path, what: &dyn std::fmt::Display| {
            format!("Can't start JetStream: {}: {what}", path.display())
        };
        fs::create_dir_all(root).map_err(|error| problem(root, &error))?;
        let path = root.join(LOCK);
        let options = OpenFile::options().create(true).truncate(false).write(true).to_owned();
        let file = options.open(&path).map_err(|error| problem(&path, &error))?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, error)| match error {
                    Errno::EWOULDBLOCK => format!(
                        "Can't start JetStream: storage directory {:?} is in use by another server",
                        root.display().to_string()
                    ),
                    error => problem(&path, &error),
                },
            )?;
        let mut folders = Vec::new();
        for name in FOLDERS {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|error| problem(&path, &error))?;
            let folder = OpenFile::open(&path).map_err(|error| problem(&path, &error))?;
            folders.push((name, folder));
        }
        refuse_foreign(root)?;
        let sync = OpenFile::open(root).and_then(|folder| folder.sync_all());
        sync.map_err(|error| problem(root, &error))?;
        let direct = takes_direct(root).map_err(|error| problem(root, &error))?;
        if !direct {
            logger.warn(format_args!(
                "Direct I/O is not possible in {:?}: writes go through the page cache",
                root.display().to_string()
            ));
        }
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
            folders,
            direct,
            lasting: lasting_below(root),
            open: HashMap::new(),
            tasks: HashMap::new(),
            waiting: VecDeque::new(),
            requests: Vec::new(),
            looks: 0,
            commits: Commits::default(),
            logger,
        })
    }

    /// Opens a store: carries out what it asks for until it is open.
    ///
    /// # Errors
    /// Why it does not open, in one line. Nothing was changed.
    pub(crate) fn recover(&mut self, store: &mut Store) -> Result<(), String> {
        let mut requests = Vec::new();
        while !store.is_open() {
            if let Some(refusal) = store.refusal() {
                let reason = match refusal {
                    Refusal::NoKey => "is encrypted: jetstream { key } is needed",
                    Refusal::WrongKey => "is encrypted with a key that its key files do not hold",
                };
                return Err(format!("Can't start JetStream: {}: {reason}", self.root.display()));
            }
            store.take_requests(&mut requests);
            assert!(!requests.is_empty(), "a store that is not open asks for something");
            for request in requests.drain(..) {
                store.completed(self.read_now(request));
            }
        }
        self.report(store);
        Ok(())
    }

    /// Logs what the store found to be damaged.
    fn report(&self, store: &mut Store) {
        let mut damage = Vec::new();
        store.take_damage(&mut damage);
        for damage in damage {
            self.logger.error(format_args!("Storage is damaged: {damage}"));
        }
    }

    /// Is nothing under way?
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.waiting.is_empty()
    }

    fn path(&self, file: File) -> CString {
        let path = self.root.join(file.to_string());
        CString::new(path.as_os_str().as_bytes())
            .expect("a folder that exists has no NUL in its name")
    }

    /// Hands over what a store asks for.
    pub(crate) fn ask(&mut self, store: &mut Store, now: Time, ring: &mut Ring) {
        let mut requests = std::mem::take(&mut self.requests);
        store.tick(now);
        store.take_requests(&mut requests);
        self.submit(&mut requests, ring);
        self.requests = requests;
    }

    /// Takes the outcome of a step, and tells the store if it was the last of a request.
    pub(crate) fn take(&mut self, store: &mut Store, event: &Event, ring: &mut Ring) {
        if let Some(completion) = self.on_event(event, ring) {
            self.commits.end(completion.id);
            store.completed(completion);
            self.report(store);
        }
    }

    /// Begins requests, as many as may be under way.
    fn submit(&mut self, requests: &mut Vec<DiskRequest>, ring: &mut Ring) {
        self.waiting.extend(requests.drain(..));
        while self.tasks.len() < TASKS_MAX
            && let Some(request) = self.waiting.pop_front()
        {
            self.begin(request, ring);
        }
    }

    fn begin(&mut self, request: DiskRequest, ring: &mut Ring) {
        let id = request.id;
        if let Action::Write { file: File::Journal(_), blocks, .. } = &request.action {
            self.commits.begin(id, blocks.bytes().len());
        }
        match request.action {
            Action::List => unreachable!("a store lists its files once, while it opens"),
            Action::Create { file, bytes } => {
                self.open.remove(&file);
                let work = self.opening(file, libc::O_CREAT | libc::O_TRUNC);
                self.start(Task { id, file, step: Step::Create(bytes) }, work, ring);
            }
            Action::Rename { file, to } => {
                let work = FileWork::Rename { from: self.path(file), to: self.path(to) };
                self.start(Task { id, file, step: Step::Rename(to) }, work, ring);
            }
            Action::Remove { file } => {
                self.open.remove(&file);
                let work = FileWork::Remove { path: self.path(file) };
                self.start(Task { id, file, step: Step::Last }, work, ring);
            }
            action @ (Action::Write { .. } | Action::Read { .. } | Action::Sync { .. }) => {
                self.work_on(id, action, ring);
            }
        }
    }

    /// Begins what needs an open file.
    fn work_on(&mut self, id: RequestId, action: Action, ring: &mut Ring) {
        let (Action::Write { file, .. } | Action::Read { file, .. } | Action::Sync { file }) =
            action
        else {
            unreachable!("nothing else needs an open file")
        };
        let Some(descriptor) = self.use_open(file) else {
            let work = self.opening(file, 0);
            self.start(Task { id, file, step: Step::Open(action) }, work, ring);
            return;
        };
        let (work, step) = match action {
            Action::Write { offset, blocks, durable, .. } => {
                let lasting = if durable { self.lasting } else { Lasting::No };
                (FileWork::Write { file: descriptor, offset, blocks, lasting }, Step::Move)
            }
            Action::Read { offset, blocks, .. } => {
                (FileWork::Read { file: descriptor, offset, blocks }, Step::Move)
            }
            _ => (FileWork::Sync { file: descriptor, whole: false }, Step::Last),
        };
        self.start(Task { id, file, step }, work, ring);
    }

    fn use_open(&mut self, file: File) -> Option<RawFd> {
        self.looks += 1;
        let open = self.open.get_mut(&file)?;
        open.looked = self.looks;
        open.busy += 1;
        Some(open.file.as_raw_fd())
    }

    fn opening(&self, file: File, flags: i32) -> FileWork {
        let direct = if self.direct { libc::O_DIRECT } else { 0 };
        let flags = flags | direct | libc::O_RDWR | libc::O_CLOEXEC;
        FileWork::Open { path: self.path(file), flags }
    }

    fn start(&mut self, task: Task, work: FileWork, ring: &mut Ring) {
        let slot = ring.begin(work);
        self.tasks.insert(slot.0, task);
    }

    /// Takes the outcome of a step. Something to tell the store, if it was the last.
    fn on_event(&mut self, event: &Event, ring: &mut Ring) -> Option<DiskCompletion> {
        let work = ring.end(event.slot);
        let task = self.tasks.remove(&event.slot.0).expect("each step belongs to a task");
        if matches!(task.step, Step::Move | Step::Last)
            && let Some(open) = self.open.get_mut(&task.file)
        {
            open.busy = open.busy.saturating_sub(1);
        }
        let completion = match event.error() {
            Some(error) if is_passing(&error) => {
                self.begin_again(task, work, ring);
                None
            }
            Some(error) => Some(self.fail(task, work, &error)),
            None => self.go_on(task, work, event.result, ring),
        };
        while self.tasks.len() < TASKS_MAX
            && let Some(request) = self.waiting.pop_front()
        {
            self.begin(request, ring);
        }
        completion
    }

    fn begin_again(&mut self, task: Task, work: FileWork, ring: &mut Ring) {
        if matches!(task.step, Step::Move | Step::Last) {
            self.use_open(task.file);
        }
        self.start(task, work, ring);
    }

    fn fail(&self, task: Task, work: FileWork, error: &io::Error) -> DiskCompletion {
        let blocks = match (work, task.step) {
            (FileWork::Write { blocks, .. } | FileWork::Read { blocks, .. }, _)
            | (_, Step::Open(Action::Write { blocks, .. } | Action::Read { blocks, .. })) => {
                Some(blocks)
            }
            // Not every file system gives room ahead of time.
            (FileWork::Allocate { .. }, _) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return done(task.id, None);
            }
            _ => None,
        };
        let failure = failure_of(error);
        if failure == DiskFailure::Failed {
            self.logger.error(format_args!("Storage: {}: {error}", task.file));
        }
        DiskCompletion { id: task.id, blocks, outcome: Err(failure) }
    }

    fn go_on(
        &mut self,
        task: Task,
        work: FileWork,
        result: i32,
        ring: &mut Ring,
    ) -> Option<DiskCompletion> {
        let Task { id, file, step } = task;
        match step {
            Step::Open(action) => {
                self.keep_open(file, result);
                self.work_on(id, action, ring);
                None
            }
            Step::Create(bytes) => {
                self.keep_open(file, result);
                let descriptor = self.use_open(file).expect("it was just opened");
                let work = FileWork::Allocate { file: descriptor, bytes };
                self.start(Task { id, file, step: Step::Allocate }, work, ring);
                None
            }
            Step::Rename(to) => {
                if let Some(open) = self.open.remove(&file) {
                    self.open.insert(to, open);
                }
                let work = FileWork::Sync { file: self.folder_of(to), whole: true };
                self.start(Task { id, file: to, step: Step::Allocate }, work, ring);
                None
            }
            Step::Allocate | Step::Last => Some(done(id, None)),
            Step::Move => Some(moved(id, work, result)),
        }
    }

    fn folder_of(&self, file: File) -> RawFd {
        let path = file.to_string();
        let folder = self.folders.iter().find(|(name, _)| path.starts_with(name));
        folder.expect("each file stands in a folder").1.as_raw_fd()
    }

    fn keep_open(&mut self, file: File, descriptor: RawFd) {
        self.looks += 1;
        let open = Open { file: ring::own(descriptor), looked: self.looks, busy: 0 };
        self.open.insert(file, open);
        if self.open.len() > OPEN_MAX {
            let idle = |(_, open): &(&File, &Open)| open.busy == 0;
            let oldest = self.open.iter().filter(idle).min_by_key(|(_, open)| open.looked);
            if let Some(oldest) = oldest.map(|(file, _)| *file).filter(|oldest| *oldest != file) {
                self.open.remove(&oldest);
            }
        }
    }

    /// Carries out what a store that is being opened asks for.
    fn read_now(&self, request: DiskRequest) -> DiskCompletion {
        let id = request.id;
        match request.action {
            Action::List => DiskCompletion { id, blocks: None, outcome: Ok(self.list()) },
            Action::Read { file, offset, mut blocks } => {
                let read = self.read_file(file, offset, &mut blocks);
                let outcome = read.map(|()| Listing::default()).map_err(|error| {
                    self.logger.error(format_args!("Storage: {file}: {error}"));
                    failure_of(&error)
                });
                DiskCompletion { id, blocks: Some(blocks), outcome }
            }
            other => unreachable!("a store that is being opened writes nothing: {other:?}"),
        }
    }

    fn read_file(&self, file: File, offset: u64, blocks: &mut Blocks) -> io::Result<()> {
        let open = OpenFile::open(self.root.join(file.to_string()))?;
        let mut at = 0;
        while at < blocks.bytes().len() {
            match open.read_at(&mut blocks.bytes_mut()[at..], offset + at as u64) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        blocks.bytes_mut()[at..].fill(0);
        Ok(())
    }

    fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for (folder, _) in &self.folders {
            let Ok(entries) = fs::read_dir(self.root.join(folder)) else { continue };
            for entry in entries.flatten() {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                let bytes = entry.metadata().map_or(0, |about| about.len());
                match File::parse(&path) {
                    Some(file) => listing.files.push((file, bytes)),
                    None => listing.strays.push(path),
                }
            }
        }
        listing
    }
}

fn done(id: RequestId, blocks: Option<Blocks>) -> DiskCompletion {
    DiskCompletion { id, blocks, outcome: Ok(Listing::default()) }
}

/// The outcome of a write or read: short is done for a read at the end of a file only.
fn moved(id: RequestId, work: FileWork, result: i32) -> DiskCompletion {
    let count = result.max(0) as usize;
    match work {
        FileWork::Write { blocks, .. } if count < blocks.bytes().len() => {
            // What stopped it comes up when it is tried again: most likely there is no room.
            DiskCompletion { id, blocks: Some(blocks), outcome: Err(DiskFailure::Full) }
        }
        FileWork::Write { blocks, .. } => done(id, Some(blocks)),
        FileWork::Read { mut blocks, .. } => {
            blocks.bytes_mut()[count..].fill(0);
            done(id, Some(blocks))
        }
        other => unreachable!("no blocks were moved: {other:?}"),
    }
}

/// Errors that say only that it did not come to it.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

fn failure_of(error: &io::Error) -> DiskFailure {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => DiskFailure::Full,
        Some(libc::ENOENT) => DiskFailure::Absent,
        _ => DiskFailure::Failed,
    }
}

/// Refuses a folder in which nats-server keeps streams: they would seem to be gone.
fn refuse_foreign(root: &Path) -> Result<(), String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for account in entries.filter(|entry| !FOLDERS.iter().any(|own| entry.file_name() == *own)) {
        let streams = account.path().join("streams");
        if fs::read_dir(&streams).is_ok_and(|mut streams| streams.next().is_some()) {
            return Err(format!(
                "Can't start JetStream: {} holds streams of nats-server, which are moved with \
                 `nats account backup` and `nats account restore` (docs/MIGRATE.md)",
                streams.display()
            ));
        }
    }
    Ok(())
}

/// How a write in a folder is made to last. Where the drive keeps nothing that is lost with the
/// power, or can be written past its cache, the kernel needs one operation for it.
fn lasting_below(root: &Path) -> Lasting {
    match Drive::below(root) {
        Some(drive) if !drive.is_volatile() || drive.writes_through() => Lasting::Through,
        _ => Lasting::Flushed,
    }
}

/// Can files in a folder be written around the page cache?
fn takes_direct(root: &Path) -> io::Result<bool> {
    let path = root.join(".direct");
    let options = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .to_owned();
    let opened = options.open(&path);
    let written = opened.and_then(|file| file.write_all_at(Blocks::new(1).bytes(), 0));
    // It may never have been made.
    let _ = fs::remove_file(&path);
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use base::Wall;
    use storage::{Entry, Fetched, Kind, LogOptions, StoreOptions};

    use super::super::ring::Kind as EventKind;
    use super::*;
    use crate::log;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pinion-{name}-{}", std::process::id()));
        // It may never have been made.
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn logger() -> Logger {
        let settings = log::Settings {
            file: None,
            size_limit: None,
            max_files: None,
            time: crate::config::LogTime::None,
            levels: log::Levels { debug: false, trace: false },
        };
        log::start(settings).expect("a log to standard error can be written")
    }

    /// A store on a real disk.
    struct Machine {
        disk: Disk,
        ring: Ring,
        store: Store,
        now: u64,
    }

    impl Machine {
        fn start(root: &Path) -> Self {
            let mut disk = Disk::open(root, logger()).expect("the folder can be used");
            let ring = Ring::new(1, 4096).expect("a ring can be made here");
            // Small enough that files are made free and segments are written.
            let options = StoreOptions {
                journal_blocks: 64,
                part_bytes: 100_000,
                cache_bytes: 200_000,
                ..StoreOptions::default()
            };
            let mut store = Store::open(options);
            disk.recover(&mut store).expect("there is nothing against it");
            Self { disk, ring, store, now: 1 }
        }

        fn turn(&mut self) {
            self.now += 1_000_000;
            self.disk.ask(&mut self.store, Time(self.now), &mut self.ring);
            let wait = (!self.disk.is_idle()).then_some(base::Duration::from_millis(100));
            self.ring.enter(wait).expect("the ring works");
            let mut events = Vec::new();
            self.ring.collect(&mut events);
            for event in events.iter().filter(|event| event.kind == EventKind::File) {
                self.disk.take(&mut self.store, event, &mut self.ring);
            }
        }

        fn payload(&mut self, sequence: u64) -> Option<Vec<u8>> {
            let id = self.store.find(b"log").expect("the log is there");
            loop {
                match self.store.fetch(id, sequence) {
                    Fetched::Here(entry) => return Some(entry.payload().to_vec()),
                    Fetched::Reading(_) => self.turn(),
                    Fetched::Missing | Fetched::Damaged => return None,
                }
            }
        }
    }

    #[test]
    fn a_folder_of_nats_server_is_refused_once_it_holds_streams() {
        let root = folder("foreign");
        fs::create_dir_all(root.join("$G/streams")).expect("a folder can be made");
        drop(Disk::open(&root, logger()).expect("there is nothing in it"));
        fs::create_dir_all(root.join("$G/streams/S")).expect("a folder can be made");
        let refused = Disk::open(&root, logger()).err().expect("it is refused");
        assert!(refused.contains("holds streams of nats-server"), "{refused}");
        fs::remove_dir_all(&root).expect("the folder is there");
    }

    #[test]
    fn what_was_durable_is_there_when_it_opens_again() {
        let root = folder("disk");
        let mut machine = Machine::start(&root);
        let id = machine.store.create(b"log", Kind::File, LogOptions::default());
        let id = id.expect("the store is empty");
        for sequence in 1..=3000_u64 {
            let tail = format!("1000\r\n{sequence:01000}\r\n").into_bytes();
            let (subject, wall) = (&b"a.b"[..], Wall(sequence as i64));
            let entry = Entry { sequence, wall, subject, header: 0, tail: &tail, sizes_bytes: 6 };
            let position = machine.store.append(id, &entry).expect("there is room");
            if sequence % 10 == 0 {
                while !machine.store.durable().covers(position) {
                    machine.turn();
                }
            }
        }
        assert!(machine.store.remove(id, 7, false).is_some());
        while machine.store.durable().0 < machine.store.ordered().0 {
            machine.turn();
        }
        let second = Disk::open(&root, logger()).err().expect("one server works in a folder");
        assert!(second.contains("is in use by another server"), "{second}");
        drop(machine);
        let mut machine = Machine::start(&root);
        let segments = fs::read_dir(root.join("segments")).expect("there are segments").count();
        assert!(segments > 5, "{segments} segments");
        let id = machine.store.find(b"log").expect("the log is there");
        let log = machine.store.log(id);
        assert_eq!((log.first(), log.last(), log.messages()), (1, 3000, 2999));
        for sequence in [1, 2, 8, 500, 1500, 2999, 3000] {
            let expected = format!("{sequence:01000}").into_bytes();
            assert_eq!(machine.payload(sequence), Some(expected));
        }
        assert_eq!(machine.payload(7), None);
        drop(machine);
        fs::remove_dir_all(&root).expect("the folder is there");
    }
}
