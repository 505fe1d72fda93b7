//! From one state of things to the next while the server runs: a configuration that was read again,
//! or accounts about which something became known.
//!
//! The boot thread alone decides what is in force. Each core switches by itself, told by a command,
//! and says when it has; there is one switch at a time, and what comes meanwhile goes together into
//! the next.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use accounts::{Amendment, Ledger, Statement};
use base::AccountId;
use shard::Config;
use tokio::sync::oneshot;

use super::{Server, advertised, shard_config_after, staple};
use crate::config::{Options, now_s, reload};
use crate::monitor::{self, Notice, Settled};
use crate::reactor::{Command, Report};
use crate::resolver::{self, Ask, Learned, Learning, Resolver};
use crate::tls::Files;

/// Who asked for a reload, to be told how it ended.
type Asker = oneshot::Sender<Result<(), String>>;

/// A switch under way, if one is.
#[derive(Default)]
pub(super) struct Switching {
    /// Cores, and the monitor where it switches as well, that have yet to say that it holds for
    /// everyone.
    cores: usize,
    under_way: UnderWay,
    /// Who asked for a reload meanwhile: then the file is read once more.
    again: Option<Vec<Asker>>,
    /// What was found out meanwhile.
    learned: Vec<Learned>,
    /// The accounts that an operator vouches for, and who looks for others.
    ledger: Option<Ledger>,
    resolver: Option<Resolver>,
}

#[derive(Default)]
enum UnderWay {
    #[default]
    Nothing,
    /// The file was read again.
    Reload(Vec<Asker>),
    /// Something became known about accounts.
    Accounts {
        /// Keys that somebody on some core waits for.
        answered: Vec<String>,
        told: Vec<(oneshot::Sender<Learning>, Learning)>,
    },
}

impl Server {
    /// Starts whoever looks for accounts, where an operator vouches for them.
    pub(super) fn resolve_accounts(
        &mut self,
        reports: &mpsc::Sender<Report>,
    ) -> Result<(), String> {
        let Some(vouching) = self.options.authorization.vouching.clone() else { return Ok(()) };
        let mut ledger = vouching.ledger.clone();
        let system = ledger.directory.get(AccountId::SYSTEM).name.clone();
        let parts = resolver::Parts {
            system: if ledger.knows(&system) { system } else { String::new() },
            vouching,
            reports: reports.clone(),
            notices: self.notices.clone(),
            logger: self.logger.clone(),
        };
        let (resolver, found) = resolver::start(parts)?;
        let now_s = now_s();
        let found: Vec<Statement> =
            found.into_iter().filter(|one| ledger.check(one, now_s).is_ok()).collect();
        let taken = found.iter().map(|one| one.key().to_owned()).collect();
        ledger.take(found, now_s);
        resolver.ask(Ask::Settled { taken, withdrawn: Vec::new() });
        self.config.accounts = ledger.directory.clone();
        self.config.auth.operator = Some(Box::new(ledger.operator.clone()));
        self.switching.ledger = Some(ledger);
        self.switching.resolver = Some(resolver);
        Ok(())
    }

    /// The way to who looks for accounts, if anybody does.
    pub(super) fn resolver(&self) -> Option<Resolver> {
        self.switching.resolver.clone()
    }

