//! Answers to requests.

use std::rc::Rc;

use ::accounts::{Permissions, Rule, Token};
use base::{AccountId, ConnectionId, CoreId, Slot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shard::{Answer, ConnectionFilter, Question, Request, SortKey, SubscriptionFilter};
use subjects::grammar;

use super::super::json::{self, is_default};
use super::super::state::{State, wall};
use super::super::views::{accounts, connz, health, jsz, others, subsz, varz};
use super::claims;
use super::describe::ServerInfo;
use super::encoding::{self, Encoding};
use super::events;
use super::filter::{self, Read};
use super::services::{AccountEndpoint, Endpoint, Service};
use super::speak;

/// Why there is no answer in data.
enum Failure {
    /// The answer is silence.
    Silence,
    /// The answer says what is wrong with the body.
    Wrong(String),
    /// The answer says why there is no data.
    NoData(String),
    /// The answer says why nothing was done.
    NotDone(String),
}

impl From<String> for Failure {
    fn from(description: String) -> Self {
        Self::NoData(description)
    }
}

/// The data of an answer, already as JSON; empty where success is all there is to say.
type Outcome = Result<Vec<u8>, Failure>;

fn data(value: &impl Serialize) -> Vec<u8> {
    json::compact(value)
}

/// A request, and where it came in.
struct Asked<'a> {
    state: &'a State,
    core: CoreId,
    request: &'a Request,
}

/// Answers a request that came in on a core.
pub(in super::super) async fn answer(state: Rc<State>, core: CoreId, request: Request) {
    let service = state.services.get(request.service);
    let asked = Asked { state: &state, core, request: &request };
    match service {
        Service::Server(Endpoint::Stats) => asked.statistics().await,
        Service::Claims(endpoint) => claims::serve(&state, core, &request, endpoint).await,
        Service::Found => claims::found(&state, &request),
        _ if request.reply.is_empty() => {}
        Service::Server(Endpoint::Id) => asked.identity(),
        Service::CountSubscribers => asked.count_subscribers().await,
        Service::Account(AccountEndpoint::Count) => asked.account_connections().await,
        // Every core heard it, and the one that the connection is on knows who asks.
        Service::User if request.speaker.is_none() => {}
        _ => {
            let outcome = asked.outcome(service).await;
            asked.reply(outcome);
        }
    }
}

