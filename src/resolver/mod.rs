//! Looking for accounts that only others know (spec 3.4): in a directory of tokens, by HTTP, or
//! through messages.
//!
//! All of it runs on a thread of its own. Cores ask it for accounts and go on; what it finds goes
//! to the boot thread, which keeps the ledger and tells every core. A core hears of each account
//! that it asked for, found or not, within the time that a look may take.

mod claims;
mod http;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use accounts::Statement;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

pub(crate) use claims::{Petition, Reply, Status};

use crate::auth::{is_account_key, read_statement};
use crate::config::{Resolver as Kind, Vouching, now_s};
use crate::log::Logger;
use crate::monitor::{Notice, Notices};
use crate::reactor::Report;
use http::Library;
use store::Store;

/// Accounts that are looked for at a time; of others it is said that they are not there.
const LOOKS_MAX: usize = 4096;
/// Accounts that one may lead to by what it imports.
const RELATED_MAX: usize = 256;
/// A look that takes longer is worth a warning.
const SLOW_LOOK: Duration = Duration::from_secs(1);
/// How often a system account that nobody knows yet is looked for.
const SYSTEM_RETRY: Duration = Duration::from_secs(1);

/// What the resolver is asked for.
pub(crate) enum Ask {
    /// Look for these accounts, for whoever waits for them.
    Find(Vec<String>),
    /// Do what a message to the system account asks for.
    Serve(Petition, oneshot::Sender<Reply>),
    /// The configuration was read again: so is the directory, and these tokens are kept.
    Reload(Vec<Statement>),
    /// What is known about all accounts changed: these are in force, and these are no more.
    Settled { taken: Vec<String>, withdrawn: Vec<String> },
}

/// The way to the resolver.
#[derive(Clone)]
pub(crate) struct Resolver(UnboundedSender<Ask>);

impl Resolver {
    /// Asks it for something.
    pub(crate) fn ask(&self, ask: Ask) {
        // It lives as long as the process.
        let _ = self.0.send(ask);
    }
}

/// What was found out about accounts, for the boot thread to put in force.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Tokens, proven.
    pub(crate) statements: Vec<Statement>,
    /// Only of accounts that are known?
    pub(crate) if_known: bool,
    /// Accounts that are no more.
    pub(crate) withdrawn: Vec<String>,
    /// Accounts that somebody waits for.
    pub(crate) answered: Vec<String>,
    /// Who wants to hear when it holds on all cores.
    pub(crate) told: Option<oneshot::Sender<Learning>>,
}

/// What became of what was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learning {
    /// It is in force.
    InForce,
    /// The account is not known here.
    Skipped,
    /// No operator has signed it, or what it says cannot be.
    Refused,
}

/// What the resolver is started with.
pub(crate) struct Parts {
    pub(crate) vouching: Vouching,
    /// The key of the system account; empty for none.
    pub(crate) system: String,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) notices: Notices,
    pub(crate) logger: Logger,
}

/// Where tokens come from.
enum Source {
    Nowhere,
    Library(Library),
    Directory(RefCell<Store>),
}

/// What the tasks of the resolver share; they run on one thread.
struct Desk {
    source: Source,
    vouching: Vouching,
    system: String,
    /// Accounts that are in force.
    known: RefCell<HashSet<String>>,
    /// Accounts that are being looked for.
    sought: RefCell<HashSet<String>>,
    looks: Cell<usize>,
    reports: mpsc::Sender<Report>,
    notices: Notices,
    logger: Logger,
}

/// Starts the resolver, which ends with the process. Returns the way to it and what it has found
/// of the system account. The error is one line for the user.
pub(crate) fn start(parts: Parts) -> Result<(Resolver, Vec<Statement>), String> {
    let (sender, receiver) = unbounded_channel();
    let (ready, is_ready) = mpsc::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs a few descriptors");
        LocalSet::new().block_on(&runtime, run(parts, receiver, ready));
    };
    let thread = std::thread::Builder::new().name("resolver".into()).spawn(run);
    thread.map_err(|error| format!("cannot start the resolver: {error}"))?;
    let found = is_ready.recv().map_err(|_| "the resolver ended at its start".to_owned())??;
    Ok((Resolver(sender), found))
}

type Ready = mpsc::Sender<Result<Vec<Statement>, String>>;

