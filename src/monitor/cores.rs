//! Asking the cores, and telling them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::mpsc;

use base::{AccountId, CoreId, ServiceId};
use shard::{Answer, Question, Ticket};
use tokio::sync::oneshot;

use crate::reactor::lanes::Waker;
use crate::reactor::meter::Meter;
use crate::reactor::{Command, Speech};

/// How to reach a core.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) waker: Waker,
}

impl Reach {
    /// Tells the core something. False if it has ended.
    pub(crate) fn tell(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.waker.ring();
        sent
    }
}

/// All cores, and the questions that they have not answered yet.
pub(super) struct Cores {
    all: Vec<Reach>,
    asked: RefCell<HashMap<Ticket, oneshot::Sender<Answer>>>,
    last: Cell<u64>,
}

impl Cores {
    pub(super) fn new(all: Vec<Reach>) -> Self {
        Self { all, asked: RefCell::default(), last: Cell::new(0) }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Asks one core. Nothing if it has ended.
    pub(super) async fn ask(&self, core: usize, question: Question) -> Option<Answer> {
        self.put(core, question).await.ok()
    }

    /// Asks every core, and returns what those say that have not ended, each with its number.
    pub(super) async fn ask_all(
        &self,
        mut question: impl FnMut(usize) -> Question,
    ) -> Vec<(usize, Answer)> {
        let asked: Vec<_> = (0..self.count()).map(|core| self.put(core, question(core))).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (core, answer) in asked.into_iter().enumerate() {
            if let Ok(answer) = answer.await {
                answers.push((core, answer));
            }
        }
        answers
    }

    fn put(&self, core: usize, question: Question) -> oneshot::Receiver<Answer> {
        let ticket = Ticket(self.last.get() + 1);
        self.last.set(ticket.0);
        let (sender, receiver) = oneshot::channel();
        let mut asked = self.asked.borrow_mut();
        asked.retain(|_, waiting| !waiting.is_closed());
        if self.all[core].tell(Command::Ask(ticket, question)) {
            asked.insert(ticket, sender);
        }
        receiver
    }

    /// A core answered.
    pub(super) fn hear(&self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.asked.borrow_mut().remove(&ticket) {
            // Whoever asked may have lost interest.
            let _ = waiting.send(answer);
        }
    }

    /// Subscribes a service on a core.
    pub(super) fn listen(
        &self,
        core: usize,
        account: AccountId,
        pattern: &str,
        service: ServiceId,
    ) {
        let pattern = pattern.as_bytes().to_vec();
        self.all[core].tell(Command::Listen { account, pattern, queue: Vec::new(), service });
    }

    /// Publishes on a core.
    pub(super) fn speak(&self, core: CoreId, speech: Speech) {
        self.all[core.index()].tell(Command::Speak(Box::new(speech)));
    }

    /// Returns once what the cores were told before has come to all of them.
    pub(super) async fn pass_on(&self) {
        // A core answers at the end of a turn, and by then it has moved what it had for others. The
        // first question finds that in the lanes, the second what others made of it.
        for _ in 0..2 {
            self.ask_all(|_| Question::Describe(Vec::new())).await;
        }
    }

    /// What the turns of a core came to. Nothing if it has ended.
    pub(super) async fn measure(&self, core: usize) -> Option<Meter> {
        let (told, heard) = oneshot::channel();
        self.all[core].tell(Command::Measure(told));
        heard.await.ok()
    }
}
