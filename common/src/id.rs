//! Names of things that cross process borders. Each refuses to be mixed up with another.
//!
//! Floor: common.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// blake3 of some bytes: of a data file, of a study as written, of a trial, of an outcome.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 64 lower-case hexadecimal digits, as used for file names.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`Digest::hex`] wrote.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::Digest { text: text.chars().take(80).collect() };
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refused())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", &self.hex()[..12])
    }
}

/// A study in a cluster: the first 48 bits of its digest, so that submitting it again is the same study.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct StudyId(pub u64);

impl StudyId {
    pub fn from_digest(digest: &Digest) -> Self {
        let mut bytes = [0u8; 8];
        bytes[2..].copy_from_slice(&digest.0[..6]);
        Self(u64::from_be_bytes(bytes))
    }
}

impl fmt::Display for StudyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for StudyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for StudyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let whole = text.len() == 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = whole.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| IdError::Study { text: text.chars().take(80).collect() })
    }
}

/// A trial's place in its study's design; `design.rs` alone knows what it stands for.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
pub struct TrialIndex(pub u64);

impl fmt::Display for TrialIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One grant. Unique over leaders: two leaders may both issue their first one.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct LeaseId {
    pub term: u64,
    pub counter: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}.{}", self.term, self.counter)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An admitted member of the cluster: an agent, an operator or a peer, numbered by the log.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One coordinator in the Raft group. Never zero: Raft reads zero as "no leader".
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ReplicaId(pub NonZeroU64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl std::str::FromStr for ReplicaId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = text.strip_prefix('r').and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| IdError::Replica { text: text.chars().take(80).collect() })
    }
}

/// One asker of commands, drawn at random by each: with a number of its own it names a command.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ClientId(pub u64);

/// Sixteen random bytes drawn when a cluster is made; certificates carry it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a name is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    #[error("{text:?} is not a digest; a digest is 64 hexadecimal digits")]
    Digest { text: String },
    #[error(
        "{text:?} is not a study id; an id is 12 hexadecimal digits, as `coordinator list` prints"
    )]
    Study { text: String },
    #[error("{text:?} is not a replica; `coordinator members` shows them, such as r2")]
    Replica { text: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn study_id_survives_printing_and_reading() {
        let id = StudyId::from_digest(&Digest::of(b"a study"));
        assert_eq!(id.to_string().parse::<StudyId>(), Ok(id));
    }

    #[test]
    fn digest_survives_printing_and_reading() {
        let digest = Digest::of(b"rows");
        assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
        assert!(Digest::from_hex("abc").is_err());
        assert!(Digest::from_hex(&"é".repeat(32)).is_err());
    }
}
