//! What replicas say to each other, Raft's messages in our own bytes among it.
//!
//! Raft's own encoding never meets bytes from the network, and what only a process may say to
//! itself (to propose, to campaign) has no form here.
//!
//! Floor: common.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ReplicaId, StudyId};
use crate::time::Timestamp;

use super::OutcomeRow;

/// On a replica's stream to another one, until either closes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerMessage {
    Raft(Box<RaftMessage>),
    /// Every second, to all.
    Announce(Announcement),
    /// Every second from the leader: what it alone knows of studies under way.
    Progress {
        term: u64,
        studies: Vec<StudyProgress>,
    },
    /// To the leader: the digest of this replica's state after entry `index`.
    Digest {
        index: u64,
        digest: [u8; 32],
    },
}

/// How a replica is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// Kinds of log entries its program knows.
    pub level: u16,
    pub version: String,
    pub address: String,
    pub term: u64,
    pub commit: u64,
    /// Free bytes where its data folder lies.
    pub disk_free: Option<u64>,
    /// Unix time by its own clock.
    pub clock: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyProgress {
    pub study: StudyId,
    pub leased: u64,
    pub rate: f64,
    pub seconds_left: Option<u64>,
}

/// One Raft message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RaftMessage {
    pub kind: RaftKind,
    pub to: u64,
    pub from: u64,
    pub term: u64,
    pub log_term: u64,
    pub index: u64,
    pub entries: Vec<LogEntry>,
    pub commit: u64,
    pub commit_term: u64,
    /// Of `RaftKind::Snapshot`; the state itself travels on a stream of its own.
    pub snapshot: Option<SnapshotMeta>,
    pub request_snapshot: u64,
    pub reject: bool,
    pub reject_hint: u64,
    pub context: Vec<u8>,
    pub priority: i64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum RaftKind {
    #[default]
    Append,
    AppendResponse,
    RequestVote,
    RequestVoteResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    Snapshot,
    Heartbeat,
    HeartbeatResponse,
    TimeoutNow,
    ReadIndex,
    ReadIndexResp,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    pub index: u64,
    pub term: u64,
    pub kind: EntryKind,
    /// Who proposed it.
    pub context: Vec<u8>,
    /// A command, or a [`Change`] of the membership; empty when a leader begins its term.
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    Command,
    Membership,
}

/// One step of the membership.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub replica: ReplicaId,
    pub to: Standing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    Learner,
    Voter,
    Gone,
}

/// Who votes and who only learns.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Voters {
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
}

impl Voters {
    pub fn standing(&self, replica: ReplicaId) -> Standing {
        let number = replica.0.get();
        if self.voters.contains(&number) {
            Standing::Voter
        } else if self.learners.contains(&number) {
            Standing::Learner
        } else {
            Standing::Gone
        }
    }
}

/// Which snapshot.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    pub index: u64,
    pub term: u64,
    pub voters: Voters,
}

/// One piece of a snapshot on its way, in order on a stream of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SnapshotPart {
    /// The Raft message that asks to install it.
    Begin {
        message: Box<RaftMessage>,
        transfer: u64,
    },
    State {
        transfer: u64,
        number: u64,
        bytes: Vec<u8>,
    },
    Rows {
        transfer: u64,
        number: u64,
        rows: Vec<(StudyId, OutcomeRow)>,
    },
    /// `parts` that were sent, and the digest over them.
    End {
        transfer: u64,
        parts: u64,
        digest: [u8; 32],
    },
}

/// What a new replica is given once it has proved that its token made it one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Enrolment {
    /// With the cluster's authority, and where every replica is.
    Enrolled {
        authority: Private,
        replicas: Vec<(ReplicaId, String)>,
    },
    Elsewhere {
        leader: Option<String>,
        addresses: Vec<String>,
    },
    Refused {
        why: String,
    },
}

/// Bytes that no log shows.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Private(pub Vec<u8>);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who leads, for those who watch.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<String>,
    pub addresses: Vec<String>,
}