    /// What a core or another thread has to say next; a timeout when time itself has changed what
    /// accounts may share.
    pub(super) fn next_report(&self) -> Result<Report, RecvTimeoutError> {
        let now_s = now_s();
        let lapse = self.switching.ledger.as_ref().and_then(|ledger| ledger.next_lapse(now_s));
        match lapse {
            None => self.reports.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at_s) => {
                let wait = u64::try_from(at_s - now_s).unwrap_or(0);
                self.reports.recv_timeout(Duration::from_secs(wait))
            }
        }
    }

    /// Something was found out about accounts.
    pub(super) fn learn(&mut self, learned: Learned) {
        self.switching.learned.push(learned);
        self.go_on();
    }

    /// Activations may have run out.
    pub(super) fn lapse(&mut self) {
        self.learn(Learned::default());
    }

    /// Begins the next switch, if none is under way and there is one to begin.
    fn go_on(&mut self) {
        if self.switching.cores > 0 {
            return;
        }
        if let Some(askers) = self.switching.again.take() {
            self.reload(askers);
        } else if !self.switching.learned.is_empty() {
            self.amend();
        }
    }

    /// Puts in force all that was found out.
    fn amend(&mut self) {
        let all = std::mem::take(&mut self.switching.learned);
        let Some(ledger) = &mut self.switching.ledger else { return };
        let now_s = now_s();
        let mut statements = Vec::new();
        let (mut withdrawn, mut answered, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for learned in all {
            let mut learning = Learning::InForce;
            for statement in learned.statements {
                if learned.if_known && !ledger.knows(statement.key()) {
                    learning = Learning::Skipped;
                } else if ledger.check(&statement, now_s).is_err() {
                    learning = Learning::Refused;
                } else {
                    statements.push(statement);
                }
            }
            withdrawn.extend(learned.withdrawn);
            answered.extend(learned.answered);
            told.extend(learned.told.map(|told| (told, learning)));
        }
        let taken = statements.iter().map(|one| one.key().to_owned()).collect();
        let mut amendment = ledger.withdraw(&withdrawn, now_s);
        for more in [ledger.take(statements, now_s), ledger.lapse(now_s)] {
            amendment.accounts.extend(more.accounts);
        }
        if let Some(resolver) = &self.switching.resolver {
            resolver.ask(Ask::Settled { taken, withdrawn });
        }
        self.switching.under_way = UnderWay::Accounts { answered, told };
        self.tell_amendment(amendment);
    }

    fn tell_amendment(&mut self, amendment: Amendment) {
        if amendment == Amendment::default() {
            return self.end_switch();
        }
        self.tell(|| Command::Amend(Box::new(amendment.clone())));
        // The monitor is one more that switches.
        self.switching.cores = self.cores.len() + 1;
        if let Some(ledger) = &self.switching.ledger {
            self.config.accounts.clone_from(&ledger.directory);
            self.config.auth.operator = Some(Box::new(ledger.operator.clone()));
        }
        self.notices.send(Notice::Amended(Box::new(amendment)));
    }

    /// A switch is over when it holds for every connection of every core.
    pub(super) fn note_reconfigured(&mut self, count: u32) {
        self.switching.cores -= count as usize;
        if self.switching.cores == 0 {
            self.end_switch();
        }
    }

    fn end_switch(&mut self) {
        match std::mem::take(&mut self.switching.under_way) {
            UnderWay::Nothing => {}
            UnderWay::Reload(askers) => {
                self.logger.info(reload::summary(&self.options));
                for asker in askers {
                    // Whoever asked may be gone.
                    let _ = asker.send(Ok(()));
                }
            }
            UnderWay::Accounts { answered, told } => {
                if !answered.is_empty() {
                    self.tell(|| Command::Answer(answered.clone()));
                }
                for (told, learning) in told {
                    let _ = told.send(learning);
                }
            }
        }
        self.go_on();
    }

    /// Reads the file again.
    pub(super) fn reload(&mut self, mut askers: Vec<Asker>) {
        if self.switching.cores > 0 {
            self.switching.again.get_or_insert_default().append(&mut askers);
            return;
        }
        let fresh = reload::read(&self.options).and_then(|options| {
            let mut changes = reload::diff(&self.options, &options)?;
            let mut secrets = Files::read(&options)?;
            changes.extend(self.secrets.changes(&secrets));
            let upkeep = staple(&mut secrets, &options, &self.reports_in, &self.logger)?;
            Ok((options, (secrets, upkeep), changes))
        });
        match fresh {
            Ok((options, (secrets, upkeep), changes)) => {
                self.upkeep = upkeep;
                self.switching.under_way = UnderWay::Reload(askers);
                self.secure(secrets);
                self.put_in_force(options, changes);
            }
            Err(problem) => {
                self.logger.error(format_args!("Failed to reload server configuration: {problem}"));
                for asker in askers {
                    let _ = asker.send(Err(problem.clone()));
                }
            }
        }
    }

    fn put_in_force(&mut self, mut options: Options, changes: Vec<reload::Change>) {
        self.renew_ledger(&mut options);
        let fresh = shard_config_after(&options, &self.config.accounts, &self.keys);
        let mut config = Config {
            server_name: self.config.server_name.clone(),
            nonce_key: self.config.nonce_key,
            port: advertised(&options).1.unwrap_or(self.address.port()),
            ..fresh
        };
        if let (Some(door), Some(address)) = (&mut config.websocket, self.websocket) {
            door.port = address.port();
        }
        self.options = options;
        for change in changes {
            self.apply(&change);
        }
        self.tell(|| Command::Reconfigure(Box::new(config.clone())));
        self.config = config;
        self.switching.cores = self.cores.len();
        self.notices.send(Notice::Settled(Box::new(self.settled())));
    }

    /// Goes on with the accounts that are known, under the operator and with the tokens of the file
    /// as it is now.
    fn renew_ledger(&mut self, options: &mut Options) {
        let Some(vouching) = &mut options.authorization.vouching else { return };
        if let Some(earlier) = self.switching.ledger.take() {
            let fresh = std::mem::take(&mut vouching.ledger);
            let found = fresh.operator.seeks;
            vouching.ledger = fresh.after(&earlier, found, now_s());
        }
        options.accounts = vouching.ledger.directory.clone();
        self.switching.ledger = Some(vouching.ledger.clone());
        if let Some(resolver) = &self.switching.resolver {
            resolver.ask(Ask::Reload(vouching.preload.clone()));
        }
    }

    /// Lets later handshakes be made by these.
    fn secure(&mut self, secrets: Files) {
        secrets.warn(&self.logger);
        self.secrets = secrets;
        self.tell(|| Command::Secure(self.secrets.secrets()));
    }

    /// What is in force from now on.
    pub(super) fn settled(&self) -> Settled {
        Settled {
            options: self.options.clone(),
            config: self.config.clone(),
            directory: self.config.accounts.clone(),
            https: self.secrets.monitor(),
            certificates_end: self.secrets.ends(),
            loaded: monitor::wall(),
        }
    }
}
