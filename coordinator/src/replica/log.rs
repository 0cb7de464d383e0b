//! What a replica keeps durably, in our own bytes: entries, votes, members, snapshots.
//!
//! Raft's protobuf types stay inside `replica/`; the disk and the network see these.
//!
//! Floor: core.

use raft::eraftpb::{ConfState, Entry, EntryType, HardState};
use serde::{Deserialize, Serialize};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    pub index: u64,
    pub term: u64,
    pub kind: EntryKind,
    /// Who proposed it: see [`super::Proposal`].
    pub context: Vec<u8>,
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    Command,
    Membership,
}

/// Raft's vote and commit mark.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}

/// Who votes and who only learns.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Voters {
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
}

/// The state machine after `index`, and the log from there on is all that is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    pub index: u64,
    pub term: u64,
    pub voters: Voters,
    /// Encoded [`crate::scheduler::state::State`].
    pub state: Vec<u8>,
}

/// What must be on disk before a replica may go on.
#[derive(Debug, Default)]
pub struct Persist {
    pub entries: Vec<LogEntry>,
    pub vote: Option<Vote>,
    /// Entries at or below its index may be dropped in the same commit.
    pub snapshot: Option<SnapshotRecord>,
}

impl Persist {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.vote.is_none() && self.snapshot.is_none()
    }
}

/// What a replica finds on its disk when it starts.
#[derive(Debug)]
pub struct Recovered {
    pub snapshot: SnapshotRecord,
    pub vote: Vote,
    /// Consecutive, from the snapshot's index on.
    pub entries: Vec<LogEntry>,
}

impl LogEntry {
    pub(super) fn of(entry: &Entry) -> Self {
        let kind = match entry.get_entry_type() {
            EntryType::EntryNormal => EntryKind::Command,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::Membership,
        };
        Self {
            index: entry.index,
            term: entry.term,
            kind,
            context: entry.context.to_vec(),
            data: entry.data.to_vec(),
        }
    }

    pub(super) fn to_raft(&self) -> Entry {
        let entry_type = match self.kind {
            EntryKind::Command => EntryType::EntryNormal,
            EntryKind::Membership => EntryType::EntryConfChangeV2,
        };
        Entry {
            index: self.index,
            term: self.term,
            entry_type,
            context: self.context.clone().into(),
            data: self.data.clone().into(),
            ..Entry::default()
        }
    }
}

impl Vote {
    pub(super) fn of(state: &HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }

    pub(super) fn to_raft(self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit, ..HardState::default() }
    }
}

impl Voters {
    pub(super) fn to_raft(&self) -> ConfState {
        ConfState::from((self.voters.clone(), self.learners.clone()))
    }
}
