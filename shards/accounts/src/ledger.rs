//! The accounts that an operator vouches for, and what follows from all their tokens together.
//!
//! One ledger is kept for the whole server. What changes in it goes to every core as an
//! [`Amendment`], so that each can switch by itself and nothing is shared. An account keeps its
//! number for as long as the server runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::AccountId;

use crate::model::{Account, Directory, Limits};
use crate::operator::{Operator, Trusted};
use crate::statement::Statement;
use crate::token::{Claims, Token};

/// All accounts in operator mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Who vouches, and for whom.
    pub operator: Operator,
    /// What the accounts are.
    pub directory: Directory,
    /// By public key, with the accounts that were here once.
    known: HashMap<String, Known>,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    place: AccountId,
    /// Nothing if the account was taken away, or has yet to be found.
    statement: Option<Statement>,
    /// Could some of what it imports not be?
    incomplete: bool,
}

/// What changes at a time, for every core to put in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Amendment {
    /// Accounts that are others now.
    pub accounts: Vec<Amended>,
}

/// An account that is another now.
#[derive(Clone, Debug, PartialEq)]
pub struct Amended {
    /// Its number.
    pub place: AccountId,
    /// What it is.
    pub account: Account,
    /// What lets its users in; nobody comes in without it.
    pub trusted: Option<Trusted>,
}

/// Why a token is not taken. `Display` has the reference's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotVouched;

impl std::fmt::Display for NotVouched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("account validation failed")
    }
}

impl Directory {
    /// Puts in what has changed.
    pub fn amend(&mut self, amendment: &Amendment) {
        for Amended { place, account, .. } in &amendment.accounts {
            if self.accounts.len() <= place.index() {
                self.accounts.resize_with(place.index() + 1, || Account {
                    removed: true,
                    ..Account::default()
                });
            }
            self.accounts[place.index()].clone_from(account);
        }
    }
}

impl Operator {
    /// Puts in what has changed.
    pub fn amend(&mut self, amendment: &Amendment) {
        for Amended { account, trusted, .. } in &amendment.accounts {
            match trusted {
                Some(trusted) => self.accounts.insert(account.name.clone(), trusted.clone()),
                None => self.accounts.remove(&account.name),
            };
        }
    }
}

impl Ledger {
    /// A ledger with nothing but a system account, whose key may be empty for none.
    pub fn new(operator: Operator, system: &str) -> Self {
        let mut ledger = Self { operator, ..Self::default() };
        if !system.is_empty() {
            let place = AccountId::SYSTEM;
            system.clone_into(&mut ledger.directory.accounts[place.index()].name);
            let known = Known { place, statement: None, incomplete: false };
            ledger.known.insert(system.to_owned(), known);
            if ledger.operator.seeks {
                // Until it is found, whoever has its key may be in it: so is it filled at first.
                let trusted = Trusted::provisional(system, place);
                ledger.operator.accounts.insert(system.to_owned(), trusted);
            }
        }
        ledger
    }

    /// Is there an account of this key, or was there one?
    pub fn knows(&self, key: &str) -> bool {
        self.known.contains_key(key)
    }

