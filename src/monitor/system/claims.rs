//! Tokens of accounts through messages (spec 3.4): what the system account sends and asks for, and
//! what this server asks others for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use base::{AccountId, CoreId};
use serde::Serialize;
use shard::Request;
use subjects::grammar;
use tokio::sync::oneshot;

use super::super::json::{self, is_default};
use super::super::state::State;
use super::describe::ServerInfo;
use super::services::ClaimsEndpoint;
use super::speak;
use crate::reactor::Speech;
use crate::resolver::{Ask, Petition, Reply, Status};

/// Looks for accounts that wait for an answer.
#[derive(Default)]
pub(in super::super) struct Looks {
    waiting: RefCell<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    last: Cell<u64>,
}

/// Where answers to looks come, with the number of the look in place of the `*`.
pub(super) fn inbox(state: &State) -> String {
    format!("$SYS._INBOX.{}.*", state.settled().config.server_id)
}

/// Asks whoever listens in the system account for the token of an account.
pub(in super::super) fn look_up(state: &State, key: &str, found: oneshot::Sender<Vec<u8>>) {
    let looks = &state.looks;
    let look = looks.last.get() + 1;
    looks.last.set(look);
    let mut waiting = looks.waiting.borrow_mut();
    // Whoever waited for too long has gone.
    waiting.retain(|_, found| !found.is_closed());
    waiting.insert(look, found);
    let subject = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP").into_bytes();
    let reply = inbox(state).replace('*', &look.to_string()).into_bytes();
    let (header, payload) = (Vec::new(), Vec::new());
    let account = AccountId::SYSTEM;
    state.cores.speak(CoreId(0), Speech { account, subject, reply, header, payload });
}

/// An answer to a look came.
pub(super) fn found(state: &State, request: &Request) {
    let last = grammar::tokens(&request.subject).last().unwrap_or_default();
    let look = std::str::from_utf8(last).ok().and_then(|text| text.parse().ok());
    let waiting = look.and_then(|look: u64| state.looks.waiting.borrow_mut().remove(&look));
    if let Some(found) = waiting {
        // Whoever asked may have lost patience.
        let _ = found.send(request.payload.clone());
    }
}

/// Does what a request asks for, and answers.
pub(super) async fn serve(
    state: &State,
    core: CoreId,
    request: &Request,
    endpoint: ClaimsEndpoint,
) {
    let Some(resolver) = &state.resolver else { return };
    let token = |place: usize| {
        let token = grammar::tokens(&request.subject).nth(place).unwrap_or_default();
        String::from_utf8_lossy(token).into_owned()
    };
    let body = request.payload.clone();
    let petition = match endpoint {
        ClaimsEndpoint::Update => Petition::Update { key: None, token: body },
        ClaimsEndpoint::UpdateOf => Petition::Update { key: Some(token(3)), token: body },
        ClaimsEndpoint::UpdateOfOld => Petition::Update { key: Some(token(2)), token: body },
        ClaimsEndpoint::Delete => Petition::Delete(body),
        _ if request.reply.is_empty() => return,
        ClaimsEndpoint::LookUp => Petition::LookUp(token(3)),
        ClaimsEndpoint::List => Petition::List,
        ClaimsEndpoint::Pack => Petition::Pack(body),
    };
    let (asker, answer) = oneshot::channel();
    resolver.ask(Ask::Serve(petition, asker));
    let Ok(reply) = answer.await else { return };
    if request.reply.is_empty() {
        return;
    }
    let messages = match reply {
        Reply::Silence => Vec::new(),
        Reply::Plain(messages) => messages,
        Reply::Accounts(keys) => vec![json::compact(&Listed::new(state, keys))],
        Reply::Status(status) => vec![json::compact(&Answer::new(state, status))],
    };
    for message in messages {
        let subject = request.reply.clone();
        speak(state, core, request.account, subject, (Vec::new(), message));
    }
}

/// All accounts. Names are in the order of the reference, which sorts them.
#[derive(Serialize)]
struct Listed {
    data: Vec<String>,
    server: ServerInfo,
}

impl Listed {
    fn new(state: &State, data: Vec<String>) -> Self {
        Self { data, server: ServerInfo::next(state) }
    }
}

/// What became of a token.
#[derive(Serialize)]
struct Answer {
    server: ServerInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

#[derive(Serialize)]
struct Done {
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    code: u16,
    message: String,
}

#[derive(Serialize)]
struct Failed {
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    code: u16,
    description: String,
}

impl Answer {
    fn new(state: &State, status: Status) -> Self {
        let Status { account, message, problem } = status;
        let (data, error) = match problem {
            None => (Some(Done { account, code: 200, message }), None),
            Some(problem) => {
                let description = format!("{message} - {problem}");
                (None, Some(Failed { account, code: 500, description }))
            }
        };
        Self { server: ServerInfo::next(state), data, error }
    }
}
