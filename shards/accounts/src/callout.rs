//! Somebody else decides who may come in: whom to ask, what, and what the answer means (spec 3.5).
//!
//! A service within an account is asked by a message and answers with a token, which carries
//! another that says who the user is. Nothing here seals, signs or believes: signatures come out
//! to be proven.

use base::{AccountId, Wall};
use serde_json::{Map, Value};

use crate::model::{Directory, Grant};
use crate::operator::Operator;
use crate::secret::Signature;
use crate::token::Token;
use crate::users::ConnectionKind;

/// The subject on which the service is asked. Nobody in its account may publish there.
pub const CALLOUT_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// The audience of every question.
const AUDIENCE: &str = "nats-authorization-request";

/// Tokens begin with this; an answer that does not is sealed.
const TOKEN_PREFIX: &[u8] = b"eyJ";

/// Who decides about whom, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callout {
    /// Whom to ask.
    pub referral: Referral,
    /// Users, by name or key, who are judged here, as those have to be who decide.
    pub deciders: Vec<String>,
    /// Accounts whose users are asked about; those of all if empty.
    pub accounts: Vec<AccountId>,
}

impl Callout {
    /// Is it asked about users of an account? It always is about those of the global one, where
    /// everybody is whom nothing was found out about.
    pub fn covers(&self, account: AccountId) -> bool {
        let named = self.accounts.is_empty() || self.accounts.contains(&account);
        account == AccountId::GLOBAL || named
    }

    /// Does a user come in by the rules of the file alone?
    pub fn is_decider(&self, name: &str) -> bool {
        self.deciders.iter().any(|decider| decider == name)
    }
}

/// Whom to ask about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referral {
    /// The account in which the service is.
    pub account: AccountId,
    /// The public key that answers are signed with: the configured one, or the account's own.
    pub issuer: String,
    /// The service's public curve key, if questions are to be sealed for it; else empty.
    pub xkey: String,
}

/// What a service is asked, but for the key that the user shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inquiry {
    /// Whom to ask.
    pub referral: Referral,
    /// This server's public key, which signs.
    pub server_id: String,
    /// When it is asked, in seconds since 1970.
    pub issued_s: i64,
    /// How many seconds the answer is waited for.
    pub patience_s: i64,
    /// What is known about this server, the client, and what it says of itself.
    pub facts: Map<String, Value>,
}

impl Inquiry {
    /// The claims of the token that asks. `id` is a hash over the same with an empty one.
    pub fn claims(&self, user: &str, id: &str) -> String {
        let mut nats = self.facts.clone();
        nats.insert("user_nkey".into(), user.into());
        nats.insert("type".into(), "authorization_request".into());
        nats.insert("version".into(), 2.into());
        let claims = serde_json::json!({
            "aud": AUDIENCE,
            "exp": self.issued_s + self.patience_s,
            "jti": id,
            "iat": self.issued_s,
            "iss": self.server_id,
            "sub": self.referral.issuer,
            "nats": nats,
        });
        claims.to_string()
    }
}

/// Is an answer sealed?
pub fn is_sealed(answer: &[u8]) -> bool {
    !answer.starts_with(TOKEN_PREFIX)
}

/// What is known where an answer comes in.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who was asked.
    pub referral: &'a Referral,
    /// The key that the user shall have.
    pub user: &'a str,
    /// This server's public key.
    pub server_id: &'a str,
    /// All accounts.
    pub directory: &'a Directory,
    /// Who vouches for accounts and users, if anybody does.
    pub operator: Option<&'a Operator>,
    /// How the connection comes in.
    pub kind: ConnectionKind,
    /// Does a trusted proxy vouch for it?
    pub by_proxy: bool,
    /// What time it is.
    pub now: Wall,
}

/// A user whom an answer names.
#[derive(Debug)]
pub struct Vouched {
    /// Who it is.
    pub grant: Grant,
    /// The signatures under the answer and the user's token, to be proven.
    pub signatures: Vec<Signature>,
}

/// Why an answer lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalloutFault {
    /// It says no, or is not to be believed: what the log says.
    Refused(String),
    /// The user has to come through a proxy.
    ProxyRequired,
}

