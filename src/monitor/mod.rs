//! Looking after a running server: HTTP endpoints for monitoring, requests in the system account.
//!
//! All of it runs on a thread of its own, which owns everything it works with. It asks the cores
//! by commands and is told what happened on them by notices; no core ever waits for it.

mod cores;
mod http;
mod json;
mod metrics;
mod outlet;
pub mod query;
mod state;
mod system;
mod usage;
mod views;

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Instant;

use base::{CoreId, Wall};
use shard::{Amendment, Happening};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

use cores::Cores;
pub(crate) use cores::Reach;
pub(crate) use outlet::{News, Outlet};
use state::State;
pub(crate) use state::{Settled, wall};

use crate::config::Options;
use crate::log::Logger;
use crate::notation::join_host_port;
use crate::reactor::Report;
use crate::resolver::Resolver;

/// What the monitor is told.
pub(crate) enum Notice {
    /// This happened on a core.
    Core { core: CoreId, news: Box<News> },
    /// Another configuration is in force.
    Settled(Box<Settled>),
    /// Accounts are others now. The monitor switches as a core does, and reports it as one.
    Amended(Box<Amendment>),
    /// The token of an account is wanted from whoever listens in the system account.
    LookUp(String, oneshot::Sender<Vec<u8>>),
    /// The server will go, and closes its connections one by one.
    LameDuck,
    /// The server goes now. Whoever says so waits to hear that this was told.
    Stopping(mpsc::Sender<()>),
}

/// Notices that wait for the monitor.
const NOTICES_MAX: usize = 1024;

/// Where notices are put in.
#[derive(Clone)]
pub(crate) struct Notices(Sender<Notice>);

impl Notices {
    /// Tells the monitor, and waits for room: not for cores, which have an [`Outlet`].
    pub(crate) fn send(&self, notice: Notice) {
        // Without a monitor nobody wants to know.
        let _ = self.0.blocking_send(notice);
    }

    /// The same for a task, which yields while there is no room.
    pub(crate) async fn tell(&self, notice: Notice) {
        let _ = self.0.send(notice).await;
    }

    /// A core's way to tell.
    pub(crate) fn outlet(&self, core: CoreId) -> Outlet {
        Outlet::new(core, self.0.clone())
    }
}

/// Where notices come out.
pub(crate) struct Inbox(Receiver<Notice>);

/// Both ends of what the monitor is told by.
pub(crate) fn notices() -> (Notices, Inbox) {
    let (sender, receiver) = channel(NOTICES_MAX);
    (Notices(sender), Inbox(receiver))
}

/// What the monitor is started with.
pub(crate) struct Parts {
    pub(crate) inbox: Inbox,
    pub(crate) cores: Vec<Reach>,
    pub(crate) settled: Settled,
    /// When the cores began to count time.
    pub(crate) started: (Instant, Wall),
    pub(crate) listener: Option<TcpListener>,
    /// To whoever starts this, and to whoever reads the log.
    pub(crate) outward: (mpsc::Sender<Report>, Logger),
    pub(crate) resolver: Option<Resolver>,
}

/// Opens the port for monitoring, if there is to be one. The error is a line for the log.
pub(crate) fn listen(options: &Options) -> Result<Option<TcpListener>, String> {
    let monitor = &options.monitor;
    let (http, https) = (monitor.http_port, monitor.https_port);
    if http != 0 && https != 0 {
        return Err(format!("can't specify both HTTP ({http}) and HTTPs ({https}) ports"));
    }
    if https != 0 && options.tls.is_none() {
        return Err("TLS cert and key required for HTTPS".to_owned());
    }
    let port = match http + https {
        0 => return Ok(None),
        -1 => 0,
        port => port,
    };
    let host = monitor.host.as_str();
    let shown = join_host_port(host, port);
    let fail =
        |reason: &str| format!("can't listen to the monitor port: listen tcp {shown}: {reason}");
    let port = u16::try_from(port).map_err(|_| fail("invalid port"))?;
    // An address that names no interface takes IPv4 and IPv6 alike, where there is IPv6.
    let listener = match host {
        "0.0.0.0" | "" => TcpListener::bind(("::", port)).or_else(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Err(error),
            _ => TcpListener::bind(("0.0.0.0", port)),
        }),
        host => TcpListener::bind((host, port)),
    };
    let listener = listener
        .map_err(|error| fail(&format!("bind: {}", crate::notation::error_text(&error))))?;
    listener.set_nonblocking(true).map_err(|error| fail(&error.to_string()))?;
    Ok(Some(listener))
}

