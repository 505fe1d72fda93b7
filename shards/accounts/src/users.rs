//! Who may connect, as configured (spec 2.4, 3.1).

use std::collections::HashMap;

use base::AccountId;

use crate::callout::Callout;
use crate::model::Permissions;
use crate::operator::Operator;
use crate::secret::Secret;

/// How a connection came in, as `allowed_connection_types` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionKind {
    /// A client by TCP.
    #[default]
    Standard,
    /// A client by WebSocket.
    WebSocket,
    /// A leaf node by TCP.
    LeafNode,
    /// A leaf node by WebSocket.
    LeafNodeWebSocket,
    /// MQTT by TCP.
    Mqtt,
    /// MQTT by WebSocket.
    MqttWebSocket,
    /// A client in the server's own process, of which there are none here.
    InProcess,
}

impl ConnectionKind {
    /// The kind of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_uppercase().as_str() {
            "STANDARD" => Self::Standard,
            "WEBSOCKET" => Self::WebSocket,
            "LEAFNODE" => Self::LeafNode,
            "LEAFNODE_WS" => Self::LeafNodeWebSocket,
            "MQTT" => Self::Mqtt,
            "MQTT_WS" => Self::MqttWebSocket,
            "IN_PROCESS" => Self::InProcess,
            _ => return None,
        })
    }
}

/// A set of kinds of connections; empty stands for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionKinds(u8);

impl ConnectionKinds {
    /// Adds a kind.
    pub const fn insert(&mut self, kind: ConnectionKind) {
        self.0 |= 1 << kind as u8;
    }

    /// Are all kinds allowed because none is named?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is this kind allowed?
    pub const fn allow(self, kind: ConnectionKind) -> bool {
        self.is_empty() || self.0 & (1 << kind as u8) != 0
    }
}

impl FromIterator<ConnectionKind> for ConnectionKinds {
    fn from_iter<T: IntoIterator<Item = ConnectionKind>>(kinds: T) -> Self {
        let mut set = Self::default();
        for kind in kinds {
            set.insert(kind);
        }
        set
    }
}

/// One who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, or the public key of one who proves to own it.
    pub name: String,
    /// The password; of no meaning to one with a key.
    pub secret: Secret,
    /// The account that the user belongs to.
    pub account: AccountId,
    /// What the user may do; everything if `None`.
    pub permissions: Option<Permissions>,
    /// How the user may come in.
    pub kinds: ConnectionKinds,
    /// Only through a trusted proxy?
    pub proxy_required: bool,
}

/// What one listener asks of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple {
    /// A token that everybody may show.
    pub token: Option<Secret>,
    /// The one user, by name and password.
    pub user: Option<(String, Secret)>,
    /// Who those are who say nothing about themselves; empty for nobody.
    pub no_auth_user: String,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Token, single user, and the user for those who say nothing.
    pub simple: Simple,
    /// What holds for WebSocket instead.
    pub websocket: Option<Simple>,
    /// Users with a password, by name.
    pub users: HashMap<String, User>,
    /// Users with a key, by their public key.
    pub keys: HashMap<String, User>,
    /// Must token and single user come through a trusted proxy?
    pub proxy_required: bool,
    /// Public keys of trusted proxies.
    pub proxies: Vec<String>,
    /// Who vouches for accounts and users instead, if anybody does.
    pub operator: Option<Box<Operator>>,
    /// Who decides about all others, if anybody does.
    pub callout: Option<Box<Callout>>,
}

impl Auth {
    /// The user that those are who say nothing where the file names only users of the system
    /// account: everybody else uses the server as if it named none.
    const EVERYONE: &str = "nats-everyone";

    /// Everybody, by one token.
    pub fn with_token(token: &str) -> Self {
        let token = Some(Secret::new(token.into()));
        Self { simple: Simple { token, ..Simple::default() }, ..Self::default() }
    }

    /// One user with a password.
    pub fn with_user(name: &str, password: &str) -> Self {
        let user = Some((name.into(), Secret::new(password.into())));
        Self { simple: Simple { user, ..Simple::default() }, ..Self::default() }
    }

    /// May anybody come in without a word?
    pub fn is_open(&self) -> bool {
        let has_users = !self.users.is_empty() || !self.keys.is_empty();
        !has_users
            && self.operator.is_none()
            && self.simple.token.is_none()
            && self.simple.user.is_none()
    }

    /// Does INFO carry a nonce to be signed?
    pub fn needs_nonce(&self) -> bool {
        !self.keys.is_empty() || !self.proxies.is_empty() || self.operator.is_some()
    }

    /// Does INFO say that authentication is required? Not where those who say nothing are somebody
    /// that the file has named.
    pub fn is_announced(&self) -> bool {
        let anonymous = self.simple.no_auth_user.as_str();
        !self.is_open() && (anonymous.is_empty() || anonymous == Self::EVERYONE)
    }

    /// Lets those who say nothing into the global account.
    pub fn admit_everyone(&mut self) {
        let user = User {
            name: Self::EVERYONE.into(),
            secret: Secret::new(Self::EVERYONE.into()),
            account: AccountId::GLOBAL,
            permissions: None,
            kinds: ConnectionKinds::default(),
            proxy_required: false,
        };
        self.users.insert(user.name.clone(), user);
        Self::EVERYONE.clone_into(&mut self.simple.no_auth_user);
    }

    /// Is any password or token written as plain text?
    pub fn has_plain_secrets(&self) -> bool {
        let single = self.simple.user.as_ref().is_some_and(|(_, secret)| is_readable(secret));
        single || self.users.values().any(|user| user.secret.is_plain())
    }
}

fn is_readable(secret: &Secret) -> bool {
    secret.is_plain() && !secret.text().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_named_allows_all() {
        let kinds: ConnectionKinds = ["WebSocket", "mqtt"].into_iter().filter_map(named).collect();
        assert!(kinds.allow(ConnectionKind::WebSocket));
        assert!(kinds.allow(ConnectionKind::Mqtt));
        assert!(!kinds.allow(ConnectionKind::Standard));
        assert!(ConnectionKinds::default().allow(ConnectionKind::Standard));
        assert_eq!(ConnectionKind::named("TCP"), None);
    }

    fn named(name: &str) -> Option<ConnectionKind> {
        ConnectionKind::named(name)
    }

    #[test]
    fn what_is_asked_for() {
        assert!(Auth::default().is_open());
        let mut auth = Auth::with_user("a", "b");
        assert!(!auth.is_open());
        assert!(auth.is_announced());
        assert!(!auth.needs_nonce());
        assert!(auth.has_plain_secrets());
        auth.simple.no_auth_user = "a".into();
        assert!(!auth.is_announced());
        auth = Auth::with_user("a", "$2a$04$x");
        assert!(!auth.has_plain_secrets());
    }
}
