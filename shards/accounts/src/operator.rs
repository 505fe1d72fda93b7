//! Accounts and users that an operator vouches for (spec 3.4).

use std::collections::{HashMap, HashSet};

use base::{AccountId, Duration, Wall};

use crate::callout::{Asked, CalloutFault, Referral};
use crate::model::{Grant, Permissions, ResponsePermission, Rule};
use crate::secret::Signature;
use crate::statement::Statement;
use crate::template;
use crate::token::{Claims, Token};
use crate::users::{ConnectionKind, ConnectionKinds};

/// Whoever is named in these tokens may connect, and nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// Public keys that may sign accounts.
    pub keys: HashSet<String>,
    /// Those of them that stand for an operator who keeps root keys out of daily use: no user of an
    /// account so signed may be signed by the account's own key.
    pub strict: HashSet<String>,
    /// The first operator's own key, which may not sign accounts that are sent here if it is
    /// strict.
    pub root: String,
    /// The accounts by their public keys.
    pub accounts: HashMap<String, Trusted>,
    /// Accounts whose users may connect here; all if empty.
    pub pinned: HashSet<String>,
    /// Can accounts that are not known be looked for?
    pub seeks: bool,
    /// The token of those who show none; empty for none.
    pub sentinel: String,
}

/// An account that the operator has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// The account.
    pub account: AccountId,
    /// The token that says so.
    pub token: String,
    name: String,
    tags: Vec<String>,
    /// Keys that may sign users, with the permissions that those have then.
    signers: HashMap<String, Option<Scope>>,
    /// Users by their keys, or `*`, whose tokens up to a time are void; seconds since 1970.
    revocations: HashMap<String, i64>,
    expires_s: i64,
    issued_by: String,
    refuses_bearers: bool,
    /// Users who decide about all others.
    deciders: Vec<String>,
    /// The curve key of those who decide; empty if nothing is sealed for them.
    xkey: String,
    /// Other accounts that they may put users in, by their keys; `*` alone stands for all.
    targets: Vec<String>,
    default_permissions: Option<Permissions>,
}

/// What users may do whom a key has signed that is kept for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope(Allowance);

/// What a user may do, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Allowance {
    publish: Rule,
    subscribe: Rule,
    responses: Option<ResponsePermission>,
    sources: Vec<String>,
    has_times: bool,
    subscriptions: Option<u64>,
    payload: Option<u64>,
    bearer: bool,
    proxy_required: bool,
    kinds: Vec<String>,
}

/// Who asks to come in, and how, as far as a token may limit it.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    /// The token.
    pub token: &'a str,
    /// The kind of connection.
    pub kind: ConnectionKind,
    /// The address of the peer.
    pub host: &'a str,
    /// Did it come through a proxy that has signed?
    pub by_proxy: bool,
    /// What time it is.
    pub now: Wall,
}

/// Why a token does not let its bearer in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is none, not in force, or nobody's.
    Void,
    /// It lets in only through a proxy.
    ProxyRequired,
    /// Its account has taken it back.
    Revoked,
    /// Its account does not know, or no longer, who has signed it.
    Signer,
    /// It belongs to this account, of which nothing is known that holds: it can be looked for.
    Unknown(String),
}

/// A user whom a token names.
#[derive(Debug)]
pub struct Admitted {
    /// Who it is.
    pub grant: Grant,
    /// The signature under the token, to be proven.
    pub signature: Signature,
    /// May whoever shows the token come in? Otherwise the nonce has to be signed too.
    pub bearer: bool,
    /// Who decides about the user, unless that is for the token alone.
    pub referral: Option<Referral>,
}

impl Operator {
    /// Takes an operator's token as read, whose signature was proven. Returns the system account
    /// that it names, or nothing.
    pub fn add_operator(&mut self, token: &Token) -> String {
        let strict = token.nats().flag("strict_signing_key_usage");
        let mut keys = token.nats().texts("signing_keys");
        if self.root.is_empty() {
            token.subject().clone_into(&mut self.root);
        }
        if strict {
            self.strict.insert(token.subject().to_owned());
            self.strict.extend(keys.iter().cloned());
        } else {
            keys.push(token.subject().to_owned());
        }
        self.keys.extend(keys);
        token.nats().text("system_account").to_owned()
    }

    /// Must accounts be signed by another key than this one?
    pub fn forbids_root(&self, issuer: &str) -> bool {
        issuer == self.root && self.strict.contains(issuer)
    }

