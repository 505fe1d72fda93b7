//! The back end in memory: a shard without sockets or clock.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{CoreId, Moment, Slot, Time};
use pinion::auth::Prover;
use pinion::boot::shard_config;
use pinion::cli::{self, Launch};
use shard::{Config, Effects, Peer, Shard, Socket};

use super::backend::{Backend, ConnectionKey};

/// A shard with this configuration and these flags; the reason where it cannot be had.
pub(crate) fn start(config: &str, flags: &[String]) -> Result<Box<dyn Backend>, String> {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path =
        std::env::temp_dir().join(format!("transcript-{}-{number}.conf", std::process::id()));
    let mut arguments = vec!["-a".to_owned(), "127.0.0.1".to_owned()];
    arguments.extend_from_slice(flags);
    if !config.trim().is_empty() {
        fs::write(&path, config).map_err(|error| error.to_string())?;
        arguments.extend(["-c".to_owned(), path.display().to_string()]);
    }
    let launch = cli::launch(cli::EXECUTABLE, &arguments);
    // It is there only if there was something to write.
    let _ = fs::remove_file(&path);
    match launch {
        Launch::Start { options, .. } => {
            let mut config = shard_config(&options);
            if config.port == 0 {
                config.port = 4222;
            }
            Ok(Box::new(Memory::new(config)))
        }
        Launch::Exit { stderr, .. } => Err(stderr),
    }
}

/// What a real socket gives at a time.
const READ_BYTES: usize = 64 * 1024;

#[derive(Default)]
struct Client {
    slot: Option<Slot>,
    output: Vec<u8>,
    /// The broker has closed.
    closed: bool,
    /// Input that waits because reading is paused.
    backlog: Vec<u8>,
}

struct Memory {
    shard: Shard,
    effects: Effects,
    now: Time,
    clients: Vec<Client>,
    by_slot: HashMap<Slot, usize>,
    log: String,
    prover: Prover,
}

impl Memory {
    fn new(config: Config) -> Self {
        let now = Time(1_000_000_000);
        Self {
            shard: Shard::new(CoreId(0), 1, 7, config, now),
            effects: Effects::default(),
            now,
            clients: Vec::new(),
            by_slot: HashMap::new(),
            log: String::new(),
            prover: Prover::default(),
        }
    }

    fn flush(&mut self, slot: Slot) {
        let Some(client) = self.by_slot.get(&slot) else { return };
        let bytes = self.shard.unsent(slot);
        self.clients[*client].output.extend_from_slice(bytes);
        let count = bytes.len();
        if count > 0 {
            self.shard.sent(slot, count);
        }
    }

    fn receive(&mut self, client: usize) {
        let Some(slot) = self.clients[client].slot else { return };
        let bytes = std::mem::take(&mut self.clients[client].backlog);
        let mut at = 0;
        while at < bytes.len() && !self.shard.is_paused(slot) {
            let read = &bytes[at..bytes.len().min(at + READ_BYTES)];
            at += self.shard.receive(slot, read);
            let mut pressed = Vec::new();
            self.shard.take_pressed(&mut pressed);
            for slot in pressed {
                self.flush(slot);
            }
        }
        self.clients[client].backlog = bytes[at..].to_vec();
    }

    /// Runs turns until one asks for nothing.
    fn settle(&mut self) {
        loop {
            self.shard.begin_turn(Moment::simulated(self.now));
            let mut effects = std::mem::take(&mut self.effects);
            self.shard.end_turn(&mut effects);
            let idle = effects.opened.is_empty()
                && effects.flush.is_empty()
                && effects.flow.is_empty()
                && effects.shut.is_empty()
                && effects.close.is_empty()
                && effects.proofs.is_empty()
                && !effects.more;
            self.carry_out(&mut effects);
            self.effects = effects;
            if idle && self.clients.iter().any(|client| !client.backlog.is_empty()) {
                // Reading is paused for the sake of a slow subscriber, which time ends.
                self.now = self.now.max(self.shard.next_due());
            } else if idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        for claim in effects.proofs.drain(..) {
            let outcome = self.prover.look_at(&claim.proof);
            self.shard.proven(claim.slot, claim.id, claim.number, outcome);
        }
        for line in effects.log.drain(..) {
            self.log.push_str(&line.text);
            self.log.push('\n');
        }
        for (slot, socket) in effects.opened.drain(..) {
            self.clients[socket.0 as usize].slot = Some(slot);
            self.by_slot.insert(slot, socket.0 as usize);
        }
        for slot in effects.flush.drain(..) {
            self.flush(slot);
        }
        for slot in effects.flow.drain(..) {
            if let Some(client) = self.by_slot.get(&slot).copied() {
                self.receive(client);
            }
        }
        for slot in effects.shut.drain(..) {
            self.flush(slot);
            if let Some(client) = self.by_slot.get(&slot) {
                self.clients[*client].closed = true;
            }
            // The client sees the end and closes as well.
            self.shard.input_ended(slot, false);
        }
        for slot in effects.close.drain(..) {
            if let Some(client) = self.by_slot.remove(&slot) {
                self.clients[client].closed = true;
                self.clients[client].slot = None;
                self.shard.closed(slot);
            }
        }
        for socket in effects.dropped.drain(..) {
            self.clients[socket.0 as usize].closed = true;
        }
    }
}

impl Backend for Memory {
    fn connect(&mut self) -> Result<ConnectionKey, String> {
        let number = self.clients.len();
        self.clients.push(Client::default());
        let peer = Peer { host: "127.0.0.1".into(), port: 40_000 };
        self.shard.accepted(Socket(number as i32), peer);
        self.settle();
        Ok(ConnectionKey(number as u64))
    }

    fn feed(&mut self, connection: ConnectionKey, bytes: &[u8]) {
        let client = connection.0 as usize;
        if self.clients[client].closed {
            return;
        }
        self.clients[client].backlog.extend_from_slice(bytes);
        self.receive(client);
        self.settle();
    }

    fn disconnect(&mut self, connection: ConnectionKey) {
        if let Some(slot) = self.clients[connection.0 as usize].slot {
            self.shard.input_ended(slot, false);
            self.settle();
        }
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now.after(by);
        loop {
            let due = self.shard.next_due();
            if due > until {
                break;
            }
            self.now = self.now.max(due);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    fn take_output(&mut self, connection: ConnectionKey) -> Vec<u8> {
        std::mem::take(&mut self.clients[connection.0 as usize].output)
    }

    fn is_closed(&mut self, connection: ConnectionKey) -> bool {
        let client = &self.clients[connection.0 as usize];
        client.closed && client.output.is_empty()
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn signal(&mut self, name: &str) -> Result<(), String> {
        if name != "USR2" {
            return Err(format!("signal {name} is the process's"));
        }
        self.shard.enter_lame_duck();
        self.settle();
        Ok(())
    }

    fn wait_for_log(&mut self, text: &str) -> Result<(), String> {
        let found = self.log.contains(text);
        if found { Ok(()) } else { Err(format!("no log line with {text:?}:\n{}", self.log)) }
    }
}
