//! What a consumer says of itself.

use base::Wall;

use super::{
    Consumers,
    cursor::{Consumer, Pair},
    desk::Desk,
};
use crate::{Outlet, json::Writer, stamp::Stamp, stream::View};

fn put_pair(out: &mut Vec<u8>, pair: Pair, last: Option<Wall>) {
    let mut fields = Writer::open(out);
    fields.natural("consumer_seq", pair.number);
    fields.natural("stream_seq", pair.sequence);
    if let Some(last) = last {
        Stamp::from(last).put(fields.field("last_active"));
    }
    fields.close();
}

impl Consumers {
    /// What the consumer that comes so many names after the first says of itself, as JSON.
    pub(crate) fn describe(
        &mut self,
        view: &mut View<'_>,
        nth: usize,
        out: &mut dyn Outlet,
    ) -> Option<Vec<u8>> {
        let place = *self.names.values().nth(nth)?;
        let mut json = Vec::new();
        let mut fields = Writer::open(&mut json);
        self.consumer(place).put_info(&mut Desk { view, out }, &mut fields, false);
        fields.close();
        Some(json)
    }
}

impl Consumer {
    /// Appends its fields to an object; with what the server says about itself if wanted.
    pub(crate) fn put_info(
        &mut self,
        desk: &mut Desk<'_, '_>,
        fields: &mut Writer<'_>,
        is_dynamic: bool,
    ) {
        if !self.config.is_push() {
            self.look_after_requests(desk, false);
        }
        let now = desk.view.now.wall;
        let pending = self.pending(desk.view);
        let server = desk.view.server;
        fields.text("stream_name", &desk.view.core.config.name);
        fields.text("name", &self.name);
        Stamp::from(self.created).put(fields.field("created"));
        let version = is_dynamic.then_some(server.version.as_str());
        self.config.put(fields.field("config"), version);
        put_pair(fields.field("delivered"), self.delivered, self.last_delivered);
        put_pair(fields.field("ack_floor"), self.floor, self.last_acked);
        fields.natural("num_ack_pending", self.ledger.len() as u64);
        // With a single delivery nothing is ever delivered again, only given up.
        let is_single = self.config.max_deliver == 1;
        let redelivered = if is_single { 0 } else { self.ledger.redelivered() };
        fields.natural("num_redelivered", redelivered as u64);
        fields.natural("num_waiting", self.waiting.len() as u64);
        fields.natural("num_pending", pending);
        fields.flag_if_set("push_bound", self.config.is_push() && self.push.is_active);
        if let Some(until) = self.paused_until(now) {
            fields.flag("paused", true);
            fields.integer_unless_zero("pause_remaining", until.0 - now.0);
        }
        Stamp::from(now).put(fields.field("ts"));
        if let Some(group) = self.config.priority_groups.first() {
            let out = fields.field("priority_groups");
            out.push(b'[');
            let mut state = Writer::open(out);
            state.text("group", group);
            state.text_unless_empty("pinned_client_id", &self.pin.id);
            let since =
                if self.pin.id.is_empty() { Stamp::ZERO } else { Stamp::from(self.pin.since) };
            since.put(state.field("pinned_ts"));
            state.close();
            out.push(b']');
        }
    }
}
