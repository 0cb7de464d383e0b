//! How many connections were turned away, by cause.
//!
//! Counts only: who it was stands in the log.
//!
//! Floor: shell.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::closing::Closing;

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// There were too many.
    Full,
    /// No handshake came about, or not in time.
    Handshake,
    /// A token that is unknown, spent or expired.
    Token,
    /// No certificate, and nothing that asks for one; or too often.
    Stranger,
    /// The certificate is good, and its member was removed.
    Revoked,
    /// The protocol, a limit or the version was broken.
    Misbehaved,
}

/// The counts of one listener.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; CAUSES.len()]);

impl Refusals {
    pub(crate) fn count(&self, cause: Cause) {
        if let Some(at) = CAUSES.iter().position(|(known, _)| *known == cause) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every cause by name, and how often it was.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        CAUSES.iter().map(|(_, name)| *name).zip(counts)
    }
}

impl Cause {
    pub fn of(closing: Closing) -> Self {
        match closing {
            Closing::Revoked => Cause::Revoked,
            Closing::JoinOnly | Closing::Busy => Cause::Stranger,
            Closing::Done | Closing::Misbehaved | Closing::Version => Cause::Misbehaved,
        }
    }
}

const CAUSES: [(Cause, &str); 6] = [
    (Cause::Full, "full"),
    (Cause::Handshake, "handshake"),
    (Cause::Token, "token"),
    (Cause::Stranger, "stranger"),
    (Cause::Revoked, "revoked"),
    (Cause::Misbehaved, "misbehaved"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_counted_apart() {
        let refusals = Refusals::default();
        refusals.count(Cause::Token);
        refusals.count(Cause::of(Closing::Revoked));
        refusals.count(Cause::Token);
        let counted: Vec<_> = refusals.all().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("token", 2), ("revoked", 1)]);
    }
}
