//! JetStream's start: what the machine has room for, and what the log says.

use std::path::Path;

use ::jetstream::{Config as Rules, JetStream};
use base::AccountId;
use nix::sys::statvfs::statvfs;
use shard::Config;
use storage::{Encryption, Store, StoreOptions};

use crate::config::{JetStream as Options, Sync};
use crate::log::Logger;
use crate::notation::{error_text, friendly_bytes};

/// Three quarters of what there is, as the reference takes without a limit.
const SHARE: (u64, u64) = (3, 4);

/// What the core that stores messages is started with.
pub(crate) struct Parts {
    pub(crate) rules: Rules,
    pub(crate) options: Options,
    pub(crate) seed: u64,
}

/// Settles the limits and says in the log what is to be kept where.
pub(crate) fn prepare(
    options: &Options,
    config: &Config,
    seed: u64,
    logger: &Logger,
) -> Result<Parts, String> {
    let directory = &options.directory;
    std::fs::create_dir_all(directory).map_err(|error| {
        let (path, reason) = (directory.display(), error_text(&error));
        let what = format!("could not create storage directory - mkdir {path}: {reason}");
        format!("Can't start JetStream: {what}")
    })?;
    let rules = Rules {
        server_name: config.server_name.clone(),
        server_id: config.server_id.clone(),
        version: config.version.clone(),
        domain: options.domain.clone(),
        strict: options.strict,
        memory_max: options.max_memory.unwrap_or_else(memory_share),
        file_max: options.max_file.unwrap_or_else(|| disk_share(directory)),
        payload_max: config.max_payload as i64,
        limits: options.limits.to_limits(),
        seed,
    };
    announce(options, &rules, logger);
    if config.accounts.get(AccountId::SYSTEM).jetstream.is_some() {
        return Err("jetstream can not be enabled on the system account".to_owned());
    }
    Ok(Parts { rules, options: options.clone(), seed })
}

fn announce(options: &Options, rules: &Rules, logger: &Logger) {
    logger.info("Starting JetStream");
    logger.info("---------------- JETSTREAM ----------------");
    logger.info(format_args!("  Strict:          {}", options.strict));
    logger.info(format_args!("  Max Memory:      {}", friendly_bytes(rules.memory_max as u64)));
    logger.info(format_args!("  Max Storage:     {}", friendly_bytes(rules.file_max as u64)));
    logger.info(format_args!("  Store Directory: \"{}\"", options.directory.display()));
    if !options.domain.is_empty() {
        logger.info(format_args!("  Domain:          {}", options.domain));
    }
    if let Some(keys) = &options.keys {
        logger.info(format_args!("  Encryption:      {:?}", keys.cipher));
    }
    if let Sync::Every(interval) = options.sync {
        logger.warn(format_args!(
            "  Sync Interval:   {interval:?}: power loss may take what was acknowledged since"
        ));
    }
    logger.info("  API Level:       5");
    logger.info("-------------------------------------------");
}

fn memory_share() -> i64 {
    let bytes = nix::sys::sysinfo::sysinfo().map_or(1 << 30, |info| info.ram_total());
    (bytes / SHARE.1 * SHARE.0) as i64
}

fn disk_share(directory: &Path) -> i64 {
    let free = statvfs(directory)
        .map_or(1 << 40, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    (free / SHARE.1 * SHARE.0) as i64
}

impl Parts {
    /// Opens what is stored, which `recover` reads from the disk.
    ///
    /// # Errors
    /// Why that is not possible, in one line.
    pub(crate) fn open(
        self,
        encryption: Option<Encryption>,
        recover: impl FnOnce(&mut Store) -> Result<(), String>,
    ) -> Result<Box<JetStream>, String> {
        let sync = match self.options.sync {
            Sync::Always => storage::Sync::Always,
            Sync::Every(interval) => storage::Sync::Every(interval),
        };
        let seed = self.seed;
        let options = StoreOptions { sync, seed, encryption, ..StoreOptions::default() };
        let mut store = Store::open(options);
        recover(&mut store)?;
        Ok(Box::new(JetStream::new(self.rules, store)))
    }
}