    /// Who is it that shows a token?
    pub fn admit(&self, bearer: &Bearer<'_>) -> Result<Admitted, TokenFault> {
        let token = Token::read(bearer.token).filter(|token| token.kind() == "user");
        let token = match token {
            None if !self.sentinel.is_empty() => Token::read(&self.sentinel),
            token => token,
        };
        let token = token.ok_or(TokenFault::Void)?;
        let now_s = bearer.now.0.div_euclid(1_000_000_000);
        if token.kind() != "user" || !token.is_in_force(now_s) {
            return Err(TokenFault::Void);
        }
        let issuer = match token.nats().text("issuer_account") {
            "" => token.issuer(),
            account => account,
        };
        if !self.pinned.is_empty() && !self.pinned.contains(issuer) {
            return Err(TokenFault::Void);
        }
        let unknown = || {
            if self.seeks { TokenFault::Unknown(issuer.to_owned()) } else { TokenFault::Void }
        };
        let trusted = self.accounts.get(issuer).ok_or_else(unknown)?;
        if trusted.expires_s != 0 && trusted.expires_s <= now_s {
            return Err(unknown());
        }
        let signer = trusted.signers.get(token.issuer()).ok_or(TokenFault::Signer)?;
        if trusted.is_revoked(&token) {
            return Err(TokenFault::Revoked);
        }
        let allowance = allowance_of(&token, signer.as_ref(), trusted).ok_or(TokenFault::Void)?;
        if allowance.proxy_required && !bearer.by_proxy {
            return Err(TokenFault::ProxyRequired);
        }
        if !allowance.admits(bearer) || (allowance.bearer && trusted.refuses_bearers) {
            return Err(TokenFault::Void);
        }
        let bearer_counts = allowance.bearer;
        let grant = trusted.grant(&token, allowance, bearer.token);
        let referral = trusted.refers(token.subject()).then(|| Referral {
            account: trusted.account,
            issuer: issuer.to_owned(),
            xkey: trusted.xkey.clone(),
        });
        Ok(Admitted { grant, signature: token.signature, bearer: bearer_counts, referral })
    }

    /// Is somebody asked in an account who may come in?
    pub fn refers_in(&self, account: &str) -> bool {
        self.accounts.get(account).is_some_and(|trusted| !trusted.deciders.is_empty())
    }

    /// Is a key one that may sign for an account?
    pub fn signs_for(&self, account: &str, key: &str) -> bool {
        self.accounts.get(account).is_some_and(|trusted| trusted.signers.contains_key(key))
    }

    /// The user whom those name who were asked: one of their own account, or of another that they
    /// may put users in and that has signed.
    pub(crate) fn admit_vouched(
        &self,
        user: &Token,
        asked: &Asked<'_>,
    ) -> Result<Grant, CalloutFault> {
        let refused = |text: String| Err(CalloutFault::Refused(text));
        let callout = asked.referral.issuer.as_str();
        let issuer = match user.nats().text("issuer_account") {
            "" => user.issuer(),
            account => account,
        };
        let may_place = self.accounts.get(callout).is_some_and(|trusted| {
            let all = trusted.targets.len() == 1 && trusted.targets[0] == "*";
            all || trusted.targets.iter().any(|target| target == issuer)
        });
        if issuer != callout && !may_place {
            return refused(format!(
                "Account {:?} not permitted as valid account option for auth callout for account \
                 {callout:?}",
                user.issuer()
            ));
        }
        let Some(trusted) = self.accounts.get(issuer) else {
            return refused(format!(
                "No valid account {issuer:?} for auth callout response on account {callout:?}"
            ));
        };
        let Some(scope) = trusted.signers.get(user.issuer()) else {
            return refused(format!("User JWT issuer {:?} is not known", user.issuer()));
        };
        let Some(allowance) = allowance_of(user, scope.as_ref(), trusted) else {
            return refused("User JWT generated invalid permissions".into());
        };
        if allowance.proxy_required && !asked.by_proxy {
            return Err(CalloutFault::ProxyRequired);
        }
        let defaults = trusted.default_permissions.as_ref();
        let grant = allowance.vouch(user, trusted.account, defaults, asked);
        let late = "Authorized user may not come in this way, or not now";
        grant.map_or_else(|| refused(late.into()), Ok)
    }
}

/// The user of an account whom somebody else has let in. `None` if the token does not let in this
/// way, or now.
pub(crate) fn vouched(
    user: &Token,
    account: AccountId,
    defaults: Option<&Permissions>,
    asked: &Asked<'_>,
) -> Option<Grant> {
    Allowance::read(user.nats()).vouch(user, account, defaults, asked)
}

