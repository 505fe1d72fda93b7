//! A message finds its subscribers: the hot path.

use base::{AccountId, CoreId, Slot};
use smallvec::SmallVec;
use subjects::{Leaf, Lists, QueueGroup, Route, SubId, Subscriptions};
use wire::{Message, PublishLine};

use crate::effects::Level;
use crate::frame::{self, Relayed, Way};
use crate::imports::{Chain, Introduced};
use crate::itinerary::{Itinerary, Numbers, Stop};
use crate::responses::{MEASURED, PREFIX};
use crate::services::SERVICES;
use crate::shard::Shard;
use crate::wires::Wires;

/// Lists that live from message to message so that none is allocated.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Subscriptions that came to their end by a delivery.
    ended: Vec<(Slot, SubId)>,
    /// Where a message goes that keeps another subject; empty for all others.
    pub(crate) target: Vec<u8>,
    /// Special subscriptions that the message met.
    pub(crate) apart: Vec<SubId>,
    /// Services that are imported under the message's subject, by their place in the account.
    pub(crate) bound: Vec<u32>,
    /// Did the message come from another account, by way of a service?
    pub(crate) imported: bool,
    /// The accounts that it came through.
    pub(crate) chain: Chain,
    /// What a message of an imported stream is called here.
    pub(crate) arriving: Vec<u8>,
    /// What a mapped subject has become.
    mapped: Vec<u8>,
    /// Who sent the next message from another core.
    pub(crate) introduced: Introduced,
    /// Sizes and body of a message that did not stand in the input as a MSG has them.
    tail: Vec<u8>,
    /// Where the messages of a train from another core stand.
    pub(crate) tails: crate::train::Tails,
    /// The way of the message, if that is traced.
    pub(crate) traced: Option<Box<Itinerary>>,
}

impl Scratch {
    /// Did the message meet more than plain subscriptions and queue groups?
    #[inline]
    pub(crate) fn has_apart(&self) -> bool {
        !self.apart.is_empty() || !self.bound.is_empty()
    }

    /// What goes to another core is a part of its own, if the message is traced.
    fn next_part(&mut self, numbers: &mut Numbers) -> Option<(u64, bool)> {
        self.traced.as_mut().map(|traced| (traced.cause(numbers), traced.only))
    }

    /// A subscription came to its end, and is removed once the message went its way.
    pub(crate) fn end_later(&mut self, slot: Slot, id: SubId) {
        self.ended.push((slot, id));
    }

    /// Delivers to the chosen member of a queue group. One that has come to its end is taken off
    /// the list before the next message, so it is never chosen again.
    fn deliver(
        &mut self,
        wires: &mut Wires,
        subscriptions: &mut Subscriptions,
        id: SubId,
        message: &Message<'_>,
    ) {
        let (slot, sid) = (subscriptions.get(id).connection(), subscriptions.get(id).sid);
        if subscriptions.get(id).is_special() {
            self.apart.push(id);
            return;
        }
        if self.traced.as_mut().is_some_and(|traced| !traced.pick(id)) {
            return;
        }
        let (may, ends) = subscriptions.count_delivery(id);
        assert!(may, "a subscription that has ended is in no list");
        if ends {
            self.ended.push((slot, id));
        }
        wires.deliver(slot, message, sid, &subscriptions.sids);
    }
}

/// A queue group's member was chosen on another core.
type Picks<'a> = SmallVec<[(CoreId, &'a [u8]); 4]>;

/// Who sent a message, for those who do not want their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) slot: Slot,
    pub(crate) echo: bool,
}

impl Origin {
    /// May a subscription of this connection get the message?
    #[inline]
    pub(crate) fn reaches(origin: Option<Self>, slot: Slot) -> bool {
        origin.is_none_or(|origin| origin.echo || origin.slot != slot)
    }
}

