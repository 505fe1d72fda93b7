//! Lame duck mode: no new clients, those that are there are told to go and then closed one by one
//! (spec 10).

use base::{Duration, Slot, Time};
use session::Reason;

use crate::effects::Level;
use crate::placement::ACCEPTOR;
use crate::shard::Shard;

/// How far the going away is.
#[derive(Debug)]
pub(crate) struct LameDuck {
    /// The next connection is closed then.
    next_close: Time,
    interval: Duration,
    announced: bool,
    remaining: Vec<Slot>,
}

impl LameDuck {
    pub(crate) const fn next_due(&self) -> Time {
        if self.announced && self.remaining.is_empty() { Time::NEVER } else { self.next_close }
    }
}

impl Shard {
    /// Goes into lame duck mode. Clients that understand it are told at once; after the grace
    /// period they are closed, spread over what is left of the duration, at most a second apart.
    pub fn enter_lame_duck(&mut self) {
        if self.lame_duck.is_some() {
            return;
        }
        let slots = self.open_slots();
        let spread = self.config.lame_duck_duration.saturating_sub(self.config.lame_duck_grace);
        let spread = if spread.is_zero() { Duration::from_secs(1) } else { spread };
        let interval = (spread / slots.len().max(1) as u32).min(Duration::from_secs(1));
        for slot in &slots {
            self.send_lame_duck_info(*slot);
        }
        self.lame_duck = Some(LameDuck {
            next_close: self.now.after(self.config.lame_duck_grace),
            interval,
            announced: false,
            remaining: slots,
        });
        if self.core == ACCEPTOR {
            self.log(Level::Info, "Entering lame duck mode, stop accepting new clients".into());
            self.effects.stop_accepting = true;
            self.check_drained();
        }
    }

    /// A connection was accepted before this server's last core heard of lame duck mode.
    pub(crate) fn note_late(&mut self, slot: Slot) {
        if let Some(duck) = &mut self.lame_duck {
            duck.remaining.push(slot);
        }
    }

    pub(crate) fn send_lame_duck_info(&mut self, slot: Slot) {
        let connection = self.wires.get(slot);
        if connection.greeted && connection.options.protocol >= 1 {
            let line = self.info.lame_duck(connection, &self.config);
            self.wires.write(slot, line.as_bytes());
        }
    }

    pub(crate) fn tick_lame_duck(&mut self) {
        let now = self.now;
        while let Some(duck) = &mut self.lame_duck
            && duck.next_due() <= now
        {
            if !duck.announced {
                duck.announced = true;
                if self.core == ACCEPTOR {
                    self.log(Level::Info, "Closing existing clients".into());
                }
                continue;
            }
            // Half to the whole interval, as in the reference, so that clients do not come back in
            // step.
            let half = duck.interval.as_nanos() as u64 / 2;
            let jitter = Duration::from_nanos(half + self.random.below(half.max(1)));
            duck.next_close = now.after(jitter);
            if let Some(slot) = duck.remaining.pop()
                && self.wires.get(slot).id.0 != 0
            {
                self.wires.end(slot, Reason::ServerShutdown);
            }
        }
    }
}
