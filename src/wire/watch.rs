//! What the watch below hyper and the gateway above it tell each other about one HTTP/1.1 connection. hyper stands
//! between them and passes neither the raw bytes up nor the fate of an upgrade down.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// What is wrong with a head or body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the request line or a field line is malformed")]
    Malformed,
    #[error("the message framing is ambiguous or broken")]
    Framing,
    #[error("Host is missing, repeated or empty")]
    Host,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the header fields are too large or too many")]
    HeaderTooLarge,
    #[error("the head took too long")]
    HeadTimeout,
    #[error("the body fell silent")]
    BodyTimeout,
}

/// What the gateway and the guard tell each other about one connection.
#[derive(Debug, Default)]
pub struct Watch {
    heads: AtomicU64,
    answered: AtomicU64,
    /// The number of the synthetic head; 0 = none.
    violated_at: AtomicU64,
    violation: AtomicU8,
    body_violation: AtomicU8,
    upgrade: AtomicU8,
    /// Nothing more comes; the connection ends with the last answer.
    closing: AtomicBool,
    settled: AtomicWaker,
}

/// Whether a request to upgrade was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Open,
    Upgraded,
    Refused,
}

const UPGRADE_NONE: u8 = 0;
const UPGRADE_PENDING: u8 = 1;
const UPGRADE_DONE: u8 = 2;
const UPGRADE_REFUSED: u8 = 3;

impl Watch {
    /// What is wrong with the `number`th request of the connection (counted from 1), if it stands in for a violation.
    pub fn violation_of(&self, number: u64) -> Option<Violation> {
        if self.violated_at.load(Ordering::Acquire) != number || number == 0 {
            return None;
        }
        decode(self.violation.load(Ordering::Acquire))
    }

    /// Why the body that was being read broke off, if the guard broke it off.
    pub fn body_violation(&self) -> Option<Violation> {
        decode(self.body_violation.load(Ordering::Acquire))
    }

    /// The upstream switched protocols: from here on bytes pass as they are.
    pub fn upgraded(&self) {
        self.settle(UPGRADE_DONE);
    }

    /// A request was answered, and not by switching protocols. If it was the one that asked for it, HTTP goes on.
    /// To be called before [`Watch::answered`].
    pub fn not_upgraded(&self) {
        // No head is let through after one that asks, so only the answer to the last one settles it, not the answers to
        // those that were sent ahead of it.
        if self.heads.load(Ordering::Acquire) == self.answered.load(Ordering::Acquire) + 1 {
            self.settle(UPGRADE_REFUSED);
        }
    }

    /// An answer is complete or given up; the connection may go idle or end.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::AcqRel);
        if self.closing.load(Ordering::Acquire) || self.violated_at.load(Ordering::Acquire) > 0 {
            self.settled.wake();
        }
    }

    /// Whether a request was let through that is not answered yet.
    pub fn in_flight(&self) -> bool {
        self.heads.load(Ordering::Acquire) > self.answered.load(Ordering::Acquire)
    }

    fn settle(&self, to: u8) {
        if self.upgrade.compare_exchange(UPGRADE_PENDING, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.settled.wake();
        }
    }

    /// The client has ended its side: whoever waits for the last answer is woken.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// A good head was let through.
    pub fn head_passed(&self) {
        self.heads.fetch_add(1, Ordering::AcqRel);
    }

    /// The body that is being read broke.
    pub fn violate_body(&self, violation: Violation) {
        self.body_violation.store(encode(violation), Ordering::Release);
    }

    pub fn is_violated(&self) -> bool {
        self.violated_at.load(Ordering::Acquire) > 0
    }

    /// The head that was just let through asks for an upgrade.
    pub fn ask_upgrade(&self) {
        self.upgrade.store(UPGRADE_PENDING, Ordering::Release);
    }

    /// What became of the upgrade that was asked for; a refusal is told once.
    pub fn settled(&self) -> Settled {
        match self.upgrade.load(Ordering::Acquire) {
            UPGRADE_DONE => Settled::Upgraded,
            UPGRADE_REFUSED => {
                self.upgrade.store(UPGRADE_NONE, Ordering::Release);
                Settled::Refused
            }
            _ => Settled::Open,
        }
    }

    /// The task to wake when an upgrade is settled or the last answer is out.
    pub fn register(&self, waker: &Waker) {
        self.settled.register(waker);
    }

    /// The rest of the stream is no HTTP: a synthetic head stands in for it.
    pub fn violate(&self, violation: Violation) {
        self.violation.store(encode(violation), Ordering::Release);
        self.violated_at.store(self.heads.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
    }
}

const VIOLATIONS: [Violation; 7] = [
    Violation::Malformed,
    Violation::Framing,
    Violation::Host,
    Violation::TargetTooLong,
    Violation::HeaderTooLarge,
    Violation::HeadTimeout,
    Violation::BodyTimeout,
];

fn encode(violation: Violation) -> u8 {
    VIOLATIONS.iter().zip(1..).find_map(|(known, code)| (*known == violation).then_some(code)).unwrap_or(1)
}

fn decode(code: u8) -> Option<Violation> {
    VIOLATIONS.get(usize::from(code.checked_sub(1)?)).copied()
}
