//! What the log records: decisions, each with the time the leader stamped on it.
//!
//! A command never says "now", and never carries a secret: only the hash of a token's. Each kind has
//! a level; one above the cluster's is not proposed, so that no replica meets what it cannot apply.
//!
//! Floor: core.

use common::id::{ClientId, MemberId, ReplicaId, StudyId};
use common::ledger::Purpose;
use common::study::{OuterKind, Proposed, Study};
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome};
use common::wire::codec::{self, CodecError};
use common::wire::message::{Control, Decided, NewToken, OutcomeRow, RowEnd};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::choices::Chosen;
use super::rungs::Promoted;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose command it is; asked for again, it is done once.
    pub origin: Option<Origin>,
    pub command: Command,
}

/// Names a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub client: ClientId,
    pub number: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Submit {
        study: Box<Study>,
        text: String,
        at: Timestamp,
    },
    Control {
        study: StudyId,
        control: Control,
        at: Timestamp,
    },
    /// How attempts of one agent ended.
    Reports {
        agent: MemberId,
        at: Timestamp,
        items: Vec<Item>,
    },
    /// Outcomes that an earlier study has of the same trainings.
    Adopt {
        study: StudyId,
        rows: Vec<OutcomeRow>,
    },
    CreateToken {
        token: NewToken,
        at: Timestamp,
    },
    RevokeToken {
        id: [u8; 6],
    },
    Admit(Admission),
    RemoveMember {
        member: MemberId,
    },
    /// Where an admitted replica is reached.
    Place {
        replica: ReplicaId,
        address: String,
    },
    RemoveReplica {
        replica: ReplicaId,
    },
    /// Every replica's program knows the kinds of entries of this level.
    RaiseLevel {
        level: u16,
    },
    /// What replicas found the state's digest to be after entry `index`.
    Digests {
        index: u64,
        of: Vec<(ReplicaId, [u8; 32])>,
    },
    /// Somebody is about to be shown the outcomes of a study.
    Look {
        study: StudyId,
        who: MemberId,
        purpose: Purpose,
        at: Timestamp,
    },
    /// No outcome of a study is shown until something is claimed.
    Seal {
        study: StudyId,
        who: MemberId,
        at: Timestamp,
    },
    /// What a study is claimed to show.
    Register {
        study: StudyId,
        who: MemberId,
        claim: String,
        at: Timestamp,
    },
    /// Which configs the inner folds chose.
    Choose {
        study: StudyId,
        chosen: Vec<Chosen>,
    },
    /// Whether more of a study is bought.
    Decide {
        study: StudyId,
        decided: Decided,
    },
    /// Which configs searches try next.
    Propose {
        study: StudyId,
        proposed: Vec<Proposed>,
    },
    /// Which configs reach their next rung.
    Promote {
        study: StudyId,
        promoted: Vec<Promoted>,
    },
    /// For how many milliseconds more something of a study was in training.
    Worked {
        study: StudyId,
        ms: u64,
    },
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item {
    Complete {
        attempt: Attempt,
        outcome: Box<Outcome>,
    },
    /// `alone`: no other trial was in the cohort.
    Failed {
        attempt: Attempt,
        reason: FailReason,
        detail: String,
        alone: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    pub token_id: [u8; 6],
    pub secret_hash: [u8; 32],
    pub public_key: [u8; 32],
    pub at: Timestamp,
}

impl Entry {
    /// Bytes of a log entry: a format number, then the entry.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(&(FORMAT, self))
    }

    /// Reads a log entry. One of a newer format stops the replica: skipping it would fork the state.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let format = bytes.first().copied().unwrap_or_default();
        if u16::from(format) != FORMAT {
            return Err(EntryError::Format { format, known: FORMAT });
        }
        let (_, entry): (u16, Entry) =
            codec::decode(bytes).map_err(|source| EntryError::Unreadable { source })?;
        Ok(entry)
    }
}

