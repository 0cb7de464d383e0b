//! What the log records: decisions, each with the time the leader stamped on it.
//!
//! A command never says "now", and never carries a secret: only the hash of a token's.
//!
//! Floor: core.

use common::id::{MemberId, StudyId};
use common::study::Study;
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome};
use common::wire::codec::{self, CodecError};
use common::wire::message::Role;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Submit {
        study: Box<Study>,
        text: String,
        at: Timestamp,
    },
    Cancel {
        study: StudyId,
        at: Timestamp,
    },
    Outcome {
        attempt: Attempt,
        agent: MemberId,
        outcome: Box<Outcome>,
        at: Timestamp,
    },
    /// `alone`: no other trial was in the cohort.
    AttemptFailed {
        attempt: Attempt,
        agent: MemberId,
        reason: FailReason,
        detail: String,
        alone: bool,
        at: Timestamp,
    },
    CreateToken(NewToken),
    RevokeToken {
        id: [u8; 6],
    },
    Admit(Admission),
    RemoveMember {
        member: MemberId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewToken {
    pub id: [u8; 6],
    pub secret_hash: [u8; 32],
    pub role: Role,
    /// `None`: any number.
    pub uses: Option<u32>,
    pub expires: Timestamp,
    pub label: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    pub token_id: [u8; 6],
    pub secret_hash: [u8; 32],
    pub public_key: [u8; 32],
    pub at: Timestamp,
}

impl Command {
    /// Bytes of a log entry: a format number, then the command.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(&(FORMAT, self))
    }

    /// Reads a log entry. One of a newer format stops the replica: skipping it would fork the state.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let format = bytes.first().copied().unwrap_or_default();
        if u16::from(format) != FORMAT {
            return Err(EntryError::Format { format, known: FORMAT });
        }
        let (_, command): (u16, Command) =
            codec::decode(bytes).map_err(|source| EntryError::Unreadable { source })?;
        Ok(command)
    }
}

/// Why a committed entry cannot be applied.
#[derive(Debug, Error)]
pub enum EntryError {
    #[error(
        "the log holds an entry of format {format}, this program knows {known}; install the newer version"
    )]
    Format { format: u8, known: u16 },
    #[error("a committed entry cannot be read")]
    Unreadable { source: CodecError },
}

/// Format of entries; below 251, so that it is the first byte.
const FORMAT: u16 = 1;
