//! What the system account may ask about tokens (spec 3.4): `nsc push` and `nsc pull` do.

use std::fmt::Display;

use accounts::{Statement, StatementFault};

use super::{Desk, Learned, Learning, Source};
use crate::auth::{is_account_key, read_generic, read_statement};
use crate::config::now_s;

/// A request.
#[derive(Debug)]
pub(crate) enum Petition {
    /// Take this token, which is about the account of the key if one is given.
    Update { key: Option<String>, token: Vec<u8> },
    /// The token of an account.
    LookUp(String),
    /// All accounts.
    List,
    /// Delete the accounts that the operator's own token names.
    Delete(Vec<u8>),
    /// All tokens, unless whoever asks has the same already.
    Pack(Vec<u8>),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// What became of it.
    Status(Status),
    /// Names of accounts.
    Accounts(Vec<String>),
    /// Messages as they are, one after the other.
    Plain(Vec<Vec<u8>>),
    /// Nothing at all.
    Silence,
}

/// What became of a token or of a wish.
#[derive(Debug)]
pub(crate) struct Status {
    /// The account; empty if it is about several.
    pub(crate) account: String,
    /// What was done, or what was to be done.
    pub(crate) message: String,
    /// Why it was not.
    pub(crate) problem: Option<String>,
}

impl Status {
    fn done(account: &str, message: impl Into<String>) -> Self {
        Self { account: account.to_owned(), message: message.into(), problem: None }
    }

    fn failed(account: &str, message: impl Into<String>, problem: impl Display) -> Self {
        Self { problem: Some(problem.to_string()), ..Self::done(account, message) }
    }
}

const NOT_ITS_OWN: &str = "subject does not match jwt content";
const ROOT: &str = "operator requires issuer to be a signing key";

impl Desk {
    pub(super) async fn serve(&self, petition: Petition) -> Reply {
        let status = match petition {
            Petition::Update { key, token } => match &self.source {
                Source::Directory(store) if store.borrow().is_cache() => {
                    self.update_cache(key, &token).await
                }
                Source::Directory(_) => self.update(key, &token).await,
                _ => self.update_known(&key.unwrap_or_default(), &token).await,
            },
            Petition::LookUp(key) => return self.look_up(&key),
            Petition::List => return self.list(),
            Petition::Delete(token) => self.delete(&token).await,
            Petition::Pack(digest) => return self.pack(&digest),
        };
        self.log(&status);
        Reply::Status(status)
    }

    fn log(&self, status: &Status) {
        let Status { account, message, problem } = status;
        match (account.as_str(), problem) {
            ("", None) => self.logger.debug(message),
            (account, None) => self.logger.debug(format_args!("{message} - {account}")),
            ("", Some(problem)) => self.logger.error(format_args!("{message} - {problem}")),
            (account, Some(problem)) => {
                self.logger.error(format_args!("{message} - {account} - {problem}"));
            }
        }
    }

    /// A token for a directory that holds all.
    async fn update(&self, key: Option<String>, token: &[u8]) -> Status {
        const FAILED: &str = "jwt update resulted in error";
        let statement = match read(token) {
            Ok(statement) => statement,
            Err(fault) => return Status::failed("n/a", FAILED, fault),
        };
        let own = statement.key().to_owned();
        if key.is_none() && self.forbids_root(&statement) {
            return Status::failed(&own, FAILED, ROOT);
        }
        if let Some(problem) = validation_problem(&statement) {
            return Status::failed(&own, "jwt validation failed", problem);
        }
        if let Some(key) = key {
            if key != own {
                return Status::failed(&key, FAILED, NOT_ITS_OWN);
            }
            if self.forbids_root(&statement) {
                return Status::failed(&key, FAILED, ROOT);
            }
        }
        match self.keep(statement).await {
            Ok(()) => Status::done(&own, "jwt updated"),
            Err(problem) => Status::failed(&own, FAILED, problem),
        }
    }

    /// A token for a directory that holds what was asked for.
    async fn update_cache(&self, key: Option<String>, token: &[u8]) -> Status {
        const FAILED: &str = "jwt update cache resulted in error";
        let statement = match read(token) {
            Ok(statement) => statement,
            Err(fault) => return Status::failed(key.as_deref().unwrap_or("n/a"), FAILED, fault),
        };
        let own = statement.key().to_owned();
        if let Some(key) = key.filter(|key| *key != own) {
            return Status::failed(&key, FAILED, NOT_ITS_OWN);
        }
        if self.forbids_root(&statement) {
            return Status::failed(&own, FAILED, ROOT);
        }
        if !self.known.borrow().contains(&own) {
            return Status::done(&own, "jwt update cache skipped");
        }
        if let Some(problem) = validation_problem(&statement) {
            return Status::failed(&own, "jwt update cache validation failed", problem);
        }
        match self.keep(statement).await {
            Ok(()) => Status::done(&own, "jwt updated cache"),
            Err(problem) => Status::failed(&own, FAILED, problem),
        }
    }