impl Shard {
    /// A connection publishes. `input` is the whole operation.
    #[inline]
    pub(crate) fn publish(&mut self, slot: Slot, line: &PublishLine<'_>, input: &[u8]) {
        if line.sizes_clean {
            let message = Message {
                subject: line.subject,
                reply: line.reply,
                header: line.header,
                tail: &input[line.sizes_at..],
                sizes_bytes: line.line_bytes - line.sizes_at,
            };
            return self.publish_message(slot, &message, line, input);
        }
        let mut tail = std::mem::take(&mut self.scratch.tail);
        tail.clear();
        let sizes = input[line.sizes_at..line.line_bytes].trim_ascii_end();
        let mut words = sizes.split(|byte| matches!(byte, b' ' | b'\t')).filter(|w| !w.is_empty());
        tail.extend_from_slice(words.next().expect("a publish line has its sizes"));
        for word in words {
            tail.push(b' ');
            tail.extend_from_slice(word);
        }
        tail.extend_from_slice(b"\r\n");
        let sizes_bytes = tail.len();
        tail.extend_from_slice(&input[line.line_bytes..]);
        let message = Message {
            subject: line.subject,
            reply: line.reply,
            header: line.header,
            tail: &tail,
            sizes_bytes,
        };
        self.publish_message(slot, &message, line, input);
        self.scratch.tail = tail;
    }

    #[inline]
    fn publish_message(
        &mut self,
        slot: Slot,
        message: &Message<'_>,
        line: &PublishLine<'_>,
        input: &[u8],
    ) {
        if self.config.trace {
            self.trace_publish(slot, line, input);
        }
        if line.with_header && self.is_to_be_traced(slot, message) {
            return self.publish_traced(slot, message);
        }
        self.publish_onward(slot, message);
    }

    #[inline]
    pub(crate) fn publish_onward(&mut self, slot: Slot, message: &Message<'_>) {
        let connection = self.wires.get(slot);
        if connection.maps {
            return self.publish_mapped(slot, message);
        }
        if connection.rights.is_some() {
            return self.publish_by_right(slot, message);
        }
        let route = self.recall(slot, message.subject);
        self.publish_routed(slot, message, route);
    }

    /// A message of an account with mappings, whose subject may become another.
    #[cold]
    fn publish_mapped(&mut self, slot: Slot, message: &Message<'_>) {
        let account = self.wires.get(slot).account;
        let mut mapped = std::mem::take(&mut self.scratch.mapped);
        let changed = self.map_subject(account, message.subject, &mut mapped);
        if changed {
            self.note_stop(|| Stop::Mapped(mapped.clone()));
        }
        let subject = if changed { &mapped[..] } else { message.subject };
        let message = Message { subject, ..*message };
        if self.wires.get(slot).rights.is_some() {
            self.publish_by_right(slot, &message);
        } else {
            let route = self.spaces.at(account).route(subject);
            self.publish_routed(slot, &message, route);
        }
        self.scratch.mapped = mapped;
    }

    /// Puts into `out` what a subject is mapped to in an account. False if it stays as it is.
    pub(crate) fn map_subject(
        &mut self,
        account: AccountId,
        subject: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let directory = &self.config.accounts;
        let mappings = directory.accounts.get(account.index()).map(|account| &account.mappings);
        let mut mappings = mappings.into_iter().flatten();
        let Some(mapping) = mappings.find(|mapping| mapping.is_for(subject)) else { return false };
        mapping.apply(subject, &directory.cluster, &mut self.random, out);
        true
    }

    /// A message whose route is known goes its way.
    #[inline]
    pub(crate) fn publish_routed(&mut self, slot: Slot, message: &Message<'_>, route: Route) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.note_input(message.size(), self.now);
        let (options, account) = (connection.options, connection.account);
        if is_special(message) {
            if !self.may_publish(slot, message) {
                return;
            }
            if message.subject.starts_with(PREFIX) && message.subject.ends_with(MEASURED) {
                self.introduce(slot, route);
            }
        }
        if options.verbose {
            self.trace_out(slot, "OK", b"");
            self.wires.write(slot, b"+OK\r\n");
        }
        let origin = Some(Origin { slot, echo: options.echo });
        let delivered = if message.subject.first() == Some(&b'$') {
            self.deliver_spoken(account, route, message, origin, slot)
        } else {
            self.deliver(account, route, message, origin)
        };
        if !delivered && options.no_responders && !message.reply.is_empty() {
            self.answer_no_responders(slot, message);
        }
        self.end_counted();
    }

