//! Input of a connection: bytes to operations.

use base::Slot;
use base::limits::POOLED_BUFFER_BYTES_MIN;
use session::Reason;
use session::handshake;
use wire::{Fault, Operation, PublishLine, Step, step};

use crate::effects::Level;
use crate::services::SERVICES;
use crate::shard::{
    PAUSED_BY_BARRIER, PAUSED_BY_LANES, PAUSED_BY_PROOF, PAUSED_BY_SEAT, PAUSED_BY_STALL, Shard,
};

/// Room in front of what is kept: the line of a MSG is longer than that of its PUB by a name and a
/// blank.
const HEADROOM: usize = 32;
const _: () = assert!(subjects::Sid::SHORT_BYTES_MAX < HEADROOM);

/// What is left of some input after its whole operations.
enum Rest {
    /// Everything was dealt with.
    Nothing,
    /// The first so many bytes of an operation that goes on; it takes `needs` bytes in all, or an
    /// unknown number if that is zero.
    Partial { keep: usize, needs: usize },
    /// Output has to be written, or frames moved, before more is read.
    Held,
}

impl Shard {
    /// Bytes came from a connection. Returns how many were taken. If fewer than there are, the
    /// caller moves the outboxes, writes what [`Shard::take_pressed`] names if
    /// [`Shard::is_pressed`], and hands the others in again, unless [`Shard::is_paused`]: then
    /// later, when it is no more.
    pub fn receive(&mut self, slot: Slot, input: &[u8]) -> usize {
        let appended = self.outboxes.appended_total();
        let spoken = self.wires.get(SERVICES).outbound.pending();
        // What came over the lanes before may have met a slow subscriber: not this one's doing.
        self.wires.stalled = false;
        let mut taken = 0;
        if !self.wires.get(slot).carry.is_empty() {
            taken = self.complete_carry(slot, input);
        }
        let carries = !self.wires.get(slot).carry.is_empty();
        if taken < input.len() && !self.wires.pressed && !carries {
            let (used, rest) = self.consume(slot, &input[taken..]);
            taken += used;
            if let Rest::Partial { keep, needs } = rest {
                let kept = &input[taken..taken + keep];
                self.keep(slot, kept, needs);
                taken = input.len();
            }
        }
        self.settle();
        self.slow_down(slot, appended, spoken);
        taken
    }

    /// Completes the operation that earlier input began. Returns the bytes of `input` used.
    fn complete_carry(&mut self, slot: Slot, input: &[u8]) -> usize {
        let connection = self.wires.get_mut(slot);
        let mut carry = std::mem::take(&mut connection.carry);
        let mut needs = std::mem::take(&mut connection.carry_needs);
        let mut used = 0;
        while used < input.len() {
            let more = &input[used..];
            let count = if needs > 0 {
                (needs + HEADROOM - carry.len()).min(more.len())
            } else {
                more.iter().position(|byte| *byte == b'\n').map_or(more.len(), |feed| feed + 1)
            };
            carry.extend_from_slice(&more[..count]);
            used += count;
            self.wires.offer(&carry);
            match self.consume(slot, &carry[HEADROOM..]) {
                (0, Rest::Held) => {
                    // The operation waits: its last bytes are left for the next time.
                    self.wires.withdraw_offer();
                    carry.truncate(carry.len() - count);
                    used -= count;
                    break;
                }
                (_, Rest::Nothing | Rest::Held) => {
                    self.wires.conclude_offer(carry);
                    return used;
                }
                (done, Rest::Partial { keep, needs: unmet }) => {
                    assert_eq!(done, 0, "a carry holds at most one operation");
                    self.wires.withdraw_offer();
                    carry.truncate(HEADROOM + keep);
                    needs = unmet;
                }
            }
        }
        let connection = self.wires.get_mut(slot);
        connection.carry = carry;
        connection.carry_needs = needs;
        used
    }

    fn keep(&mut self, slot: Slot, bytes: &[u8], needs: usize) {
        // A control line gets what it takes and no more, so that slow clients cannot collect the
        // pool's large buffers.
        let mut carry = Vec::new();
        if bytes.len() > POOLED_BUFFER_BYTES_MIN {
            carry = self.wires.pool.lend();
            carry.clear();
        }
        // What is announced is not trusted with memory before it comes: room grows with the bytes.
        carry.resize(HEADROOM, 0);
        carry.extend_from_slice(bytes);
        let connection = self.wires.get_mut(slot);
        connection.carry = carry;
        connection.carry_needs = needs;
    }

