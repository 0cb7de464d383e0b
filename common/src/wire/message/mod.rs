//! Every message that crosses a socket, each once.
//!
//! A connection's first stream carries a [`Hello`] each way and a [`Greeting`] down, and ends. Every
//! further stream begins with an [`Open`] and serves one purpose. Roles are not in any message: the
//! certificate says who speaks.
//!
//! Floor: common.

mod agents;
mod decided;
mod operators;
pub mod peer;
mod repeats;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, Digest, MemberId};
use crate::trial::Attempt;

pub use agents::{
    AgentAbout, CHECKPOINT_BYTES_MAX, FromAgent, LOG_PART_MAX, LogPart, REPORTS_MAX, ToAgent,
};
pub use decided::{Decided, Why};
pub use operators::{
    AgentStatus, Answer, Ask, Control, Explanation, MemberStatus, NewToken, OutcomeRow,
    PastFailure, ReplicaRole, ReplicaStatus, Request, Response, RowEnd, Stay, StudyState,
    StudyStatus, TokenStatus, TrialPlace, Violation, Wanting, Which,
};
pub use repeats::{Repeat, RepeatState, Repeats};

/// First message each way on a connection. Its layout never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub magic: [u8; 4],
    /// Oldest and newest protocol the speaker knows.
    pub protocol_min: u16,
    pub protocol_max: u16,
    /// The program's version, for people.
    pub version: String,
}

/// The serving side's second message: may the connection go on?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Greeting {
    Welcome { cluster: ClusterId, member: MemberId, protocol: u16 },
    Refused { why: String },
}

/// First message of a further stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Open {
    /// An agent's control stream: [`FromAgent`] up, [`ToAgent`] down, until either closes it.
    Agent,
    /// An operator's: one [`Ask`] up, one [`Answer`] down.
    Ask,
    /// The bytes of a data file from `offset` on: a [`Bulk`] header, then chunks as frames.
    Fetch { digest: Digest, offset: u64 },
    /// An operator sends a data file: a [`Bulk`] header down with what is already there, then
    /// chunks as frames up, then a [`Response`] down.
    Upload { digest: Digest, bytes: u64 },
    /// A member of any role asks for its own certificate anew: a [`Renewal`] down.
    Renew,
    /// An agent or operator wants to know who leads: a [`peer::Leadership`] down, now and whenever
    /// it changes.
    Watch,
    /// A replica's messages to this one: [`peer::PeerMessage`] up, until either closes it.
    Peer,
    /// A replica sends a snapshot: [`peer::SnapshotPart`]s up, a [`Response`] down.
    Snapshot,
    /// A new replica, at this address, asks to be let in: a [`peer::Enrolment`] down. `level`: the
    /// kinds of log entries that its program knows.
    Enrol { address: String, level: u16 },
    /// An agent leaves a checkpoint of a trial that it holds and gives back: a [`Bulk`] header down,
    /// then chunks as frames up, then a [`Response`] down. From [`BORROWED_PROTOCOL`] on.
    Checkpoint { attempt: Attempt, digest: Digest, bytes: u64 },
    /// An operator asks for a backup that has seen entry `at_least`: a [`Bulk`] header down with what is
    /// known of its length, its bytes in chunks, an empty chunk, and a [`Response`].
    Backup { at_least: u64 },
}

/// What the serving side has of a data file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bulk {
    /// Fetch: the whole length. Upload: bytes already stored, go on from there.
    Here {
        bytes: u64,
    },
    Refused {
        why: String,
    },
}

/// The answer to [`Open::Renew`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Renewal {
    /// For the key, role and member of the certificate that asked; X.509 in DER.
    Renewed {
        certificate: Vec<u8>,
    },
    Refused {
        why: String,
    },
}

/// What a member may do; fixed by the token it joined with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Agent,
    Operator,
    Peer,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Operator => "operator",
            Role::Peer => "peer",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Role::Agent, Role::Operator, Role::Peer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(())
    }
}

impl Hello {
    pub fn ours() -> Self {
        Self {
            magic: MAGIC,
            protocol_min: PROTOCOL_OLDEST,
            protocol_max: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }

    /// The newest protocol both know, or what to tell the people on both sides.
    pub fn agree(&self, theirs: &Hello) -> Result<u16, String> {
        if theirs.magic != MAGIC {
            return Err("the other side does not speak seedsweep".to_string());
        }
        let newest = self.protocol_max.min(theirs.protocol_max);
        if newest < self.protocol_min.max(theirs.protocol_min) {
            return Err(format!(
                "this side (version {}) speaks protocol {} to {}, the other side (version {}) {} to {}; \
                 install the same version on both",
                self.version,
                self.protocol_min,
                self.protocol_max,
                theirs.version,
                theirs.protocol_min,
                theirs.protocol_max
            ));
        }
        Ok(newest)
    }
}

pub const MAGIC: [u8; 4] = *b"SWP\0";

/// The newest protocol this program speaks, and the oldest.
pub const PROTOCOL: u16 = BORROWED_PROTOCOL;
pub const PROTOCOL_OLDEST: u16 = 2;

/// From this protocol on agents say how long they stay and why they give back, and checkpoints travel.
pub const BORROWED_PROTOCOL: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_without_overlap_are_refused_with_both_versions_named() {
        let ours = Hello::ours();
        let newer = Hello {
            protocol_min: PROTOCOL + 1,
            protocol_max: PROTOCOL + 2,
            version: "9.0.0".into(),
            ..ours.clone()
        };
        let why = ours.agree(&newer).expect_err("no overlap");
        assert!(why.contains("9.0.0") && why.contains("4 to 5"), "{why}");
    }

    #[test]
    fn a_program_of_before_is_spoken_to_in_its_protocol() {
        let older = Hello { protocol_max: PROTOCOL_OLDEST, ..Hello::ours() };
        assert_eq!(Hello::ours().agree(&older), Ok(PROTOCOL_OLDEST));
        assert_eq!(older.agree(&Hello::ours()), Ok(PROTOCOL_OLDEST));
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let ours = Hello::ours();
        let newer = Hello { protocol_max: 7, ..ours.clone() };
        assert_eq!(ours.agree(&newer), Ok(PROTOCOL));
    }
}