async fn run(parts: Parts, mut asks: UnboundedReceiver<Ask>, ready: Ready) {
    let desk = match Desk::open(parts).await {
        Ok(desk) => Rc::new(desk),
        Err(problem) => {
            let _ = ready.send(Err(problem));
            return;
        }
    };
    let found = desk.first_look().await;
    let is_found = !found.is_empty();
    if ready.send(Ok(found)).is_err() {
        return;
    }
    if !is_found && desk.vouching.ledger.is_provisional() {
        desk.logger.info("Using bootstrapping system account");
        spawn_local(desk.clone().await_system());
    }
    spawn_local(desk.clone().sweep());
    while let Some(ask) = asks.recv().await {
        desk.take(ask);
    }
}

impl Desk {
    async fn open(parts: Parts) -> Result<Self, String> {
        let Parts { vouching, system, reports, notices, logger } = parts;
        let source = match &vouching.resolver {
            Kind::Memory => Source::Nowhere,
            Kind::Url { url, tls } => {
                let library = Library::new(url, tls.as_deref())?;
                // Is anybody there at all?
                library.fetch("").await?;
                Source::Library(library)
            }
            Kind::Directory(terms) => {
                let mut store = Store::open((**terms).clone())?;
                for statement in &vouching.preload {
                    store.save_if_newer(statement.key(), statement.text())?;
                }
                let what = if store.is_cache() { "some" } else { "all" };
                let path = store.path().display();
                logger.info(format_args!("Managing {what} jwt in exclusive directory {path}"));
                Source::Directory(RefCell::new(store))
            }
        };
        let known = vouching.ledger.keys().map(str::to_owned).collect();
        Ok(Self {
            source,
            vouching,
            system,
            known: RefCell::new(known),
            sought: RefCell::default(),
            looks: Cell::new(0),
            reports,
            notices,
            logger,
        })
    }