    /// A token where none is kept: it counts for accounts that are in force.
    async fn update_known(&self, key: &str, token: &[u8]) -> Status {
        const FAILED: &str = "jwt update resulted in error";
        if token.is_empty() {
            return Status::failed(key, "jwt update error", "request body is empty");
        }
        let statement = match read(token) {
            Ok(statement) => statement,
            Err(fault) => return Status::failed(key, FAILED, fault),
        };
        if statement.key() != key {
            return Status::failed(key, FAILED, NOT_ITS_OWN);
        }
        let statements = vec![statement];
        let learned = Learned { statements, if_known: true, ..Learned::default() };
        match self.put_in_force(learned).await {
            Learning::InForce => Status::done(key, "jwt updated"),
            Learning::Skipped => Status::done(key, "jwt update skipped"),
            Learning::Refused => Status::failed(key, FAILED, accounts::NotVouched),
        }
    }

    /// Keeps a token, and puts it in force if its account is.
    async fn keep(&self, statement: Statement) -> Result<(), String> {
        let Source::Directory(store) = &self.source else { return Ok(()) };
        let changed = store.borrow_mut().save(statement.key(), statement.text())?;
        if changed {
            let key = statement.key().to_owned();
            let statements = vec![statement];
            let learned = Learned { statements, if_known: true, ..Learned::default() };
            if self.put_in_force(learned).await == Learning::Refused {
                self.logger.error(format_args!(
                    "DirResolver - Update for account {key:?} resulted in error {}",
                    accounts::NotVouched
                ));
            }
        }
        Ok(())
    }

    fn forbids_root(&self, statement: &Statement) -> bool {
        self.vouching.ledger.operator.forbids_root(statement.token().issuer())
    }

    fn look_up(&self, key: &str) -> Reply {
        let Source::Directory(store) = &self.source else { return Reply::Silence };
        match store.borrow_mut().load(key) {
            Ok(text) => Reply::Plain(vec![text.unwrap_or_default().into_bytes()]),
            Err(problem) => {
                self.logger.error(format_args!(
                    "DirResolver - Error looking up account {key:?}: {problem}"
                ));
                Reply::Silence
            }
        }
    }

    fn list(&self) -> Reply {
        let Source::Directory(store) = &self.source else { return Reply::Silence };
        let all = store.borrow().all(now_s());
        Reply::Accounts(all.into_iter().map(|(key, _)| key).collect())
    }

    fn pack(&self, digest: &[u8]) -> Reply {
        let Source::Directory(store) = &self.source else { return Reply::Silence };
        let store = store.borrow();
        let mut lines = Vec::new();
        if digest != store.digest() {
            let all = store.all(now_s());
            lines.extend(all.into_iter().map(|(key, text)| format!("{key}|{text}").into_bytes()));
        }
        // An empty message says that this was all.
        lines.push(Vec::new());
        Reply::Plain(lines)
    }

    async fn delete(&self, token: &[u8]) -> Status {
        let Some(token) = std::str::from_utf8(token).ok().and_then(read_generic) else {
            let message = "delete accounts request by  failed";
            return Status::failed("", message, "expected 3 chunks");
        };
        let Source::Directory(store) = &self.source else {
            return Status::failed("", "delete accounts request failed", "no directory");
        };
        let by = token.subject();
        let keys = token.nats().texts("accounts");
        let listed = token.nats().items("accounts").count();
        let well_formed = token.nats().part("accounts").is_some() && listed == keys.len();
        let operator = &self.vouching.ledger.operator;
        let trusted = operator.keys.contains(token.issuer());
        let refusal = if !store.borrow().deletes() {
            Some("delete must be enabled in server config")
        } else if by != token.issuer() {
            Some("not self signed")
        } else if !trusted {
            Some("not trusted")
        } else if !well_formed || !keys.iter().all(|key| is_account_key(key)) {
            Some("malformed request")
        } else if keys.contains(&self.system) {
            Some("not allowed to delete system account")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let message = format!("delete accounts request by {by} failed");
            return Status::failed("", message, refusal);
        }
        let (mut gone, mut done, mut problems) = (Vec::new(), 0, Vec::new());
        for key in keys {
            match store.borrow_mut().delete(&key) {
                Ok(was_there) => {
                    done += 1;
                    gone.extend(was_there.then_some(key));
                }
                Err(problem) => problems.push(problem),
            }
        }
        self.put_in_force(Learned { withdrawn: gone, ..Learned::default() }).await;
        if problems.is_empty() {
            return Status::done("", format!("deleted {done} accounts"));
        }
        let message = format!("deleted {done} accounts, failed for {}", problems.len());
        Status::failed("", message, problems.join("\n"))
    }
}

fn read(token: &[u8]) -> Result<Statement, StatementFault> {
    read_statement(std::str::from_utf8(token).map_err(|_| StatementFault::Content)?)
}

/// What keeps a token from being taken, whatever the time.
fn validation_problem(statement: &Statement) -> Option<String> {
    let faults = statement.faults();
    if faults.is_empty() {
        return statement.mapping_fault();
    }
    Some(format!("validation errors: [{}]", faults.join(" ")))
}