impl Asked<'_> {
    async fn outcome(&self, service: Service) -> Outcome {
        let state = self.state;
        match service {
            Service::Server(endpoint) => self.server(endpoint).await,
            Service::Account(endpoint) => self.account(endpoint).await,
            Service::AllAccounts => {
                let options: accounts::StatOptions = self.options()?;
                self.traffic(options).await
            }
            Service::OwnTraffic => {
                let mut options: accounts::StatOptions = self.options()?;
                options.accounts = vec![state.settled().name(self.request.account).to_owned()];
                self.traffic(options).await
            }
            Service::OwnConnections => {
                let mut options: connz::Options = self.options()?;
                state.settled().name(self.request.account).clone_into(&mut options.acc);
                Ok(data(&connz::connz(state, &options).await?))
            }
            Service::User => self.user().await,
            Service::Reload => {
                self.options::<Anything>()?;
                state.reload().await.map_err(Failure::NotDone)?;
                Ok(Vec::new())
            }
            Service::Kick => {
                self.at_connection(Question::Kick, "no such client or leafnode id").await
            }
            Service::SendAway => self.at_connection(Question::SendAway, "no such client id").await,
            Service::CountSubscribers | Service::Claims(_) | Service::Found => {
                unreachable!("its answer is no JSON of this form")
            }
        }
    }

    /// Reads the body.
    fn options<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        match filter::read(self.state, &self.request.payload) {
            Read::Options(options) => Ok(options),
            Read::Elsewhere => Err(Failure::Silence),
            Read::Wrong(description) => Err(Failure::Wrong(description)),
        }
    }

    async fn server(&self, endpoint: Endpoint) -> Outcome {
        let state = self.state;
        match endpoint {
            Endpoint::Vars => {
                self.options::<Anything>()?;
                Ok(data(&varz::varz(state).await))
            }
            Endpoint::Subscriptions => Ok(data(&subsz::subsz(state, &self.options()?).await?)),
            Endpoint::Connections => Ok(data(&connz::connz(state, &self.options()?).await?)),
            Endpoint::Accounts => Ok(data(&accounts::accountz(state, &self.options()?).await?)),
            Endpoint::Health => Ok(data(&health::healthz(state, &self.options()?).await)),
            Endpoint::JetStream => {
                let options: jsz::Options = self.options()?;
                if options.leader_only && state.settled().options.jetstream.is_none() {
                    return Err(Failure::Silence);
                }
                Ok(data(&jsz::jsz(state, &options).await))
            }
            Endpoint::Profile => {
                let options: ProfileOptions = self.options()?;
                Ok(data(&options.refusal()))
            }
            other => {
                self.options::<Anything>()?;
                match other {
                    Endpoint::Routes => Ok(data(&others::routez(state))),
                    Endpoint::Gateways => Ok(data(&others::gatewayz(state))),
                    Endpoint::Leafs => Ok(data(&others::leafz(state))),
                    Endpoint::Exported => Ok(data(&others::expvarz(state))),
                    _ => Ok(data(&others::ipqueuesz())),
                }
            }
        }
    }

    async fn account(&self, endpoint: AccountEndpoint) -> Outcome {
        let state = self.state;
        let name = self.account_token();
        match endpoint {
            AccountEndpoint::Subscriptions => {
                let mut options: subsz::Options = self.options()?;
                options.subscriptions = true;
                options.account = name;
                Ok(data(&subsz::subsz(state, &options).await?))
            }
            AccountEndpoint::Connections => {
                let mut options: connz::Options = self.options()?;
                options.acc = name;
                Ok(data(&connz::connz(state, &options).await?))
            }
            AccountEndpoint::Leafs => {
                self.options::<Anything>()?;
                Ok(data(&others::leafz(state)))
            }
            AccountEndpoint::Info => {
                self.options::<Anything>()?;
                // Where there is an error, data is there as well, and nothing.
                Ok(data(&accounts::detail(state, &name).await?))
            }
            AccountEndpoint::Stats if name == "PING" => Err(Failure::Silence),
            AccountEndpoint::Stats => {
                let mut options: accounts::StatOptions = self.options()?;
                options.accounts = vec![name];
                self.traffic(options).await
            }
            AccountEndpoint::JetStream => {
                let options: jsz::Options = self.options()?;
                Ok(data(&jsz::account(state, &name, &options).await?))
            }
            AccountEndpoint::Count => unreachable!("its answer is an event"),
        }
    }

    /// The account that the subject names.
    fn account_token(&self) -> String {
        let token = grammar::tokens(&self.request.subject).nth(3).unwrap_or_default();
        String::from_utf8_lossy(token).into_owned()
    }

    async fn traffic(&self, options: accounts::StatOptions) -> Outcome {
        let view = accounts::statz(self.state, &options).await;
        if view.is_empty() && !options.include_unused {
            return Err(Failure::Silence);
        }
        Ok(data(&view))
    }

    async fn user(&self) -> Outcome {
        let (slot, id) = self.request.speaker.expect("it is known who asks");
        let question = Question::Describe(vec![(slot, id)]);
        let answer = self.state.cores.ask(self.core.index(), question).await;
        let Some(Answer::Described(views)) = answer else { return Err(Failure::Silence) };
        let view = views.into_iter().next().ok_or(Failure::Silence)?;
        let account = self.state.settled().name(view.account).to_owned();
        let token = Token::read(&view.jwt);
        Ok(data(&User {
            id: view.user,
            account_name: account.clone(),
            account,
            name: token.as_ref().map_or_else(String::new, |token| token.name().to_owned()),
            permissions: view.permissions.as_ref().map(PermissionsView::new),
            expires: token.map_or(0, |token| time_left(&token)),
        }))
    }

    /// Does something to the connection that the body names.
    async fn at_connection(
        &self,
        question: fn(Slot, ConnectionId) -> Question,
        missing: &str,
    ) -> Outcome {
        // To what names no connection there is no answer.
        let wanted: Option<Target> = serde_json::from_slice(&self.request.payload).ok();
        let Target { cid } = wanted.ok_or(Failure::Silence)?;
        self.options::<Anything>()?;
        let filter =
            ConnectionFilter { id: Some(ConnectionId(cid)), ..ConnectionFilter::default() };
        let cores = &self.state.cores;
        let answers = cores.ask_all(|_| Question::Connections(filter.clone(), SortKey::Id)).await;
        for (core, answer) in answers {
            let Answer::Connections(found) = answer else { continue };
            let Some(sighting) = found.first() else { continue };
            let answer = cores.ask(core, question(sighting.slot, sighting.id)).await;
            if let Some(Answer::Done(true)) = answer {
                return Ok(Vec::new());
            }
        }
        Err(Failure::NotDone(missing.to_owned()))
    }

    /// Statistics of the server, which have a form of their own.
    async fn statistics(&self) {
        if let Err(failure) = self.options::<Anything>() {
            return self.reply(Err(failure));
        }
        let (subject, account) = if self.request.reply.is_empty() {
            (events::statistics_subject(self.state).into_bytes(), AccountId::SYSTEM)
        } else {
            (self.request.reply.clone(), self.request.account)
        };
        let message = events::statistics(self.state).await;
        speak(self.state, self.core, account, subject, (Vec::new(), message));
    }

    fn identity(&self) {
        #[derive(Serialize)]
        struct Identity {
            name: String,
            host: String,
            id: String,
        }
        let settled = self.state.settled();
        let identity = Identity {
            name: settled.config.server_name.clone(),
            host: settled.options.host.clone(),
            id: settled.config.server_id.clone(),
        };
        self.say(json::compact(&identity), None);
    }

    /// Connections of an account, as an event says it.
    async fn account_connections(&self) {
        let name = self.account_token();
        let Some(account) = self.state.settled().directory.find(&name) else { return };
        let census = accounts::counts(self.state, account).await;
        if census.connections > 0 {
            self.say(events::connections(self.state, &census), None);
        }
    }

    /// How many clients of the system account would get a message on a subject.
    async fn count_subscribers(&self) {
        let body = String::from_utf8_lossy(&self.request.payload).into_owned();
        let mut words = body.split_whitespace();
        let (subject, queue) = (words.next().unwrap_or_default(), words.next());
        let literal = grammar::is_literal(subject.as_bytes());
        let wanted = Some(subject.as_bytes().to_vec());
        let filter = SubscriptionFilter {
            account: Some(self.request.account),
            test: wanted.clone().filter(|_| literal),
            meets: wanted.filter(|_| !literal),
            limit: usize::MAX,
            ..SubscriptionFilter::default()
        };
        let answers = self.state.cores.ask_all(|_| Question::Subscriptions(filter.clone())).await;
        let mut count = 0;
        for (_, answer) in answers {
            let Answer::Subscriptions(_, found) = answer else { continue };
            let counted = found.iter().filter(|view| view.connection.0 != 0);
            let counted = counted.filter(|view| literal || within(&view.subject, subject));
            count += counted
                .filter(|view| queue.is_none_or(|queue| view.queue == queue.as_bytes()))
                .count();
        }
        self.say(count.to_string().into_bytes(), None);
    }

    fn reply(&self, outcome: Outcome) {
        let (data, error) = match outcome {
            Ok(data) => (Some(data).filter(|data| !data.is_empty()), None),
            Err(Failure::Silence) => return,
            Err(Failure::Wrong(description)) => (None, Some(Problem { code: 400, description })),
            Err(Failure::NoData(description)) => {
                (Some(b"null".to_vec()), Some(Problem { code: 500, description }))
            }
            Err(Failure::NotDone(description)) => (None, Some(Problem { code: 500, description })),
        };
        let mut message = b"{\"server\":".to_vec();
        message.extend(json::compact(&ServerInfo::next(self.state)));
        for (name, value) in
            [(",\"data\":", data), (",\"error\":", error.as_ref().map(json::compact))]
        {
            if let Some(value) = value {
                message.extend_from_slice(name.as_bytes());
                message.extend(value);
            }
        }
        message.push(b'}');
        let encoding = error.is_none().then(|| Encoding::asked(&self.request.header)).flatten();
        self.say(message, encoding);
    }

    /// Sends the answer where it was asked for, on the core and in the account that it came from.
    fn say(&self, message: Vec<u8>, encoding: Option<Encoding>) {
        let message = encoding::pack(encoding, message);
        let subject = self.request.reply.clone();
        speak(self.state, self.core, self.request.account, subject, message);
    }
}

