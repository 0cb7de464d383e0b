//! Why a connection was closed, as the number that travels with the close.
//!
//! The number decides what the other side does; the text beside it is for people. Numbers never
//! change their meaning.
//!
//! Floor: shell.

use quinn::{Connection, VarInt};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closing {
    /// Nothing is wrong.
    Done,
    /// The certificate is good, the member entry is gone.
    Revoked,
    /// A stranger did something else than join.
    JoinOnly,
    /// Later it may go better.
    Busy,
    /// The peer broke the protocol or a limit.
    Misbehaved,
    /// No protocol version in common.
    Version,
}

impl Closing {
    pub(crate) fn of(code: VarInt) -> Self {
        ALL.into_iter().find(|closing| closing.code() == code).unwrap_or(Closing::Done)
    }

    pub(crate) fn close(self, connection: &Connection, why: &str) {
        // Longer texts would not fit the packet that closes.
        let cut = (0..=why.len().min(WHY_MAX)).rev().find(|at| why.is_char_boundary(*at));
        connection.close(self.code(), &why.as_bytes()[..cut.unwrap_or(0)]);
    }

    fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Closing::Done => 0,
            Closing::Revoked => 1,
            Closing::JoinOnly => 2,
            Closing::Busy => 3,
            Closing::Misbehaved => 4,
            Closing::Version => 5,
        })
    }
}

/// A peer's text, safe to print: control characters gone, cut short.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(PRINTABLE_MAX).collect()
}

const ALL: [Closing; 6] = [
    Closing::Done,
    Closing::Revoked,
    Closing::JoinOnly,
    Closing::Busy,
    Closing::Misbehaved,
    Closing::Version,
];

const WHY_MAX: usize = 600;
const PRINTABLE_MAX: usize = 600;

pub(crate) const REVOKED: &str = "revoked";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back() {
        for closing in ALL {
            assert_eq!(Closing::of(closing.code()), closing);
        }
    }

    #[test]
    fn a_peers_text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
        assert!(printable(&"x".repeat(9_999)).len() <= PRINTABLE_MAX);
    }
}
