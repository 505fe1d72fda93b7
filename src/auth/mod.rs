//! What must not run on a core: bcrypt, signatures and seals.
//!
//! A few threads share the proofs that the cores ask for, and what passes between the server and
//! those who decide who comes in. Whoever offers wrong passwords keeps
//! these threads busy and nobody else; a core only hands a claim over and takes an answer.

mod callout;

use std::collections::HashMap;
use std::sync::mpsc;

use accounts::{Statement, StatementFault, Token};
use nkeys::KeyPair;
use sha2::{Digest as _, Sha256};
use shard::{
    Claim, Composed, Dispatch, Errand, NonceKey, Outcome, Password, Proof, Shard, Signature,
};

pub(crate) use callout::Keys;
use callout::Scribe;

use crate::reactor::Command;
use crate::reactor::lanes::Waker;

/// Threads that prove, for each core of the broker: half as many, since a core in doubt has better
/// things to do, but no more than four, which is some two hundred bcrypt hashes a second of the
/// usual cost and ten thousand signatures.
const fn threads_for(cores: usize) -> usize {
    let half = cores.div_ceil(2);
    if half > 4 { 4 } else { half }
}

/// What nonces are made from.
pub(crate) fn nonce_key() -> NonceKey {
    NonceKey(Sha256::digest(random_text()).into())
}

/// Text that nobody can guess: a fresh seed is as good a source as any, and at hand.
fn random_text() -> String {
    KeyPair::new_user().seed().expect("a fresh key has a seed")
}

/// What is to be done.
enum Task {
    Prove(Claim),
    Dispatch(Dispatch),
}

/// What is to be done, and where the answer goes.
struct Job {
    task: Task,
    commands: mpsc::Sender<Command>,
    waker: Waker,
}

/// What became of a task.
#[derive(Debug)]
pub(crate) enum Answered {
    Proven(Claim, Outcome),
    /// Nothing if there is no sealing for the key that is configured.
    Composed(Errand, Option<Composed>),
    Unsealed(Errand, Option<Vec<u8>>),
}

impl Answered {
    /// Tells the shard whose task it was.
    pub(crate) fn hand_in(self, shard: &mut Shard) {
        match self {
            Self::Proven(claim, outcome) => {
                shard.proven(claim.slot, claim.id, claim.number, outcome);
            }
            Self::Composed(errand, Some(composed)) => shard.composed(errand, composed),
            Self::Composed(errand, None) => shard.unsealed(errand, None),
            Self::Unsealed(errand, answer) => shard.unsealed(errand, answer.as_deref()),
        }
    }
}

/// The way of one core to those who prove.
pub(crate) struct Provers {
    jobs: Vec<mpsc::Sender<Job>>,
    next: usize,
    commands: mpsc::Sender<Command>,
    waker: Waker,
}

impl Provers {
    /// Hands claims over; each is answered by a [`Command::Proven`].
    pub(crate) fn prove(&mut self, claims: impl Iterator<Item = Claim>) {
        claims.for_each(|claim| self.hand_over(Task::Prove(claim)));
    }

    /// The same for what passes between the server and those who decide who comes in.
    pub(crate) fn dispatch(&mut self, dispatches: impl Iterator<Item = Dispatch>) {
        dispatches.for_each(|dispatch| self.hand_over(Task::Dispatch(dispatch)));
    }

    fn hand_over(&mut self, task: Task) {
        let (commands, waker) = (self.commands.clone(), self.waker.clone());
        self.next = (self.next + 1) % self.jobs.len();
        let sent = self.jobs[self.next].send(Job { task, commands, waker });
        assert!(sent.is_ok(), "who proves lives as long as the process");
    }
}

/// The threads that prove.
pub(crate) struct Pool {
    jobs: Vec<mpsc::Sender<Job>>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the machine has no thread left.
    pub(crate) fn start(cores: usize, keys: &Keys) -> Result<Self, String> {
        let start = |number: usize| {
            let (jobs, inbox) = mpsc::channel::<Job>();
            let keys = keys.clone();
            std::thread::Builder::new()
                .name(format!("auth-{number}"))
                .spawn(move || work(&inbox, &keys))
                .map_err(|error| format!("cannot start a thread for passwords: {error}"))?;
            Ok(jobs)
        };
        let jobs = (0..threads_for(cores)).map(start).collect::<Result<_, String>>()?;
        Ok(Self { jobs })
    }

    /// The way of one core to it, and back by its commands.
    pub(crate) fn way(&self, commands: mpsc::Sender<Command>, waker: Waker) -> Provers {
        Provers { jobs: self.jobs.clone(), next: 0, commands, waker }
    }
}

fn work(jobs: &mpsc::Receiver<Job>, keys: &Keys) {
    let (mut prover, scribe) = (Prover::default(), Scribe::new(keys));
    while let Ok(Job { task, commands, waker }) = jobs.recv() {
        let answered = match task {
            Task::Prove(claim) => {
                let outcome = prover.look_at(&claim.proof);
                Answered::Proven(claim, outcome)
            }
            Task::Dispatch(Dispatch::Compose(errand, inquiry)) => {
                Answered::Composed(errand, scribe.compose(&inquiry))
            }
            Task::Dispatch(Dispatch::Unseal(errand, sealed, by)) => {
                Answered::Unsealed(errand, scribe.unseal(&sealed, &by))
            }
        };
        // A core that has ended needs no answer.
        if commands.send(Command::Proven(Box::new(answered))).is_ok() {
            waker.ring();
        }
    }
}