    /// Deals with the whole operations at the start of `input`. Returns their bytes, and what
    /// follows.
    fn consume(&mut self, slot: Slot, input: &[u8]) -> (usize, Rest) {
        let limit = self.config.max_control_line;
        let mut at = 0;
        if self.awaits_entry(slot) {
            return (0, Rest::Held);
        }
        loop {
            let rest = &input[at..];
            let connection = self.wires.get(slot);
            if !connection.is_open() {
                return (input.len(), Rest::Nothing);
            }
            if connection.awaits_connect
                && rest.first().is_some_and(|byte| !byte.eq_ignore_ascii_case(&b'c'))
            {
                self.admit_unasked(slot);
                if self.awaits_entry(slot) {
                    return (at, Rest::Held);
                }
                continue;
            }
            match step(rest, limit) {
                Step::Publish(line) => {
                    let whole = line.line_bytes + line.size + 2;
                    if !self.is_publishable(slot, &line, rest) {
                        return (input.len(), Rest::Nothing);
                    }
                    if rest.len() < whole {
                        self.wires.get_mut(slot).announced = true;
                        return (at, Rest::Partial { keep: rest.len(), needs: whole });
                    }
                    self.publish(slot, &line, &rest[..whole]);
                    at += whole;
                    at += self.ride(slot, &input[at..]);
                    if !self.wires.pressed && at < input.len() {
                        at += self.publish_batches(slot, &input[at..]);
                    }
                }
                Step::Operation(Operation::Ping, _) if !self.passes_barrier(slot) => {
                    return (at, Rest::Held);
                }
                Step::Operation(operation, bytes) => {
                    self.operate(slot, &operation);
                    at += bytes;
                    if self.awaits_entry(slot) {
                        return (at, Rest::Held);
                    }
                }
                Step::Incomplete { keep: 0 } => return (at, Rest::Nothing),
                Step::Incomplete { keep } => return (at, Rest::Partial { keep, needs: 0 }),
                Step::Fault(fault) => {
                    self.on_fault(slot, fault, rest);
                    return (input.len(), Rest::Nothing);
                }
            }
            if self.wires.pressed {
                return (at, Rest::Held);
            }
        }
    }

    /// Is it still to be proven who this is, or whether there is room? What follows waits for that.
    fn awaits_entry(&self, slot: Slot) -> bool {
        self.wires.get(slot).pauses & (PAUSED_BY_PROOF | PAUSED_BY_SEAT) != 0
    }

    /// Checks a publish as soon as its line is there, and as far as its payload is.
    #[inline]
    fn is_publishable(&mut self, slot: Slot, line: &PublishLine<'_>, rest: &[u8]) -> bool {
        let connection = self.wires.get_mut(slot);
        let announced = std::mem::take(&mut connection.announced);
        if line.size > connection.max_payload
            || (line.with_header && !connection.options.headers)
            || (connection.options.pedantic && !announced)
        {
            let allowed = self.check_publish(slot, line, announced);
            if !allowed {
                return false;
            }
        }
        let end = line.line_bytes + line.size;
        let terminated = match rest.get(end..) {
            Some([b'\r', b'\n', ..] | [b'\r'] | []) | None => true,
            Some(_) => false,
        };
        if !terminated {
            let at = end + usize::from(rest[end] == b'\r');
            self.on_fault(slot, Fault::UnknownOperation { at }, rest);
        }
        terminated
    }

    #[cold]
    fn check_publish(&mut self, slot: Slot, line: &PublishLine<'_>, announced: bool) -> bool {
        let options = self.wires.get(slot).options;
        if line.with_header && !options.headers {
            self.log_for(Level::Error, slot, "message headers not supported");
            self.wires.end(slot, Reason::ProtocolViolation);
            return false;
        }
        let limit = self.wires.get(slot).max_payload;
        if line.size > limit {
            let text = format!("maximum payload exceeded: {} vs {limit}", line.size);
            self.log_for(Level::Error, slot, &text);
            self.wires.write_error(slot, "Maximum Payload Violation");
            self.wires.end(slot, Reason::MaxPayloadExceeded);
            return false;
        }
        if options.pedantic && !announced && !subjects::grammar::is_literal(line.subject) {
            self.wires.write_error(slot, "Invalid Publish Subject");
        }
        true
    }

