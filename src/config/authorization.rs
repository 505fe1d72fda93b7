//! Who may connect: what the file and the command line come to.

use accounts::{Auth, Directory, Secret, Simple};
use base::AccountId;

use super::auth::User;
use super::callout::Callout;
use super::operator::Vouching;
use super::settings::Settings;
use super::websocket::Block;

/// Who may come in by one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listener {
    /// Whoever knows the token.
    pub token: Option<Secret>,
    /// One user, by name and password.
    pub user: Option<(String, Secret)>,
    /// Who those are who say nothing about themselves; empty for nobody.
    pub no_auth_user: String,
}

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authorization {
    /// Whoever knows the token.
    pub token: Option<Secret>,
    /// One user, by name and password.
    pub user: Option<(String, Secret)>,
    /// Users of all accounts, if there are any.
    pub users: Vec<User>,
    /// Who those are who say nothing about themselves.
    pub no_auth_user: Option<String>,
    /// Must token and single user come through a trusted proxy?
    pub proxy_required: bool,
    /// Public keys of trusted proxies.
    pub proxies: Vec<String>,
    /// Who vouches for accounts and users instead.
    pub vouching: Option<Vouching>,
    /// Who decides about all others, if anybody does.
    pub callout: Option<Callout>,
    /// What holds for WebSocket instead, if that is something of its own.
    pub websocket: Option<Listener>,
    /// Does the file name a system account, but nothing about who else may connect?
    pub system_only: bool,
}

impl Authorization {
    /// A token wins over a user, and a password alone protects nothing: both as in the reference.
    pub(super) fn resolve(settings: &Settings) -> Result<Self, String> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let password = settings.password.clone().unwrap_or_default();
        let token = given(&settings.token).map(Secret::new);
        let user = given(&settings.username).filter(|_| token.is_none());
        let authorization = Self {
            token,
            user: user.map(|name| (name, Secret::new(password))),
            users: settings.users.clone().unwrap_or_default(),
            no_auth_user: given(&settings.no_auth_user),
            proxy_required: settings.proxy_required.unwrap_or(false),
            proxies: settings.proxies.clone().unwrap_or_default(),
            vouching: None,
            callout: settings.callout.clone().flatten(),
            websocket: settings.websocket.as_ref().and_then(Block::listener),
            system_only: settings.names_only_system(),
        };
        let websocket = authorization.websocket.as_ref();
        let names = [
            authorization.no_auth_user.as_deref().unwrap_or_default(),
            websocket.map_or("", |listener| listener.no_auth_user.as_str()),
        ];
        for name in names {
            authorization.check_no_auth_user(name)?;
        }
        authorization.check_websocket()?;
        Ok(authorization)
    }

    fn check_websocket(&self) -> Result<(), String> {
        let Some(listener) = self.websocket.as_ref().filter(|_| !self.users.is_empty()) else {
            return Ok(());
        };
        let what = match listener {
            Listener { user: Some(_), .. } => "username",
            Listener { token: Some(_), .. } => "token",
            _ => return Ok(()),
        };
        Err(format!("websocket authentication {what} not compatible with presence of users/nkeys"))
    }

    fn check_no_auth_user(&self, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Ok(());
        }
        if self.users.is_empty() {
            return Err(format!(
                "no_auth_user: \"{name}\" present, but users/nkeys are not defined"
            ));
        }
        if self.users.iter().any(|user| user.name == name) {
            return Ok(());
        }
        Err(format!(
            "no_auth_user: \"{name}\" not present as user or nkey in authorization block or \
             account configuration"
        ))
    }

    /// The same for the shards, with each user in an account of the directory.
    pub fn to_auth(&self, directory: &Directory) -> Auth {
        let mut auth = Auth {
            simple: Simple {
                token: self.token.clone(),
                user: self.user.clone(),
                no_auth_user: self.no_auth_user.clone().unwrap_or_default(),
            },
            proxy_required: self.proxy_required,
            proxies: self.proxies.clone(),
            operator: self.vouching.as_ref().map(|it| Box::new(it.ledger.operator.clone())),
            callout: self.callout.as_ref().map(|callout| Box::new(callout.placed(directory))),
            websocket: self.websocket.clone().map(|listener| Simple {
                token: listener.token,
                user: listener.user,
                no_auth_user: listener.no_auth_user,
            }),
            ..Auth::default()
        };
        for user in &self.users {
            let account = match user.account.as_str() {
                "" => AccountId::GLOBAL,
                name => directory.find(name).expect("a user's account is one of the file's"),
            };
            let list = if user.has_key { &mut auth.keys } else { &mut auth.users };
            let user = accounts::User {
                name: user.name.clone(),
                secret: user.secret.clone(),
                account,
                permissions: user.permissions.clone(),
                kinds: user.kinds,
                proxy_required: user.proxy_required,
            };
            list.insert(user.name.clone(), user);
        }
        let nobody = auth.simple.no_auth_user.is_empty();
        if self.system_only && nobody && directory.is_global_only() {
            auth.admit_everyone();
        }
        auth
    }
}
