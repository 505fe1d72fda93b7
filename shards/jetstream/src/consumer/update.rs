//! Changing a consumer.

use super::{
    Consumers, config::ConsumerConfig, cursor::Consumer, desk::Desk, filter::Filter, ledger::Waits,
};
use crate::{
    error::Fault,
    stream::{Wanted, config::Retention},
};

impl Consumers {
    /// Gives a consumer a new configuration, if it may have it.
    pub(super) fn update(
        &mut self,
        desk: &mut Desk<'_, '_>,
        place: u32,
        new: ConsumerConfig,
    ) -> Result<(), Fault> {
        self.mark(place);
        let consumer = self.consumer(place);
        let subject = consumer.config.deliver_subject.as_bytes();
        let is_bound = consumer.config.is_push()
            && consumer.config.deliver_subject != new.deliver_subject
            && desk.out.is_wanted(desk.view.core.account, subject);
        consumer.config.check_update(&new, is_bound)?;
        consumer.change(desk, new);
        Ok(())
    }
}

impl Consumer {
    fn change(&mut self, desk: &mut Desk<'_, '_>, mut new: ConsumerConfig) {
        new.pause_until = new.pause_until.map(crate::stamp::Stamp::utc);
        let filters_of = |config: &ConsumerConfig| {
            let mut filters: Vec<String> = config.all_filters().map(String::from).collect();
            filters.sort_unstable();
            filters
        };
        let old = std::mem::replace(&mut self.config, new);
        self.waits = Waits::new(self.config.ack_wait, &self.config.backoff);
        self.sampling = self.config.sampling().unwrap_or(0);
        if old.deliver_subject != self.config.deliver_subject {
            self.ledger.queue_all();
            self.look_for_interest(desk);
        }
        if old.rate_limit != self.config.rate_limit {
            self.push.limit(self.config.rate_limit, desk.view);
        }
        if old.inactive_threshold != self.config.inactive_threshold {
            self.set_threshold(desk.view.random);
        }
        let until = |config: &ConsumerConfig| config.pause_until.filter(|until| !until.is_zero());
        if until(&old) != until(&self.config) {
            self.tell_paused(desk);
        }
        if filters_of(&old) != filters_of(&self.config) {
            self.filter = Filter::new(self.config.all_filters());
            self.recount(desk.view);
            if desk.view.core.config.retention == Retention::Interest {
                desk.view.wanted.push(Wanted::InterestChanged);
            }
        }
        if old != self.config {
            self.note_config(desk);
        }
    }
}