/// What a token allows: its own words, or those of the role that its signer is kept for.
fn allowance_of(token: &Token, scope: Option<&Scope>, trusted: &Trusted) -> Option<Allowance> {
    let own = Allowance::read(token.nats());
    let Some(Scope(allowance)) = scope else { return Some(own) };
    let says_nothing = Allowance::read(Claims::default());
    if own != says_nothing || token.nats().integer("data").unwrap_or(0) != 0 {
        return None;
    }
    let values = template::Values {
        name: token.name(),
        subject: token.subject(),
        account_name: &trusted.name,
        account_subject: if token.nats().text("issuer_account").is_empty() {
            token.issuer()
        } else {
            token.nats().text("issuer_account")
        },
        tags: &token.nats().texts("tags"),
        account_tags: &trusted.tags,
    };
    let mut allowance = allowance.clone();
    values.fill_in(&mut allowance.publish)?;
    values.fill_in(&mut allowance.subscribe)?;
    Some(allowance)
}

impl Trusted {
    /// What a proven token says of who may come in.
    pub(crate) fn new(statement: &Statement, account: AccountId, operator: &Operator) -> Self {
        let token = statement.token();
        let nats = token.nats();
        let mut signers = HashMap::new();
        if !operator.strict.contains(token.issuer()) {
            signers.insert(token.subject().to_owned(), None);
        }
        for signer in nats.items("signing_keys") {
            if let Some(key) = signer.as_text() {
                signers.insert(key.to_owned(), None);
            } else {
                let scope = Scope(Allowance::read(signer.part("template")));
                signers.insert(signer.text("key").to_owned(), Some(scope));
            }
        }
        let defaults = Allowance::read(nats.part("default_permissions"));
        Self {
            account,
            token: statement.text().to_owned(),
            issued_by: token.issuer().to_owned(),
            name: token.name().to_owned(),
            tags: nats.texts("tags"),
            signers,
            revocations: nats.numbers("revocations").map(|(k, t)| (k.to_owned(), t)).collect(),
            expires_s: token.expires_s(),
            refuses_bearers: nats.part("limits").flag("disallow_bearer"),
            deciders: nats.part("authorization").texts("auth_users"),
            xkey: nats.part("authorization").text("xkey").to_owned(),
            targets: nats.part("authorization").texts("allowed_accounts"),
            default_permissions: defaults.permissions(),
        }
    }

    /// An account of which only the key is known: whoever has that is in it.
    pub(crate) fn provisional(key: &str, account: AccountId) -> Self {
        Self { account, signers: HashMap::from([(key.to_owned(), None)]), ..Self::default() }
    }

    /// Who signed the account.
    pub fn issued_by(&self) -> &str {
        &self.issued_by
    }

    /// Does an activation token, whose signature is proven, open an export of this account?
    pub(crate) fn activates(&self, token: &Token, export: Option<Claims<'_>>, now_s: i64) -> bool {
        let by_account = token.nats().text("issuer_account").is_empty();
        if !token.is_in_force(now_s) || !(by_account || self.signers.contains_key(token.issuer())) {
            return false;
        }
        let revoked = |(key, until): (&str, i64)| {
            (key == token.subject() || key == "*") && token.issued_s() <= until
        };
        !export.is_some_and(|export| export.numbers("revocations").any(revoked))
    }

    /// Would users be asked the same of as by another version of this account?
    pub fn judges_alike(&self, other: &Self) -> bool {
        let silent = |one: &Self| Self {
            token: String::new(),
            issued_by: String::new(),
            name: String::new(),
            ..one.clone()
        };
        silent(self) == silent(other)
    }

    /// Keys that signed users before, and may no more, or for another role.
    pub fn altered_signers<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let differs =
            |(key, scope): &(&String, &Option<Scope>)| self.signers.get(*key) != Some(*scope);
        before.signers.iter().filter(differs).map(|(key, _)| key.as_str())
    }

    /// Is it for somebody else to say whether this user may come in?
    fn refers(&self, user: &str) -> bool {
        !self.deciders.is_empty() && !self.deciders.iter().any(|decider| decider == user)
    }

    fn is_revoked(&self, token: &Token) -> bool {
        [token.subject(), "*"]
            .iter()
            .any(|key| self.revocations.get(*key).is_some_and(|until| token.issued_s() <= *until))
    }

    fn grant(&self, token: &Token, allowance: Allowance, text: &str) -> Grant {
        let (subscriptions, payload) = (allowance.subscriptions, allowance.payload);
        let permissions = allowance.permissions().or_else(|| self.default_permissions.clone());
        let ends = [(token.expires_s(), false), (self.expires_s, true)];
        let ends = ends.into_iter().filter(|(end, _)| *end != 0).min();
        Grant {
            account: self.account,
            permissions,
            user: token.subject().to_owned(),
            nkey: token.subject().to_owned(),
            subscriptions,
            payload,
            expires: ends.map(|(seconds, _)| Wall(seconds.saturating_mul(1_000_000_000))),
            expires_with_account: ends.is_some_and(|(_, account)| account),
            jwt: Some(Box::new((text.to_owned(), token.issuer().to_owned()))),
            tags: token.nats().texts("tags"),
            vouched: false,
        }
    }
}