    /// The keys of the accounts that are in force.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let held = self.known.iter().filter(|(_, known)| known.statement.is_some());
        held.map(|(key, _)| key.as_str())
    }

    /// Is the system account still one that nobody has vouched for?
    pub fn is_provisional(&self) -> bool {
        let system = self.known.values().find(|known| known.place == AccountId::SYSTEM);
        self.operator.seeks && system.is_some_and(|known| known.statement.is_none())
    }

    /// The token of an account.
    pub fn statement(&self, key: &str) -> Option<&Statement> {
        self.known.get(key)?.statement.as_ref()
    }

    /// Accounts that this one imports from and that have yet to be looked for.
    pub fn unknown_exporters<'a>(
        &'a self,
        statement: &'a Statement,
    ) -> impl Iterator<Item = &'a str> {
        statement.exporters().filter(|key| self.statement(key).is_none())
    }

    /// May a token be taken, at a time in seconds since 1970?
    ///
    /// # Errors
    /// If no operator has signed it, or what it says cannot be.
    pub fn check(&self, statement: &Statement, now_s: i64) -> Result<(), NotVouched> {
        let token = statement.token();
        let trusted = self.operator.keys.contains(token.issuer());
        if trusted && token.is_in_force(now_s) && statement.faults().is_empty() {
            Ok(())
        } else {
            Err(NotVouched)
        }
    }

    /// Takes tokens, whose signatures are proven and which [`Ledger::check`] has let pass.
    pub fn take(&mut self, statements: Vec<Statement>, now_s: i64) -> Amendment {
        let mut changed = BTreeSet::new();
        for statement in statements {
            let key = statement.key().to_owned();
            let known = self.known.get(&key);
            let same = known.is_some_and(|known| {
                let text = known.statement.as_ref().map(Statement::text);
                text == Some(statement.text()) && !known.incomplete
            });
            if same {
                continue;
            }
            let place = match known {
                Some(known) => known.place,
                None => self.new_place(&key),
            };
            let trusted = Trusted::new(&statement, place, &self.operator);
            self.operator.accounts.insert(key.clone(), trusted);
            let known = Known { place, statement: Some(statement), incomplete: false };
            self.known.insert(key, known);
            changed.insert(place);
        }
        self.restate(&changed, now_s)
    }

    /// Takes accounts away: nobody comes in any more, and what they shared is theirs no longer.
    pub fn withdraw(&mut self, keys: &[String], now_s: i64) -> Amendment {
        let mut changed = BTreeSet::new();
        for key in keys {
            if let Some(known) = self.known.get_mut(key) {
                known.statement = None;
                self.operator.accounts.remove(key);
                changed.insert(known.place);
            }
        }
        self.restate(&changed, now_s)
    }

    /// What time alone has changed: activations that have run out.
    pub fn lapse(&mut self, now_s: i64) -> Amendment {
        let importers = self.known.values().filter(|known| {
            let ends = known.statement.iter().flat_map(activation_ends);
            ends.into_iter().any(|end| end <= now_s)
        });
        let changed: BTreeSet<AccountId> = importers.map(|known| known.place).collect();
        self.restate(&changed, now_s)
    }

    /// When the next activation runs out after a time, in seconds since 1970.
    pub fn next_lapse(&self, now_s: i64) -> Option<i64> {
        let statements = self.known.values().filter_map(|known| known.statement.as_ref());
        statements.flat_map(activation_ends).filter(|end| *end > now_s).min()
    }

    /// The same operator's ledger after the configuration was read again: who was there keeps the
    /// number, and those who were found elsewhere than in the configuration stay if `found` says
    /// so.
    #[must_use]
    pub fn after(self, earlier: &Self, found: bool, now_s: i64) -> Self {
        let system = self.directory.get(AccountId::SYSTEM).name.clone();
        let mut next = Self::new(
            Operator { accounts: HashMap::new(), ..self.operator },
            if self.known.values().any(|known| known.place == AccountId::SYSTEM) {
                &system
            } else {
                ""
            },
        );
        next.directory.has_system = self.directory.has_system;
        let places = earlier.directory.accounts.len();
        next.directory
            .accounts
            .resize_with(places.max(2), || Account { removed: true, ..Account::default() });
        for (key, known) in &earlier.known {
            if known.place != AccountId::SYSTEM && !next.known.contains_key(key) {
                let place = Known { statement: None, ..known.clone() };
                next.directory.accounts[place.place.index()].name.clone_from(key);
                next.known.insert(key.clone(), place);
            }
        }
        let own = self.known.into_values().filter_map(|known| known.statement);
        let mut statements: BTreeMap<String, Statement> = BTreeMap::new();
        if found {
            let kept = earlier.known.values().filter_map(|known| known.statement.clone());
            let kept = kept.filter(|statement| next.check(statement, now_s).is_ok());
            statements.extend(kept.map(|statement| (statement.key().to_owned(), statement)));
        }
        statements.extend(own.map(|statement| (statement.key().to_owned(), statement)));
        next.take(statements.into_values().collect(), now_s);
        next
    }

    fn new_place(&mut self, key: &str) -> AccountId {
        self.directory.accounts.push(Account::new(key));
        AccountId(self.directory.accounts.len() as u32 - 1)
    }

    /// Makes accounts anew from their tokens, and those that import from them.
    fn restate(&mut self, changed: &BTreeSet<AccountId>, now_s: i64) -> Amendment {
        if changed.is_empty() {
            return Amendment::default();
        }
        let keys: BTreeMap<AccountId, String> =
            self.known.iter().map(|(key, known)| (known.place, key.clone())).collect();
        let depends = |known: &Known| {
            let exporters = known.statement.iter().flat_map(Statement::exporters);
            exporters.into_iter().any(|key| {
                self.known.get(key).is_some_and(|exporter| changed.contains(&exporter.place))
            })
        };
        let importers = self.known.values().filter(|known| depends(known));
        let mut affected: BTreeSet<AccountId> = importers.map(|known| known.place).collect();
        affected.extend(changed);
        let mut before = Vec::new();
        for place in &affected {
            let account = self.base_account(*place, &keys[place]);
            let slot = &mut self.directory.accounts[place.index()];
            before.push(std::mem::replace(slot, account));
        }
        for place in &affected {
            self.import_all(*place, &keys[place], now_s);
        }
        let mut amendment = Amendment::default();
        for (place, before) in affected.into_iter().zip(before) {
            let account = self.directory.get(place).clone();
            if account != before || changed.contains(&place) {
                let trusted = self.operator.accounts.get(&keys[&place]).cloned();
                amendment.accounts.push(Amended { place, account, trusted });
            }
        }
        amendment
    }

    /// An account with what it exports.
    fn base_account(&self, place: AccountId, key: &str) -> Account {
        let Some(statement) = self.statement(key) else {
            // The system account may have yet to be found; all others are gone.
            let gone = place != AccountId::SYSTEM;
            let limits = Limits { connections: gone.then_some(0), ..Limits::default() };
            return Account { limits, removed: gone, ..Account::new(key) };
        };
        let mut account = statement.account();
        for export in statement.exports() {
            // As in the reference, what cannot be exported is left out.
            let _ = account.add_export(export);
        }
        if place == AccountId::SYSTEM {
            account.jetstream = None;
        }
        account
    }

    fn import_all(&mut self, importer: AccountId, key: &str, now_s: i64) {
        let Some(statement) = self.statement(key).cloned() else { return };
        let mut incomplete = false;
        for (place, claims) in statement.token().nats().items("imports").enumerate() {
            let exporter = claims.text("account");
            let Some(known) = self.known.get(exporter) else {
                incomplete = true;
                continue;
            };
            let export = exported_as(self.statement(exporter), claims);
            let activation = statement.activation(place);
            let activated = statement.activation_faults(place, claims).is_empty()
                && activation.is_some_and(|token| {
                    let trusted = self.operator.accounts.get(exporter);
                    trusted.is_some_and(|exporter| exporter.activates(token, export, now_s))
                });
            let place = known.place;
            incomplete |= !self.import(importer, place, claims, activated);
        }
        let known = self.known.get_mut(key).expect("it was just looked at");
        known.incomplete = incomplete;
    }

    /// Adds one import. False if it cannot be.
    fn import(
        &mut self,
        importer: AccountId,
        exporter: AccountId,
        claims: Claims<'_>,
        activated: bool,
    ) -> bool {
        let directory = &mut self.directory;
        let (subject, local) = (claims.text("subject"), claims.text("local_subject"));
        let to = claims.text("to");
        if claims.text("type") == "service" {
            // `to` is what the exporter calls it, and `local_subject` what the importer does.
            let (there, here) = match (local, to) {
                ("", "") => (subject, ""),
                ("", to) => (to, subject),
                (local, _) => (subject, local),
            };
            let added = directory.add_service_import(importer, (exporter, there), here, activated);
            return added.map(|import| import.share = claims.flag("share")).is_ok();
        }
        let source = (exporter, subject);
        let added = if local.is_empty() && !to.is_empty() {
            directory.add_prefixed_stream_import(importer, source, to, activated)
        } else {
            directory.add_stream_import(importer, source, local, activated)
        };
        added.map(|import| import.allow_trace = claims.flag("allow_trace")).is_ok()
    }
}

/// When the activation tokens of a statement run out.
fn activation_ends(statement: &Statement) -> Vec<i64> {
    let imports = statement.token().nats().items("imports").count();
    let tokens = (0..imports).filter_map(|place| statement.activation(place));
    tokens.map(Token::expires_s).filter(|end| *end != 0).collect()
}

/// The export that an import belongs to, as its token has it: for what it has revoked.
fn exported_as<'a>(exporter: Option<&'a Statement>, import: Claims<'_>) -> Option<Claims<'a>> {
    let kind = import.text("type");
    let (subject, to) = (import.text("subject"), import.text("to"));
    let own = import.text("local_subject").is_empty() && kind == "service" && !to.is_empty();
    let subject = if own { to } else { subject };
    let alike = || {
        let exports = exporter.into_iter().flat_map(|it| it.token().nats().items("exports"));
        exports.filter(|export| export.text("type") == kind)
    };
    let contains = |export: &Claims<'_>| {
        let pattern = export.text("subject").as_bytes();
        subjects::grammar::is_subset(subject.as_bytes(), pattern)
    };
    let exact = alike().find(|export| export.text("subject") == subject);
    exact.or_else(|| alike().find(contains))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