/// What the log says of the port for monitoring.
pub(crate) fn announcement(options: &Options, address: SocketAddr) -> String {
    let shown = join_host_port(&options.monitor.host, address.port());
    format!("Starting {} monitor on {shown}", scheme(options))
}

/// What monitoring speaks.
pub(crate) const fn scheme(options: &Options) -> &'static str {
    if options.monitor.https_port == 0 { "http" } else { "https" }
}

/// Starts the monitor, which ends with the process, and returns once it hears requests.
pub(crate) fn start(parts: Parts) -> Result<(), String> {
    let (ready, is_ready) = mpsc::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs a few descriptors");
        LocalSet::new().block_on(&runtime, run(parts, ready));
    };
    let thread = std::thread::Builder::new().name("monitor".into()).spawn(run);
    thread.map_err(|error| format!("cannot start the monitor: {error}"))?;
    is_ready.recv().map_err(|_| "the monitor ended at its start".to_owned())
}

async fn run(parts: Parts, ready: mpsc::Sender<()>) {
    let Parts { inbox, cores, settled, started, listener, outward, resolver } = parts;
    let state = Rc::new(State::new(Cores::new(cores), started, settled, (outward, resolver)));
    let (happenings, teller) = system::Teller::new();
    spawn_local(system::tell(state.clone(), teller));
    let begin = {
        let state = state.clone();
        async move {
            state.services.open(&state);
            state.cores.pass_on().await;
            if let Some(listener) = listener {
                spawn_local(http::serve(listener, state));
            }
            // Whoever starts this waits for it.
            let _ = ready.send(());
        }
    };
    spawn_local(begin);
    take_notice(&state, inbox, &happenings).await;
}

async fn take_notice(state: &Rc<State>, Inbox(mut inbox): Inbox, happened: &Sender<Happening>) {
    while let Some(notice) = inbox.recv().await {
        match notice {
            Notice::Core { core, news } => take_news(state, core, *news, happened),
            Notice::Settled(settled) => {
                state.settle(*settled);
                state.services.open_accounts(state);
            }
            Notice::Amended(amendment) => {
                state.amend(&amendment);
                let fresh = state.services.open_accounts(state);
                let state = state.clone();
                spawn_local(async move {
                    if fresh {
                        state.cores.pass_on().await;
                    }
                    state.note_switched();
                });
            }
            Notice::LookUp(key, found) => system::look_up(state, &key, found),
            Notice::LameDuck => system::say_lame_duck(state),
            Notice::Stopping(told) => {
                let state = state.clone();
                spawn_local(async move {
                    system::say_goodbye(&state).await;
                    // Whoever waited may have lost patience.
                    let _ = told.send(());
                });
            }
        }
    }
}

fn take_news(state: &Rc<State>, core: CoreId, news: News, happened: &Sender<Happening>) {
    let News { requests, answers, happenings, traced } = news;
    for (ticket, answer) in answers {
        state.cores.hear(ticket, answer);
    }
    for request in requests {
        // Whoever asks faster than is answered hears nothing.
        if let Ok(place) = state.requests.clone().try_acquire_owned() {
            let state = state.clone();
            spawn_local(async move {
                system::answer(state, core, request).await;
                drop(place);
            });
        }
    }
    for happening in happenings {
        on_happening(state, happened, happening);
    }
    for part in traced {
        system::collect_trace(state, part);
    }
}

fn on_happening(state: &State, tell: &Sender<Happening>, happening: Happening) {
    let told = match happening {
        Happening::Ended(view, reason, subscriptions) => {
            state.remember((*view).clone(), reason, subscriptions);
            Happening::Ended(view, reason, Vec::new())
        }
        other => other,
    };
    // With so many that nobody was told of yet, nobody is told of this one.
    let _ = tell.try_send(told);
}