/// Looks at proofs. It remembers the password that was right for a hash, by a digest under a key of
/// its own, so that a thousand clients of one user who come back together cost one hash.
pub struct Prover {
    right: HashMap<String, [u8; 32]>,
    key: String,
}

impl Default for Prover {
    fn default() -> Self {
        Self { right: HashMap::new(), key: random_text() }
    }
}

/// Hashes whose password is remembered. Only what is configured has one; past reloads may leave
/// some behind.
const REMEMBERED_MAX: usize = 4096;

impl Prover {
    /// What a proof comes to.
    pub fn look_at(&mut self, proof: &Proof) -> Outcome {
        let mut proxy = None;
        if let Some(signature) = &proof.proxy {
            proxy = signer(signature);
            if proxy.is_none() {
                return Outcome::UntrustedProxy;
            }
        }
        let signed = proof.signatures.iter().all(|signature| signer(signature).is_some());
        if !signed || proof.password.as_ref().is_some_and(|password| !self.is_right(password)) {
            return Outcome::Wrong;
        }
        Outcome::Right(proxy)
    }

    fn is_right(&mut self, password: &Password) -> bool {
        let digest = self.digest(&password.offered);
        if self.right.get(&password.hash) == Some(&digest) {
            return true;
        }
        let right = bcrypt::verify(&password.offered, &password.hash).unwrap_or(false);
        if right {
            if self.right.len() >= REMEMBERED_MAX {
                self.right.clear();
            }
            self.right.insert(password.hash.clone(), digest);
        }
        right
    }

    fn digest(&self, offered: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(&self.key);
        hash.update(offered);
        hash.finalize().into()
    }
}

/// An account's token, with only those activation tokens within that are signed as they say.
pub(crate) fn read_statement(text: &str) -> Result<Statement, StatementFault> {
    let mut statement = Statement::read(text)?;
    if signer(statement.signature()).is_none() {
        return Err(StatementFault::Signature);
    }
    let unsigned: Vec<usize> = statement
        .activation_signatures()
        .filter(|(_, signature)| signer(signature).is_none())
        .map(|(place, _)| place)
        .collect();
    for place in unsigned {
        statement.void_activation(place);
    }
    Ok(statement)
}

/// A token that is about nothing in particular, and signed as it says.
pub(crate) fn read_generic(text: &str) -> Option<Token> {
    Token::read_generic(text).filter(|token| signer(&token.signature).is_some())
}

/// Is it the public key of an account?
pub(crate) fn is_account_key(text: &str) -> bool {
    text.starts_with('A') && KeyPair::from_public_key(text).is_ok()
}

/// The public key whose signature it is.
fn signer(signature: &Signature) -> Option<String> {
    let is_right = |key: &&String| {
        KeyPair::from_public_key(key)
            .and_then(|key| key.verify(&signature.text, &signature.bytes))
            .is_ok()
    };
    signature.keys.iter().find(is_right).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`, at the lowest cost.
    const HASH: &str = "$2a$04$hhiJfv3l5P8xwNJaYdVfJ.KRza2OkNjkeZr1hoUkdnRL/cOOh.r8S";

    fn password(hash: &str, offered: &str) -> Proof {
        let password = Password { hash: hash.into(), offered: offered.into() };
        Proof { password: Some(password), ..Proof::default() }
    }

    #[test]
    fn passwords() {
        let mut prover = Prover::default();
        let other = HASH.replace("$2a$", "$2b$");
        let yet_another = HASH.replace("$2a$", "$2y$");
        for _ in 0..2 {
            for hash in [HASH, &other, &yet_another] {
                assert_eq!(prover.look_at(&password(hash, "secret")), Outcome::Right(None));
                for wrong in ["", "Secret", "secret ", HASH] {
                    assert_eq!(prover.look_at(&password(hash, wrong)), Outcome::Wrong, "{wrong}");
                }
            }
        }
        assert_eq!(prover.look_at(&password("$2a$99$x", "secret")), Outcome::Wrong);
        assert_eq!(prover.look_at(&password("$2a$04$", "secret")), Outcome::Wrong);
    }

    fn signature(keys: &[&KeyPair], by: &KeyPair, text: &[u8]) -> Signature {
        let bytes = by.sign(text).expect("it has a seed");
        let keys = keys.iter().map(|key| key.public_key()).collect();
        Signature { keys, text: text.to_vec(), bytes }
    }

    #[test]
    fn signatures() {
        let (one, other) = (KeyPair::new_user(), KeyPair::new_user());
        let mut prover = Prover::default();
        let right = signature(&[&one], &one, b"nonce");
        let mut look = |signatures: Vec<Signature>, proxy: Option<Signature>| {
            prover.look_at(&Proof { signatures, proxy, password: None })
        };
        assert_eq!(look(vec![right.clone()], None), Outcome::Right(None));
        let wrong = signature(&[&other], &one, b"nonce");
        assert_eq!(look(vec![right.clone(), wrong.clone()], None), Outcome::Wrong);
        let short = Signature { bytes: vec![1, 2, 3], ..right.clone() };
        assert_eq!(look(vec![short], None), Outcome::Wrong);
        let nobody = Signature { keys: vec!["U".into()], ..right.clone() };
        assert_eq!(look(vec![nobody], None), Outcome::Wrong);
        let proxy = signature(&[&other, &one], &one, b"nonce");
        let named = Outcome::Right(Some(one.public_key()));
        assert_eq!(look(vec![right.clone()], Some(proxy)), named);
        assert_eq!(look(vec![right], Some(wrong)), Outcome::UntrustedProxy);
    }
}
