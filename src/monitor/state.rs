//! What the monitor knows by itself: the configuration in force, who is gone, and the clock.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use accounts::Directory;
use base::{AccountId, Time, Wall};
use rustls::ServerConfig;
use shard::{
    Amendment, Answer, Census, Config, ConnectionView, Question, Reason, SubscriptionView,
};
use tokio::sync::{Semaphore, oneshot};

use super::cores::Cores;
use super::json::Stamp;
use super::system::{Looks, Services, Traces};
use super::usage::Usage;
use crate::config::Options;
use crate::log::Logger;
use crate::reactor::Report;
use crate::resolver::Resolver;

/// Requests of the system account that are answered at a time.
const REQUESTS_MAX: usize = 4096;

/// What is in force, replaced whole by a reload.
#[derive(Clone)]
pub(crate) struct Settled {
    pub(crate) options: Options,
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    /// When the certificates for clients and for WebSocket end.
    pub(crate) certificates_end: [Option<String>; 2],
    /// What handshakes are made by, where monitoring is over HTTPS.
    pub(crate) https: Option<Arc<ServerConfig>>,
    /// When it was loaded.
    pub(crate) loaded: Wall,
}

/// A connection that is gone.
pub(super) struct Closed {
    pub(super) view: ConnectionView,
    pub(super) reason: Reason,
    pub(super) stop: Wall,
    pub(super) subscriptions: Vec<SubscriptionView>,
}

/// What all parts of the monitor share; they run on one thread.
pub(super) struct State {
    pub(super) cores: Cores,
    pub(super) services: Services,
    pub(super) traces: Traces,
    /// Places for requests that are being answered.
    pub(super) requests: Arc<Semaphore>,
    pub(super) usage: Usage,
    pub(super) started: (Instant, Wall),
    settled: RefCell<Rc<Settled>>,
    /// Those that are gone, the last one last.
    pub(super) closed: RefCell<VecDeque<Rc<Closed>>>,
    /// How often each path was asked for.
    pub(super) visits: RefCell<BTreeMap<&'static str, u64>>,
    /// Messages that were sent in the server's name.
    pub(super) messages: Cell<u64>,
    /// To whoever started this.
    reports: mpsc::Sender<Report>,
    pub(super) logger: Logger,
    /// Who looks for accounts, where an operator vouches for them.
    pub(super) resolver: Option<Resolver>,
    pub(super) looks: Looks,
}

impl State {
    pub(super) fn new(
        cores: Cores,
        started: (Instant, Wall),
        settled: Settled,
        ((reports, logger), resolver): ((mpsc::Sender<Report>, Logger), Option<Resolver>),
    ) -> Self {
        Self {
            cores,
            services: Services::default(),
            traces: Traces::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            usage: Usage::new(started.0),
            started,
            settled: RefCell::new(Rc::new(settled)),
            closed: RefCell::default(),
            visits: RefCell::default(),
            messages: Cell::default(),
            reports,
            logger,
            resolver,
            looks: Looks::default(),
        }
    }

    pub(super) fn settled(&self) -> Rc<Settled> {
        self.settled.borrow().clone()
    }

    pub(super) fn settle(&self, settled: Settled) {
        *self.settled.borrow_mut() = Rc::new(settled);
    }

    /// Accounts are others now.
    pub(super) fn amend(&self, amendment: &Amendment) {
        let mut settled = self.settled.borrow_mut();
        let Settled { directory, config, .. } = Rc::make_mut(&mut settled);
        for directory in [directory, &mut config.accounts] {
            directory.amend(amendment);
        }
        if let Some(operator) = &mut config.auth.operator {
            operator.amend(amendment);
        }
    }

    /// What accounts may ask about themselves can be asked on all cores.
    pub(super) fn note_switched(&self) {
        // Nobody waits for it once the server stops.
        let _ = self.reports.send(Report::Reconfigured(1));
    }

    /// Has the configuration read again, and says what became of it.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        let stopping = || "server is shutting down".to_owned();
        self.reports.send(Report::Reload(sender)).map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }

    /// The world's time of a moment on the cores' clock.
    pub(super) fn wall_of(&self, time: Time) -> Wall {
        // The cores count from one.
        Wall(self.started.1.0 + (time.0 as i64 - 1).max(0))
    }

    /// Remembers a connection that came to its end.
    pub(super) fn remember(
        &self,
        view: ConnectionView,
        reason: Reason,
        subscriptions: Vec<SubscriptionView>,
    ) {
        let most = self.settled().options.monitor.max_closed_clients;
        let mut closed = self.closed.borrow_mut();
        closed.push_back(Rc::new(Closed { view, reason, stop: wall(), subscriptions }));
        while closed.len() > most {
            closed.pop_front();
        }
    }

    /// What there is on all cores together.
    pub(super) async fn census(&self) -> Census {
        let answers = self.cores.ask_all(|_| Question::Census).await;
        let mut sum = Census::default();
        for (_, answer) in answers {
            if let Answer::Census(census) = answer {
                sum.merge(&census);
            }
        }
        sum
    }
}

impl Settled {
    /// The name of an account.
    pub(super) fn name(&self, account: AccountId) -> &str {
        self.directory.accounts.get(account.index()).map_or("", |account| &account.name)
    }
}

/// The world's clock.
pub(crate) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Wall(since.map_or(0, |since| since.as_nanos() as i64))
}

/// Now, as it is written.
pub(super) fn now() -> Stamp {
    Stamp(wall())
}