    fn operate(&mut self, slot: Slot, operation: &Operation<'_>) {
        self.trace_operation(slot, operation);
        match *operation {
            Operation::Connect(json) => self.connect(slot, json),
            Operation::Subscribe { subject, queue, sid } => {
                self.subscribe(slot, subject, queue, sid);
            }
            Operation::Unsubscribe { sid, max, .. } => self.unsubscribe(slot, sid, max),
            Operation::Ping => self.ping(slot),
            Operation::Pong => {
                let now = self.now;
                self.wires.get_mut(slot).liveness.on_pong(now);
            }
            Operation::Info(json) if !handshake::is_info(json) => {
                self.wires.end(slot, Reason::ProtocolViolation);
            }
            Operation::Info(_) | Operation::Ok => {}
            Operation::Err(text) => {
                let text = format!("Client Error {}", String::from_utf8_lossy(text));
                self.log_for(Level::Error, slot, &text);
                self.wires.end(slot, Reason::ParseError);
            }
        }
    }

    /// Have the lanes taken everything that came before the PING at the front of the input? If they
    /// have not when this is asked again, which is after the caller moved the outboxes, they are
    /// full, and reading pauses.
    fn passes_barrier(&mut self, slot: Slot) -> bool {
        if self.outboxes.are_empty() {
            self.wires.get_mut(slot).barrier = None;
            return true;
        }
        let connection = self.wires.connections.get_mut(slot.0);
        let Some(positions) = &connection.barrier else {
            connection.barrier = Some(self.outboxes.positions());
            return false;
        };
        if self.outboxes.have_moved(positions) {
            connection.barrier = None;
            return true;
        }
        let id = connection.id;
        self.pause(slot, PAUSED_BY_BARRIER);
        self.at_barrier.push((slot, id));
        false
    }

    /// Answers a PING; the first of a connection also with the INFO that says what CONNECT led to.
    fn ping(&mut self, slot: Slot) {
        let now = self.now;
        self.wires.get_mut(slot).liveness.last_input = now;
        self.trace_out(slot, "PONG", b"");
        self.wires.write(slot, b"PONG\r\n");
        let connection = self.wires.get_mut(slot);
        if !connection.connected || connection.greeted {
            return;
        }
        connection.greeted = true;
        if connection.options.protocol >= 1 {
            self.send_info(slot);
        }
    }

    pub(crate) fn send_info(&mut self, slot: Slot) {
        let connection = self.wires.get(slot);
        if connection.greeted && connection.options.protocol >= 1 {
            let line = self.info.answer(connection, &self.config);
            self.wires.write(slot, line.as_bytes());
        }
    }

    fn on_fault(&mut self, slot: Slot, fault: Fault, rest: &[u8]) {
        match fault {
            Fault::UnknownOperation { at } => {
                let shown = &rest[at.min(rest.len())..rest.len().min(at + 32)];
                let shown = crate::trace::quoted(shown);
                let text = format!("Client parser ERROR, i={at}: proto='{shown}...'");
                self.log_for(Level::Error, slot, &text);
                self.wires.write_error(slot, "Unknown Protocol Operation");
                self.wires.end(slot, Reason::ProtocolViolation);
            }
            Fault::ControlLine => {
                let limit = self.config.max_control_line;
                let text = format!("maximum control line exceeded: max_control_line {limit}");
                self.log_for(Level::Error, slot, &text);
                self.wires.write_error(slot, "maximum control line exceeded");
                self.wires.end(slot, Reason::MaxControlLineExceeded);
            }
            Fault::Arguments => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                let shown = crate::trace::quoted(rest[..end.min(64)].trim_ascii_end());
                self.log_for(Level::Error, slot, &format!("Parse Error: {shown}"));
                self.wires.end(slot, Reason::ProtocolViolation);
            }
        }
    }

    /// Pauses a connection that produces faster than others take: until the lanes and the disk have
    /// room, or a moment for the sake of a slow subscriber.
    fn slow_down(&mut self, slot: Slot, appended_before: u64, spoken_before: usize) {
        let stalled = std::mem::take(&mut self.wires.stalled);
        if !self.wires.get(slot).is_open() {
            return;
        }
        if stalled {
            let until = self.now.after(base::limits::STALL_PAUSE_MAX);
            let connection = self.wires.get_mut(slot);
            connection.liveness.stall_due = until;
            connection.statistics.stalls += 1;
            self.pause(slot, PAUSED_BY_STALL);
            self.arm(slot);
        }
        let appends = self.outboxes.appended_total() > appended_before;
        let speaks = self.wires.get(SERVICES).outbound.pending() > spoken_before;
        if appends && self.outboxes.are_high() || speaks && self.outboxes.is_own_pressed() {
            let id = self.wires.get(slot).id;
            self.pause(slot, PAUSED_BY_LANES);
            self.lane_paused.push((slot, id));
        }
    }
}