impl Asked<'_> {
    /// What does an answer say? One that was sealed for this server needs no known signer.
    ///
    /// # Errors
    /// Why it lets nobody in.
    pub fn read(&self, answer: &[u8], was_sealed: bool) -> Result<Vouched, CalloutFault> {
        let (user, signature) = self.read_response(answer, was_sealed).map_err(refused)?;
        if user.nats().flag("proxy_required") && !self.by_proxy {
            return Err(CalloutFault::ProxyRequired);
        }
        let now_s = self.now.0.div_euclid(1_000_000_000);
        if !user.is_in_force(now_s) {
            return Err(refused("Error validating user JWT: claim is expired".into()));
        }
        if user.subject() != self.user {
            let (wanted, found, account) = (self.user, user.subject(), self.account_name());
            return Err(refused(format!(
                "Expected authorized user of {wanted:?} but got {found:?} on account {account:?}"
            )));
        }
        let grant = match self.operator {
            Some(operator) => operator.admit_vouched(&user, self)?,
            None => self.place(&user).map_err(refused)?,
        };
        Ok(Vouched { grant, signatures: vec![signature, user.signature] })
    }

    fn read_response(&self, answer: &[u8], sealed: bool) -> Result<(Token, Signature), String> {
        if answer.is_empty() {
            let account = self.account_name();
            return Err(format!(
                "Auth callout violation: \"no reason supplied\" on account {account:?}"
            ));
        }
        let text = str::from_utf8(answer).map_err(|_| "Illegal base64 data".to_owned())?;
        let token = Token::read(text).ok_or("Expected 3 chunks")?;
        if token.kind() != "authorization_response" || !token.issuer().starts_with('A') {
            return Err("Not an authorization request claim".into());
        }
        if token.subject() != self.user {
            let what = "auth callout response is not for expected user";
            return Err(format!("Auth callout violation: {what}"));
        }
        if token.audience() != self.server_id {
            return Err("Auth callout violation: auth callout response is not for server".into());
        }
        if !sealed {
            self.check_signer(&token)?;
        }
        let (error, user) = (token.nats().text("error"), token.nats().text("jwt"));
        if error.is_empty() == user.is_empty() {
            let what = if error.is_empty() { "is required" } else { "can be set" };
            let only = if error.is_empty() { "" } else { "Only " };
            let problem = "authorization response had validation errors";
            return Err(format!("{problem}: {only}Error or Jwt {what}"));
        }
        if !error.is_empty() {
            return Err(format!("Auth callout service returned an error: {error}"));
        }
        let user = Token::read(user).filter(|user| user.kind() == "user");
        Ok((user.ok_or("Not user claim")?, token.signature))
    }

    fn check_signer(&self, token: &Token) -> Result<(), String> {
        const UNKNOWN: &str = "Auth callout signing key is unknown";
        let Some(operator) = self.operator else {
            let known = token.issuer() == self.referral.issuer;
            return if known { Ok(()) } else { Err(UNKNOWN.into()) };
        };
        let account = token.nats().text("issuer_account");
        if !account.is_empty() && account != self.referral.issuer {
            return Err(format!(
                "Auth callout response issuer account {account:?} is not the callout account"
            ));
        }
        let known = operator.signs_for(&self.referral.issuer, token.issuer());
        if known { Ok(()) } else { Err(UNKNOWN.into()) }
    }

    /// The user of a file's account, which the token names as its audience.
    fn place(&self, user: &Token) -> Result<Grant, String> {
        let account = self.account_name();
        if !user.nats().text("issuer_account").is_empty() {
            return Err(format!(
                "Error non operator mode account {account:?}: attempted to use issuer_account"
            ));
        }
        if user.issuer() != self.referral.issuer {
            let (wanted, found) = (&self.referral.issuer, user.issuer());
            return Err(format!(
                "Wrong issuer for auth callout response on account {account:?}, expected \
                 {wanted:?} got {found:?}"
            ));
        }
        let place = user.audience();
        let target = self.directory.find(place).ok_or_else(|| {
            format!("No valid account {place:?} for auth callout response on account {account:?}")
        })?;
        let defaults = self.directory.get(target).default_permissions.as_ref();
        crate::operator::vouched(user, target, defaults, self).ok_or_else(|| {
            format!("Authorized user on account {account:?} may not come in this way, or not now")
        })
    }

    fn account_name(&self) -> &str {
        &self.directory.get(self.referral.account).name
    }
}

fn refused(text: String) -> CalloutFault {
    CalloutFault::Refused(text)
}
