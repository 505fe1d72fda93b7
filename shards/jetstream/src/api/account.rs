//! What an account uses and may use (spec 6.1).

use super::{API_LEVEL, Call};
use crate::JetStream;
use crate::json::Writer;

impl JetStream {
    /// `INFO`.
    pub(super) fn account_info(&self, call: &Call<'_>, writer: &mut Writer<'_>) {
        let account = self.account(call.account).expect("the caller looked");
        let usage = &account.usage;
        writer.natural("memory", usage.memory);
        writer.natural("storage", usage.file);
        writer.natural("reserved_memory", usage.reserved_memory);
        writer.natural("reserved_storage", usage.reserved_file);
        writer.natural("streams", account.streams.len() as u64);
        writer.natural("consumers", account.consumers as u64);
        let limits = &account.limits;
        let mut inner = Writer::open(writer.field("limits"));
        inner.integer("max_memory", limits.max_memory);
        inner.integer("max_storage", limits.max_store);
        inner.integer("max_streams", limits.max_streams);
        inner.integer("max_consumers", limits.max_consumers);
        inner.integer("max_ack_pending", limits.max_ack_pending);
        inner.integer("memory_max_stream_bytes", limits.memory_max_stream_bytes);
        inner.integer("storage_max_stream_bytes", limits.store_max_stream_bytes);
        inner.flag("max_bytes_required", limits.max_bytes_required);
        inner.close();
        writer.text_unless_empty("domain", &self.ground.config.domain);
        let mut api = Writer::open(writer.field("api"));
        api.natural("level", API_LEVEL);
        api.natural("total", account.api_total);
        api.natural("errors", account.api_errors);
        api.close();
    }
}