/// Is every subject of the pattern one of the other's?
fn within(pattern: &[u8], other: &str) -> bool {
    let mut tokens = grammar::tokens(pattern);
    for wanted in grammar::tokens(other.as_bytes()) {
        let Some(token) = tokens.next() else { return false };
        match wanted {
            b">" => return true,
            b"*" if token != b">" => {}
            _ if token == wanted => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[derive(Serialize)]
struct Problem {
    code: u16,
    description: String,
}

/// Options that do not matter here.
#[derive(Default, Deserialize)]
struct Anything {}

/// The connection that is meant.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    cid: u64,
}

/// Who asks.
#[derive(Serialize)]
struct User {
    #[serde(rename = "user")]
    id: String,
    account: String,
    account_name: String,
    #[serde(rename = "user_name", skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsView>,
    /// Nanoseconds until then; zero for never.
    #[serde(skip_serializing_if = "is_default")]
    expires: i64,
}

/// What who asks may do.
#[derive(Serialize)]
struct PermissionsView {
    publish: RuleView,
    subscribe: RuleView,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsesView>,
}

#[derive(Serialize)]
struct RuleView {
    #[serde(skip_serializing_if = "is_default")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    deny: Vec<String>,
}

#[derive(Serialize)]
struct ResponsesView {
    max: i64,
    ttl: u64,
}

impl PermissionsView {
    fn new(permissions: &Permissions) -> Self {
        let rule = |rule: &Rule| RuleView {
            allow: rule.allow.clone().unwrap_or_default(),
            deny: rule.deny.clone(),
        };
        Self {
            publish: rule(&permissions.publish),
            subscribe: rule(&permissions.subscribe),
            responses: permissions.responses.map(|responses| ResponsesView {
                max: responses.max,
                ttl: responses.expires.as_nanos() as u64,
            }),
        }
    }
}

/// Nanoseconds until a token ends; zero for never.
fn time_left(token: &Token) -> i64 {
    match token.expires_s() {
        0 => 0,
        ends => ends.saturating_mul(1_000_000_000).saturating_sub(wall().0).max(0),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProfileOptions {
    name: String,
}

#[derive(Serialize)]
struct Profile {
    profile: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    error: String,
}

impl ProfileOptions {
    /// Profiles are taken from outside, with the kernel's tools.
    fn refusal(&self) -> Profile {
        let error = match self.name.as_str() {
            "" => "Profile name not specified".to_owned(),
            name => format!("Profile {} not found", crate::notation::quote(name)),
        };
        Profile { profile: None, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_within_others() {
        for (pattern, other, expected) in [
            ("a.b", "a.*", true),
            ("a.*", "a.*", true),
            ("a.>", "a.*", false),
            ("a.b.c", "a.>", true),
            ("a", "a.>", false),
            ("a.*", "a.b", false),
            ("a.b", "a.b.c", false),
        ] {
            assert_eq!(within(pattern.as_bytes(), other), expected, "{pattern} {other}");
        }
    }
}