    /// Delivers to everyone, on this core, on others and in other accounts. True if anyone gets it.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        account: AccountId,
        route: Route,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let delivered = self.deliver_plain(account, route, message, origin);
        let far = route.indirect || !route.cores.is_empty();
        let relayed = far && self.deliver_far(account, route, message, origin);
        let apart = self.scratch.has_apart() && self.deliver_apart(account, message, origin);
        delivered || relayed || apart
    }

    /// The route of a subject; publishers mostly repeat theirs.
    #[inline]
    pub(crate) fn recall(&mut self, slot: Slot, subject: &[u8]) -> Route {
        let connection = self.wires.connections.get_mut(slot.0);
        let index = self.spaces.at(connection.account);
        if let Some(route) = connection.remembered.find(subject, index.version()) {
            return route;
        }
        let route = index.route(subject);
        connection.remembered.note(subject, index.version(), route);
        route
    }

    #[cold]
    fn may_publish(&mut self, slot: Slot, message: &Message<'_>) -> bool {
        let (subject, reply) = (message.subject, message.reply);
        if subject.starts_with(b"_GR_.") || subject.starts_with(b"$NRG.") {
            self.violate_publish(slot, subject);
            return false;
        }
        let reserved: [&[u8]; 3] = [b"_R_.", b"$JS.ACK.", b"_GR_."];
        if reserved.iter().any(|prefix| reply.starts_with(prefix)) {
            let reply = crate::trace::quoted(reply);
            let text = format!("Permissions Violation for Publish with Reply of {reply}");
            self.note_refusal(&text);
            self.wires.write_error(slot, &text);
            self.log_for(Level::Error, slot, &format!("Publish Violation - Reply {reply}"));
            return false;
        }
        true
    }

    /// Delivers to the plain subscriptions of this core. True if anyone got it.
    #[inline]
    pub(crate) fn deliver_plain(
        &mut self,
        account: AccountId,
        route: Route,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        if self.scratch.traced.is_some() {
            return self.deliver_plain_traced(account, route, message, origin);
        }
        let trace = self.config.trace;
        let (lists, subscriptions) = self.spaces.split(account);
        let mut delivered = false;
        let mut deliver = |id: SubId| {
            let subscription = subscriptions.get(id);
            let (slot, sid) = (subscription.connection(), subscription.sid);
            if subscription.is_special() {
                self.scratch.apart.push(id);
                return;
            }
            let connection = self.wires.get(slot);
            if !connection.is_open()
                || !Origin::reaches(origin, slot)
                || !connection.admits(message.subject, b"")
            {
                return;
            }
            let (may, ends) = subscriptions.count_delivery(id);
            if ends {
                self.scratch.ended.push((slot, id));
            }
            if !may || self.wires.must_drop(connection) {
                return;
            }
            delivered |= self.wires.deliver(slot, message, sid, &subscriptions.sids);
        };
        for id in lists.literal(route) {
            deliver(id);
        }
        for leaf in lists.leaves(route) {
            for id in leaf.plain() {
                deliver(*id);
            }
        }
        if trace && delivered {
            self.trace_deliveries(account, route, message, origin);
        }
        delivered
    }

    /// Queue groups and other cores. True if anyone gets it.
    pub(crate) fn deliver_far(
        &mut self,
        account: AccountId,
        route: Route,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let mut picks = Picks::new();
        let mut delivered = !route.cores.is_empty();
        let (lists, subscriptions) = self.spaces.split(account);
        let mut leaves = lists.leaves(route);
        let earlier = lists.leaves(route);
        let mut passed = 0;
        let imported = self.scratch.imported;
        while let Some(leaf) = leaves.next() {
            self.scratch.bound.extend_from_slice(leaf.bindings());
            for group in lists.groups(leaf) {
                let name = group.name();
                let mut before = earlier.clone().take(passed);
                if before.any(|leaf| lists.group(leaf, name).is_some()) {
                    continue;
                }
                let mut groups = Choice::of(lists, leaves.clone(), name).groups;
                groups.push(group);
                let mut choice = Choice::from(groups);
                let picked = choice.pick(&mut self.random, |id| {
                    let slot = subscriptions.get(id).connection();
                    let connection = self.wires.get(slot);
                    connection.is_open()
                        && !(imported && subscriptions.get(id).is_special())
                        && Origin::reaches(origin, slot)
                        && connection.admits(message.subject, name)
                        && !self.wires.must_drop(connection)
                });
                match picked {
                    Some(Member::Local(id)) => {
                        delivered = true;
                        self.scratch.deliver(&mut self.wires, subscriptions, id, message);
                    }
                    Some(Member::Remote(core)) => {
                        delivered = true;
                        picks.push((core, name));
                    }
                    None => {}
                }
            }
            passed += 1;
        }
        let mut cores = route.cores;
        for (core, _) in &picks {
            cores.insert(*core);
        }
        let silent = origin.filter(|origin| !origin.echo);
        let silent = silent.map(|origin| self.wires.get(origin.slot).id);
        for core in cores.iter() {
            let plain = route.cores.contains(core);
            let names = picks.iter().filter(|(picked, _)| *picked == core).map(|(_, name)| *name);
            let part = self.scratch.next_part(&mut self.trace_numbers);
            let target = &self.scratch.target[..];
            self.outboxes.append(core, |out| {
                let way = Way { account, target, plain, imported, hops: 0, silent };
                frame::put_traced(out, part, |out| frame::put_message(out, &way, message, names));
            });
        }
        drop((leaves, earlier, picks));
        if self.scratch.traced.is_some() {
            self.note_picked(message.subject);
        }
        delivered
    }

    /// Delivers to one member of this core of each named queue group. A group that has none left
    /// is handed on to a core that has.
    pub(crate) fn deliver_named(&mut self, route: Route, relayed: &Relayed<'_>) {
        let Relayed { message, way, .. } = relayed;
        let Way { account, imported, hops, silent, .. } = *way;
        for name in relayed.queues() {
            let (lists, subscriptions) = self.spaces.split(account);
            let mut choice = Choice::of(lists, lists.leaves(route), name);
            let can_take = |id| {
                let connection = self.wires.get(subscriptions.get(id).connection());
                connection.is_open()
                    && Some(connection.id) != silent
                    && !(imported && subscriptions.get(id).is_special())
                    && connection.admits(message.subject, name)
                    && !self.wires.must_drop(connection)
            };
            match choice.pick_local(&mut self.random, can_take) {
                Some(id) => {
                    self.scratch.deliver(&mut self.wires, subscriptions, id, message);
                }
                None if hops < base::limits::QUEUE_HOPS_MAX => {
                    if let Some(core) = choice.pick_remote(&mut self.random) {
                        let names = std::iter::once(name);
                        let part = self.scratch.next_part(&mut self.trace_numbers);
                        self.outboxes.append(core, |out| {
                            let way = Way { plain: false, hops: hops + 1, ..*way };
                            frame::put_traced(out, part, |out| {
                                frame::put_message(out, &way, message, names);
                            });
                        });
                    }
                }
                None => {}
            }
        }
        if self.scratch.traced.is_some() {
            self.note_picked(message.subject);
        }
        self.end_counted();
    }

    /// Ends the subscriptions whose last delivery this was.
    #[inline]
    pub(crate) fn end_counted(&mut self) {
        while let Some((slot, id)) = self.scratch.ended.pop() {
            self.remove(slot, id);
        }
    }

    /// Answers a request that nobody can serve (spec 1.5).
    #[cold]
    fn answer_no_responders(&mut self, slot: Slot, message: &Message<'_>) {
        let account = self.wires.get(slot).account;
        let route = self.spaces.at(account).route(message.reply);
        let (lists, subscriptions) = self.spaces.split(account);
        let plain = lists.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
        let own = lists
            .literal(route)
            .chain(plain)
            .find(|id| subscriptions.get(*id).connection() == slot);
        let Some(id) = own else { return };
        let sid = subscriptions.get(id).sid;
        let mut text = b"HMSG ".to_vec();
        text.extend_from_slice(message.reply);
        text.push(b' ');
        subscriptions.sids.with(sid, |sid| text.extend_from_slice(sid));
        let block = [b"NATS/1.0 503\r\nNats-Subject: ", message.subject, b"\r\n\r\n"].concat();
        text.extend_from_slice(format!(" {0} {0}\r\n", block.len()).as_bytes());
        text.extend_from_slice(&block);
        text.extend_from_slice(b"\r\n");
        self.wires.write(slot, &text);
    }

    #[cold]
    fn trace_deliveries(
        &mut self,
        account: AccountId,
        route: Route,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) {
        let (lists, subscriptions) = self.spaces.split(account);
        let plain = lists.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
        let targets: Vec<(Slot, Vec<u8>)> = lists
            .literal(route)
            .chain(plain)
            .map(|id| {
                let subscription = subscriptions.get(id);
                let sid = subscriptions.sids.with(subscription.sid, <[u8]>::to_vec);
                (subscription.connection(), sid)
            })
            .filter(|(slot, _)| Origin::reaches(origin, *slot) && *slot != SERVICES)
            .filter(|(slot, _)| self.wires.get(*slot).admits(message.subject, b""))
            .collect();
        for (slot, sid) in targets {
            self.trace_delivery(slot, message, &sid);
        }
    }
}

