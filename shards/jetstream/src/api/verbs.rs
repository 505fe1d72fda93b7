//! What can be asked for: subjects and the types of answers (spec 6.1).

use crate::json::Writer;
use crate::stamp::Stamp;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Info,
    StreamCreate,
    StreamUpdate,
    StreamNames,
    StreamList,
    StreamInfo,
    StreamDelete,
    StreamPurge,
    StreamSnapshot,
    StreamRestore,
    MessageGet,
    MessageDelete,
    /// What only clusters can do.
    Clustered(&'static str),
    /// What is asked about consumers, and is theirs to answer.
    Consumer(&'static str),
}

/// Subjects after `$JS.API.`, and what they ask for.
const VERBS: &[(&str, Verb)] = &[
    ("INFO", Verb::Info),
    ("STREAM.CREATE.*", Verb::StreamCreate),
    ("STREAM.UPDATE.*", Verb::StreamUpdate),
    ("STREAM.NAMES", Verb::StreamNames),
    ("STREAM.LIST", Verb::StreamList),
    ("STREAM.INFO.*", Verb::StreamInfo),
    ("STREAM.DELETE.*", Verb::StreamDelete),
    ("STREAM.PURGE.*", Verb::StreamPurge),
    ("STREAM.SNAPSHOT.*", Verb::StreamSnapshot),
    ("STREAM.RESTORE.*", Verb::StreamRestore),
    ("STREAM.MSG.GET.*", Verb::MessageGet),
    ("STREAM.MSG.DELETE.*", Verb::MessageDelete),
    ("STREAM.PEER.REMOVE.*", Verb::Clustered("stream_remove_peer_response")),
    ("STREAM.PEER.EVACUATE.*", Verb::Clustered("stream_evacuate_peer_response")),
    ("STREAM.LEADER.STEPDOWN.*", Verb::Clustered("stream_leader_stepdown_response")),
    ("STREAM.CANCEL_MOVE.*", Verb::Clustered("stream_cancel_move_response")),
    ("CONSUMER.CREATE.*", Verb::Consumer("consumer_create_response")),
    ("CONSUMER.CREATE.*.>", Verb::Consumer("consumer_create_response")),
    ("CONSUMER.DURABLE.CREATE.*.*", Verb::Consumer("consumer_create_response")),
    ("CONSUMER.NAMES.*", Verb::Consumer("consumer_names_response")),
    ("CONSUMER.LIST.*", Verb::Consumer("consumer_list_response")),
    ("CONSUMER.INFO.*.*", Verb::Consumer("consumer_info_response")),
    ("CONSUMER.DELETE.*.*", Verb::Consumer("consumer_delete_response")),
    ("CONSUMER.PAUSE.*.*", Verb::Consumer("consumer_pause_response")),
    ("CONSUMER.UNPIN.*.*", Verb::Consumer("consumer_unpin_response")),
    ("CONSUMER.LEADER.STEPDOWN.*.*", Verb::Clustered("consumer_leader_stepdown_response")),
    ("CONSUMER.PEER.REMOVE.*.*", Verb::Clustered("consumer_remove_peer_response")),
    ("CONSUMER.PEER.EVACUATE.*.*", Verb::Clustered("consumer_evacuate_peer_response")),
];

impl Verb {
    /// What a subject asks for.
    pub(crate) fn of(subject: &[u8]) -> Option<Self> {
        let rest = subject.strip_prefix(b"$JS.API.")?;
        let fits = |pattern: &str| subjects::grammar::matches(pattern.as_bytes(), rest);
        VERBS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, verb)| *verb)
    }

    /// The place of the stream's name in the subject.
    pub(crate) const fn stream_token(self) -> usize {
        match self {
            Self::MessageGet | Self::MessageDelete => 6,
            _ => 5,
        }
    }

    /// The `type` of the answer.
    pub(crate) fn kind(self) -> String {
        let name = match self {
            Self::Info => "account_info_response",
            Self::StreamCreate => "stream_create_response",
            Self::StreamUpdate => "stream_update_response",
            Self::StreamNames => "stream_names_response",
            Self::StreamList => "stream_list_response",
            Self::StreamInfo => "stream_info_response",
            Self::StreamDelete => "stream_delete_response",
            Self::StreamPurge => "stream_purge_response",
            Self::StreamSnapshot => "stream_snapshot_response",
            Self::StreamRestore => "stream_restore_response",
            Self::MessageGet => "stream_msg_get_response",
            Self::MessageDelete => "stream_msg_delete_response",
            Self::Clustered(name) | Self::Consumer(name) => name,
        };
        format!("io.nats.jetstream.api.v1.{name}")
    }

    /// Fields that an answer has although it is an error.
    pub(crate) fn put_rest_of_error(self, writer: &mut Writer<'_>) {
        let list = match self {
            Self::StreamInfo => None,
            Self::StreamNames => Some(("streams", &b"null"[..])),
            Self::StreamList => Some(("streams", &b"[]"[..])),
            Self::Consumer("consumer_names_response" | "consumer_list_response") => {
                Some(("consumers", &b"[]"[..]))
            }
            Self::Consumer("consumer_pause_response") => {
                writer.flag("paused", false);
                Stamp::ZERO.put(writer.field("pause_until"));
                return;
            }
            Self::StreamPurge => return writer.natural("purged", 0),
            _ => return,
        };
        put_page(writer, (0, 0, 0));
        if let Some((name, text)) = list {
            writer.field(name).extend_from_slice(text);
        }
    }
}

/// Writes how many there are, which the first of the page is, and how many fit on one.
pub(crate) fn put_page(writer: &mut Writer<'_>, (total, offset, limit): (usize, usize, usize)) {
    writer.natural("total", total as u64);
    writer.natural("offset", offset as u64);
    writer.natural("limit", limit as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_ask_for_something_or_nothing() {
        for (subject, expected) in [
            ("$JS.API.INFO", Some(Verb::Info)),
            ("$JS.API.STREAM.INFO.S", Some(Verb::StreamInfo)),
            ("$JS.API.STREAM.INFO", None),
            ("$JS.API.STREAM.INFO.S.x", None),
            ("$JS.API.CONSUMER.CREATE.S.c.f.g", Some(Verb::Consumer("consumer_create_response"))),
            ("$JS.API.CONSUMER.MSG.NEXT.S.c", None),
            ("$JS.API.FOO", None),
            ("$JS.API.", None),
        ] {
            assert_eq!(Verb::of(subject.as_bytes()), expected, "{subject}");
        }
    }
}