impl Command {
    /// The level a cluster must have for this to be proposed.
    pub fn level(&self) -> u16 {
        match self {
            Command::Control { control: Control::Cancel, .. } => 1,
            Command::Control { .. } => 2,
            Command::Submit { study, .. } if study.has_requires() => LABELS_LEVEL,
            Command::Submit { study, .. } if study.races() || study.halves_at_once() => {
                RACING_LEVEL
            }
            Command::Submit { study, .. } if study.learns() || study.halves() => LEARN_LEVEL,
            Command::Propose { .. } | Command::Promote { .. } => LEARN_LEVEL,
            Command::Submit { study, .. } if study.budget.is_limited() => BUYING_LEVEL,
            Command::Submit { study, .. }
                if matches!(study.outer.kind, OuterKind::Ordered { .. }) =>
            {
                BUYING_LEVEL
            }
            Command::Decide { .. } | Command::Worked { .. } => BUYING_LEVEL,
            Command::Submit { study, .. } if study.outer.inner.is_some() => NESTED_LEVEL,
            Command::Choose { .. } => NESTED_LEVEL,
            Command::Submit { study, .. } if study.has_programs() => PROGRAMS_LEVEL,
            Command::Submit { study, .. } if study.judged().len() < study.arms.len() => 3,
            Command::Look { .. } => LEDGER_LEVEL,
            Command::Seal { .. } | Command::Register { .. } => SEALS_LEVEL,
            Command::Reports { items, .. } if items.iter().any(Item::is_interruption) => {
                BORROWED_LEVEL
            }
            Command::Reports { items, .. } if items.iter().any(Item::has_curve) => CURVES_LEVEL,
            Command::Adopt { rows, .. } if rows.iter().any(has_curve) => CURVES_LEVEL,
            Command::Reports { items, .. } if items.iter().any(Item::is_of_programs) => {
                PROGRAMS_LEVEL
            }
            _ => 1,
        }
    }
}

impl Item {
    pub fn attempt(&self) -> Attempt {
        match self {
            Item::Complete { attempt, .. } | Item::Failed { attempt, .. } => *attempt,
        }
    }

    fn has_curve(&self) -> bool {
        matches!(self, Item::Complete { outcome, .. } if outcome.curve.is_some())
    }

    fn is_interruption(&self) -> bool {
        matches!(self, Item::Failed { reason, .. } if reason.is_interruption())
    }

    fn is_of_programs(&self) -> bool {
        matches!(self, Item::Failed { reason, .. } if reason.is_of_programs())
    }
}

fn has_curve(row: &OutcomeRow) -> bool {
    matches!(&row.end, RowEnd::Complete(outcome) if outcome.curve.is_some())
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
    #[error(
        "the cluster is at level {level}, this program may use up to {known}; install the newer version, or start \
         it without --level"
    )]
    Level { level: u16, known: u16 },
}

/// The newest level this program knows.
pub const LEVEL: u16 = BORROWED_LEVEL;

/// From this level on studies have controls, looks are recorded, states have ledgers, and no outcome is shown without one.
pub const LEDGER_LEVEL: u16 = 3;

/// From this level on studies may run programs, and attempts fail as only programs do.
pub const PROGRAMS_LEVEL: u16 = 4;

/// From this level on outcomes may have curves; before, they are accepted without.
pub const CURVES_LEVEL: u16 = 5;

/// From this level on studies may be sealed and claims registered, and states hold which are.
pub const SEALS_LEVEL: u16 = 6;

/// From this level on configs may be chosen on inner folds, and states hold which are.
pub const NESTED_LEVEL: u16 = 7;

/// From this level on studies may have budgets of hours and rules that stop them, and states hold what is
/// bought; and rows may be divided in order of time.
pub const BUYING_LEVEL: u16 = 8;

/// From this level on arms may have searches that learn, and studies hold what these proposed; and configs
/// may be halved.
pub const LEARN_LEVEL: u16 = 9;

/// From this level on configs may race, and be halved without waiting for each other.
pub const RACING_LEVEL: u16 = 10;

/// From this level on arms may require labels of agents: older coordinators would grant them to anybody.
pub const LABELS_LEVEL: u16 = 11;

/// From this level on it is counted that agents gave trials back in the middle of their training.
pub const BORROWED_LEVEL: u16 = 12;

/// Format of entries; below 251, so that it is the first byte.
const FORMAT: u16 = 2;