/// Could the subject or the reply be one that clients must not use?
#[inline]
fn is_special(message: &Message<'_>) -> bool {
    let special = |text: &[u8]| matches!(text.first(), Some(b'_' | b'$'));
    special(message.subject) || special(message.reply)
}

/// The members of one queue group over all patterns that match.
struct Choice<'a> {
    groups: SmallVec<[&'a QueueGroup; 2]>,
    local: u64,
    remote: u64,
}

enum Member {
    Local(SubId),
    Remote(CoreId),
}

impl<'a> Choice<'a> {
    /// The group of a name on each of these patterns.
    fn of(lists: &'a Lists, leaves: impl Iterator<Item = &'a Leaf>, name: &[u8]) -> Self {
        Self::from(leaves.filter_map(|leaf| lists.group(leaf, name)).collect())
    }

    fn from(groups: SmallVec<[&'a QueueGroup; 2]>) -> Self {
        let local = groups.iter().map(|group| group.members().len() as u64).sum();
        let remote = groups.iter().flat_map(|group| group.remote());
        let remote = remote.map(|(_, weight)| u64::from(*weight)).sum();
        Self { groups, local, remote }
    }

    /// Any member with equal chance; if that is one of this core which cannot take it, the next of
    /// this core that can, or else a core that has members.
    fn pick(
        &mut self,
        random: &mut base::Random,
        can_take: impl Fn(SubId) -> bool,
    ) -> Option<Member> {
        let total = self.local + self.remote;
        if total == 0 {
            return None;
        }
        let drawn = random.below(total);
        if drawn >= self.local {
            return self.remote_at(drawn - self.local).map(Member::Remote);
        }
        self.local_from(drawn, can_take)
            .map(Member::Local)
            .or_else(|| self.pick_remote(random).map(Member::Remote))
    }

    fn pick_local(
        &mut self,
        random: &mut base::Random,
        can_take: impl Fn(SubId) -> bool,
    ) -> Option<SubId> {
        if self.local == 0 {
            return None;
        }
        let drawn = random.below(self.local);
        self.local_from(drawn, can_take)
    }

    fn pick_remote(&mut self, random: &mut base::Random) -> Option<CoreId> {
        if self.remote == 0 {
            return None;
        }
        let drawn = random.below(self.remote);
        self.remote_at(drawn)
    }

    fn local_from(&self, start: u64, can_take: impl Fn(SubId) -> bool) -> Option<SubId> {
        let members = || self.groups.iter().flat_map(|group| group.members().iter().copied());
        let start = start as usize;
        let mut from_start = members().skip(start).chain(members().take(start));
        from_start.find(|id| can_take(*id))
    }

    fn remote_at(&self, mut drawn: u64) -> Option<CoreId> {
        for (core, weight) in self.groups.iter().flat_map(|group| group.remote()) {
            let weight = u64::from(*weight);
            if drawn < weight {
                return Some(*core);
            }
            drawn -= weight;
        }
        None
    }
}