    fn take(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Find(keys) => keys.into_iter().for_each(|key| self.find(key)),
            Ask::Serve(petition, reply) => {
                let desk = self.clone();
                spawn_local(async move {
                    // Whoever asked may be gone.
                    let _ = reply.send(desk.serve(petition).await);
                });
            }
            Ask::Reload(preload) => self.reload(&preload),
            Ask::Settled { taken, withdrawn } => {
                let mut known = self.known.borrow_mut();
                known.extend(taken);
                for key in withdrawn {
                    known.remove(&key);
                }
            }
        }
    }

    /// What is to be known of the system account before the server starts.
    async fn first_look(self: &Rc<Self>) -> Vec<Statement> {
        if self.system.is_empty() || !self.vouching.ledger.is_provisional() {
            return Vec::new();
        }
        match &self.source {
            // Others are only heard once the server runs.
            Source::Directory(store) => {
                let text = store.borrow_mut().load(&self.system).ok().flatten();
                text.and_then(|text| read_statement(&text).ok()).into_iter().collect()
            }
            _ => self.look(&self.system.clone()).await,
        }
    }

    /// Looks for the system account until it is there.
    async fn await_system(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SYSTEM_RETRY).await;
            let found = match &self.source {
                Source::Directory(store) => {
                    let text = store.borrow_mut().load(&self.system).ok().flatten();
                    text.and_then(|text| read_statement(&text).ok()).into_iter().collect()
                }
                Source::Library(_) => self.look(&self.system).await,
                Source::Nowhere => return,
            };
            if !found.is_empty() {
                return self.report(Learned { statements: found, ..Learned::default() });
            }
        }
    }

    /// Removes tokens that have run out, now and then.
    async fn sweep(self: Rc<Self>) {
        let Source::Directory(store) = &self.source else { return };
        let interval = store.borrow().sweep_interval();
        loop {
            tokio::time::sleep(interval).await;
            store.borrow_mut().sweep(Instant::now(), now_s());
        }
    }

    /// Looks for an account, and answers in any case.
    fn find(self: &Rc<Self>, key: String) {
        if self.looks.get() >= LOOKS_MAX || !is_account_key(&key) {
            return self.report(Learned { answered: vec![key], ..Learned::default() });
        }
        if !self.sought.borrow_mut().insert(key.clone()) {
            return;
        }
        self.looks.set(self.looks.get() + 1);
        let desk = self.clone();
        spawn_local(async move {
            let statements = desk.look(&key).await;
            desk.sought.borrow_mut().remove(&key);
            desk.looks.set(desk.looks.get() - 1);
            desk.report(Learned { statements, answered: vec![key], ..Learned::default() });
        });
    }

    /// An account, with those that it imports from as far as they are not in force yet.
    async fn look(&self, key: &str) -> Vec<Statement> {
        let mut found: BTreeMap<String, Statement> = BTreeMap::new();
        let mut wanted = vec![key.to_owned()];
        let mut asked: HashSet<String> = HashSet::from([key.to_owned()]);
        while let Some(key) = wanted.pop() {
            let Some(statement) = self.fetch(&key).await else { continue };
            for exporter in statement.exporters() {
                let fresh = !self.known.borrow().contains(exporter) && is_account_key(exporter);
                if fresh && asked.len() < RELATED_MAX && asked.insert(exporter.to_owned()) {
                    wanted.push(exporter.to_owned());
                }
            }
            found.insert(key, statement);
        }
        found.into_values().collect()
    }

    /// The token of one account.
    async fn fetch(&self, key: &str) -> Option<Statement> {
        let begun = Instant::now();
        let fetched = self.fetch_text(key).await;
        let took = begun.elapsed();
        let line = format!("Account [{key}] fetch took {took:?}");
        if took > SLOW_LOOK {
            self.logger.warn(line);
        } else {
            self.logger.debug(line);
        }
        let problem = match fetched {
            Ok(text) => match read_statement(&text) {
                Ok(statement) if statement.key() == key => return Some(statement),
                Ok(_) => "account validation failed".to_owned(),
                Err(fault) => fault.to_string(),
            },
            Err(problem) => problem,
        };
        self.logger.warn(format_args!("Account fetch failed: {problem}"));
        None
    }

    async fn fetch_text(&self, key: &str) -> Result<String, String> {
        match &self.source {
            Source::Nowhere => Err("account missing".to_owned()),
            Source::Library(library) => library.fetch(key).await,
            Source::Directory(store) => {
                let held = store.borrow_mut().load(key)?;
                match held.filter(|text| !text.is_empty()) {
                    Some(text) => Ok(text),
                    None => self.ask_others(store, key).await,
                }
            }
        }
    }

    /// Asks those who listen in the system account, as other servers of a cluster would.
    async fn ask_others(&self, store: &RefCell<Store>, key: &str) -> Result<String, String> {
        let (sender, receiver) = oneshot::channel();
        self.notices.tell(Notice::LookUp(key.to_owned(), sender)).await;
        let timeout = store.borrow().timeout();
        let Ok(answer) = tokio::time::timeout(timeout, receiver).await else {
            return Err("fetching jwt timed out".to_owned());
        };
        let text = answer.map_err(|_| "eventing shut down".to_owned())?;
        if text.is_empty() {
            return Err("account jwt not found".to_owned());
        }
        let text = String::from_utf8(text).map_err(|_| "invalid JWT".to_owned())?;
        store.borrow_mut().save_if_newer(key, &text)?;
        Ok(text)
    }

    /// The configuration was read again.
    fn reload(&self, preload: &[Statement]) {
        let Source::Directory(store) = &self.source else { return };
        let mut store = store.borrow_mut();
        let mut changed = store.reload();
        for statement in preload {
            if store.save_if_newer(statement.key(), statement.text()) == Ok(true) {
                changed.push(statement.key().to_owned());
            }
        }
        let texts = changed.iter().filter_map(|key| store.load(key).ok().flatten());
        let statements: Vec<Statement> =
            texts.filter_map(|text| read_statement(&text).ok()).collect();
        if !statements.is_empty() {
            self.report(Learned { statements, if_known: true, ..Learned::default() });
        }
    }

    fn report(&self, learned: Learned) {
        // Without a boot thread there is nobody to tell.
        let _ = self.reports.send(Report::Learned(Box::new(learned)));
    }

    /// The same, and waits until it is in force.
    async fn put_in_force(&self, learned: Learned) -> Learning {
        let (told, heard) = oneshot::channel();
        self.report(Learned { told: Some(told), ..learned });
        heard.await.unwrap_or(Learning::Skipped)
    }
}