impl Allowance {
    fn read(claims: Claims<'_>) -> Self {
        let rule = |name: &str| {
            let part = claims.part(name);
            let allow = Some(part.texts("allow")).filter(|allow| !allow.is_empty());
            Rule { allow, deny: part.texts("deny") }
        };
        // What a token does not say is zero, and below zero is no limit.
        let limit = |name: &str| u64::try_from(claims.integer(name).unwrap_or(0)).ok();
        let responses = claims.part("resp");
        Self {
            publish: rule("pub"),
            subscribe: rule("sub"),
            responses: responses.is_some().then(|| response_permission(responses)),
            sources: claims.texts("src"),
            has_times: claims.items("times").next().is_some(),
            subscriptions: limit("subs"),
            payload: limit("payload"),
            bearer: claims.flag("bearer_token"),
            proxy_required: claims.flag("proxy_required"),
            kinds: claims.texts("allowed_connection_types"),
        }
    }

    fn permissions(self) -> Option<Permissions> {
        let Self { publish, subscribe, responses, .. } = self;
        let permissions = Permissions { publish, subscribe, responses };
        (permissions != Permissions::default()).then_some(permissions)
    }

    /// May it be used this way? Times of day are not looked at here, so who has some stays out.
    fn admits(&self, bearer: &Bearer<'_>) -> bool {
        let source =
            self.sources.is_empty() || self.sources.iter().any(|net| contains(net, bearer.host));
        self.admits_kind(bearer.kind) && source && !self.has_times
    }

    fn admits_kind(&self, kind: ConnectionKind) -> bool {
        let known = self.kinds.iter().filter_map(|name| ConnectionKind::named(name));
        let known: ConnectionKinds = known.collect();
        self.kinds.is_empty() || (!known.is_empty() && known.allow(kind))
    }

    /// The grant of a user whom somebody else has let in. As in the reference, neither where the
    /// user comes from nor limits of the token's own are looked at.
    fn vouch(
        self,
        user: &Token,
        account: AccountId,
        defaults: Option<&Permissions>,
        asked: &Asked<'_>,
    ) -> Option<Grant> {
        if !self.admits_kind(asked.kind) || self.has_times {
            return None;
        }
        let expires = Some(user.expires_s()).filter(|end| *end != 0);
        Some(Grant {
            account,
            permissions: self.permissions().or_else(|| defaults.cloned()),
            user: user.name().to_owned(),
            expires: expires.map(|seconds| Wall(seconds.saturating_mul(1_000_000_000))),
            tags: user.nats().texts("tags"),
            vouched: true,
            ..Grant::default()
        })
    }
}

/// Zero stands for the defaults, one reply within two minutes.
fn response_permission(claims: Claims<'_>) -> ResponsePermission {
    let max = match claims.integer("max") {
        None | Some(0) => 1,
        Some(max) => max,
    };
    let expires = match claims.integer("ttl") {
        None | Some(0) => Duration::from_mins(2),
        Some(nanoseconds) => Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)),
    };
    ResponsePermission { max, expires }
}

/// Is an address within a network, written as address and number of bits?
fn contains(network: &str, host: &str) -> bool {
    let bits = |text: &str| match text.parse().ok()? {
        core::net::IpAddr::V4(ip) => Some((u128::from(ip.to_bits()) << 96, 32)),
        core::net::IpAddr::V6(ip) => Some((ip.to_bits(), 128)),
    };
    let Some((address, length)) = network.split_once('/') else { return false };
    let (Some((network, wide)), Some((host, host_wide))) = (bits(address), bits(host)) else {
        return false;
    };
    let Ok(length) = length.parse::<u32>() else { return false };
    if wide != host_wide || length > wide {
        return false;
    }
    length == 0 || (network ^ host) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, host, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("::1/128", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0", "10.0.0.0", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/8", "", false),
        ] {
            assert_eq!(contains(network, host), expected, "{network} {host}");
        }
    }
}
