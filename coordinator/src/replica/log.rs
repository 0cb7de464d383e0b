//! What a replica keeps durably, in our own bytes: entries, votes, members, snapshots.
//!
//! Raft's protobuf types stay inside `replica/`; the disk and the network see these.
//!
//! Floor: core.

pub use common::wire::message::peer::{
    Change, EntryKind, LogEntry, RaftMessage, SnapshotMeta, Standing, Voters,
};
use serde::{Deserialize, Serialize};

/// Raft's vote and commit mark.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}

/// The state machine after `meta.index`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    pub meta: SnapshotMeta,
    /// Encoded [`crate::scheduler::state::State`].
    pub state: Vec<u8>,
}

/// The log begins after this entry: what is before it is in the snapshot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Base {
    pub index: u64,
    pub term: u64,
}

/// What must be on disk before a replica may go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Persist {
    /// They replace whatever the log has from the first one's index on.
    pub entries: Vec<LogEntry>,
    pub vote: Option<Vote>,
    pub snapshot: Option<Save>,
}

/// A snapshot to be kept in the place of the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Save {
    pub record: SnapshotRecord,
    pub source: Source,
}

/// Where a snapshot comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// This replica's own state. Entries up to `base` may be dropped. `offered`: its outcomes as they
    /// are after this commit will be asked for, to be sent to another replica.
    Own { base: Base, offered: bool },
    /// It came from the leader: the whole log is dropped, and the outcomes that came with it take
    /// the place of all others.
    Leader,
}

impl Persist {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.vote.is_none() && self.snapshot.is_none()
    }
}

/// What a replica finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub snapshot: SnapshotRecord,
    pub base: Base,
    pub vote: Vote,
    /// Consecutive, from the base on.
    pub entries: Vec<LogEntry>,
}

impl Recovered {
    /// The folder of a cluster's first replica. Its log begins after a snapshot, so that every other
    /// replica begins with one too and knows the first members.
    pub fn first(replica: u64, state: Vec<u8>) -> Self {
        let voters = Voters { voters: vec![replica], learners: Vec::new() };
        let meta = SnapshotMeta { index: 1, term: 1, voters };
        Self {
            snapshot: SnapshotRecord { meta, state },
            base: Base { index: 1, term: 1 },
            vote: Vote { term: 1, vote: 0, commit: 1 },
            entries: Vec::new(),
        }
    }
}
