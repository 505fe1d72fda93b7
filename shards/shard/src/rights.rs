//! Rights where messages pass: what is published under them, and what is delivered (spec 3.2).

use accounts::Answer;
use base::Slot;
use subjects::Route;
use wire::{Message, PublishLine};

use crate::effects::Level;
use crate::shard::Shard;

impl Shard {
    /// A connection whose rights say where it may publish does so.
    pub(crate) fn publish_by_right(&mut self, slot: Slot, message: &Message<'_>) {
        match self.may_publish_to(slot, message.subject) {
            Answer::Always => {
                let route = self.recall(slot, message.subject);
                self.publish_routed(slot, message, route);
            }
            Answer::Once => {
                // Not to be remembered: the next one may not be allowed.
                let account = self.wires.get(slot).account;
                let route: Route = self.spaces.at(account).route(message.subject);
                self.publish_routed(slot, message, route);
            }
            Answer::Never => {
                self.wires.get_mut(slot).note_input(message.size(), self.now);
                self.violate_publish(slot, message.subject);
            }
        }
    }

    pub(crate) fn may_publish_to(&mut self, slot: Slot, subject: &[u8]) -> Answer {
        let rights = &mut self.wires.get_mut(slot).rights;
        rights.as_mut().map_or(Answer::Always, |rights| rights.publish(subject, self.now))
    }

    /// Of publishes in a row, how many at the start are allowed whatever has been before?
    pub(crate) fn count_permitted(
        &mut self,
        slot: Slot,
        lines: &[(usize, PublishLine<'_>)],
    ) -> usize {
        let Some(rights) = &mut self.wires.get_mut(slot).rights else { return lines.len() };
        let forbidden = lines.iter().position(|(_, line)| !rights.publishes_always(line.subject));
        forbidden.unwrap_or(lines.len())
    }

    #[cold]
    pub(crate) fn violate_publish(&mut self, slot: Slot, subject: &[u8]) {
        let subject = crate::trace::quoted(subject);
        let text = format!("Permissions Violation for Publish to {subject}");
        self.note_refusal(&text);
        self.wires.write_error(slot, &text);
        self.log_for(Level::Error, slot, &format!("Publish Violation - Subject {subject}"));
    }

    /// May a connection subscribe? The error is what it is told.
    pub(crate) fn check_subscribe_right(
        &mut self,
        slot: Slot,
        subject: &[u8],
        queue: &[u8],
    ) -> Result<(), String> {
        let connection = self.wires.get_mut(slot);
        let allowed =
            connection.rights.as_mut().is_none_or(|rights| rights.subscribe(subject, queue));
        connection.note_rights();
        if allowed && queue != b"_sys_" {
            return Ok(());
        }
        let shown = describe(subject, queue);
        Err(format!("Permissions Violation for Subscription to {shown}"))
    }
}

/// A subscription as errors name it.
pub(crate) fn describe(subject: &[u8], queue: &[u8]) -> String {
    let subject = crate::trace::quoted(subject);
    if queue.is_empty() {
        return subject;
    }
    format!("{subject} using queue {}", crate::trace::quoted(queue))
}
