//! What operators ask, and what they are answered.
//!
//! A command travels with its client's number: asked again after a lost answer it is answered as it
//! was, and done once. A question is answered by whatever replica is asked.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, Digest, LeaseId, MemberId, ReplicaId, StudyId, TrialIndex};
use crate::label::{Labels, Requires};
use crate::ledger::{Ledger, Purpose, Sealing};
use crate::repeat::Again;
use crate::study::Study;
use crate::time::Timestamp;
use crate::trial::{FailReason, Outcome};

use super::{Decided, LogPart, Repeats, Role};

/// One question or command, with what is needed to answer it once and not from the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub client: ClientId,
    /// Of the command; asked again it keeps its number, and later ones have higher ones.
    pub number: u64,
    /// Log entries the answer must have seen: what this client was shown before.
    pub at_least: u64,
    /// Of a question: the answer has seen all that was acknowledged to anybody before it was asked.
    pub fresh: bool,
    pub request: Request,
}

/// The answer to one [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Log entries it has seen.
    pub applied: u64,
    pub response: Response,
    /// Every replica of the cluster, to be asked next time.
    pub addresses: Vec<String>,
}

/// From an operator: one question or command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Whether the data file is stored.
    HasData {
        digest: Digest,
    },
    Submit {
        study: Box<Study>,
        text: String,
    },
    Status {
        study: Option<StudyId>,
    },
    Study {
        study: StudyId,
    },
    Control {
        study: StudyId,
        control: Control,
    },
    /// What [`Control::Retry`] of these would open again; nothing changes.
    WouldRetry {
        study: StudyId,
        trials: Which,
    },
    /// Why a trial is where it is.
    Explain {
        study: StudyId,
        trial: TrialIndex,
    },
    /// Outcomes with trial index at or above `from`, as many as fit one frame. Answered only where
    /// no ledger is kept yet: below its level, which is while a cluster is upgraded.
    Outcomes {
        study: StudyId,
        from: TrialIndex,
    },
    Agents,
    Tokens,
    /// The client drew the token; its secret stays with the client.
    CreateToken(NewToken),
    RevokeToken {
        id: String,
    },
    Members,
    RemoveMember {
        member: MemberId,
    },
    Replicas,
    RemoveReplica {
        replica: ReplicaId,
    },
    /// A command: enters into the study's ledger that the asker is about to be shown its outcomes.
    Look {
        study: StudyId,
        purpose: Purpose,
    },
    /// As [`Request::Outcomes`], for a look that the asker took.
    OutcomesFor {
        study: StudyId,
        from: TrialIndex,
        look: u64,
    },
    Ledger {
        study: StudyId,
    },
    /// What a trial's program wrote to stdout and stderr, from this byte on.
    Log {
        study: StudyId,
        trial: TrialIndex,
        from: u64,
    },
    /// Has complete trials trained again, and says how far that is: asked again and again until all
    /// have ended. `number` is drawn by the client; a leader that does not know it begins.
    Repeat {
        study: StudyId,
        number: u64,
        trials: Again,
    },
    /// A command: nobody is shown an outcome of this study until something is claimed. Only before
    /// the first look.
    Seal {
        study: StudyId,
    },
    /// A command: registers what this study is claimed to show. Said again it is the same claim.
    Register {
        study: StudyId,
        claim: String,
    },
    /// What was decided about buying more of a study.
    Decided {
        study: StudyId,
    },
    /// Labels of agents, and what waits for agents of other ones.
    Labels,
    /// For how long agents stay, and how often they gave back what they trained.
    Stays,
}

/// What may be done to a study. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Control {
    Cancel,
    Pause,
    Resume,
    /// Served before studies of lower priority; 0 at first.
    Priority {
        priority: i32,
    },
    /// Opens failed trials again, with all their attempts.
    Retry {
        trials: Which,
    },
    /// So many seeds in all; never fewer than there are. `text` is the study file that says so.
    Extend {
        seeds: u32,
        text: String,
    },
}

/// Some trials of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Which {
    Failed,
    /// First and last of each range.
    Ranges(Vec<(TrialIndex, TrialIndex)>),
}

/// A join token as the log keeps it: never its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewToken {
    pub id: [u8; 6],
    pub secret_hash: [u8; 32],
    pub role: Role,
    /// How long it is good for, from when the leader first sees it.
    pub ttl_ms: u64,
    /// `None`: any number.
    pub uses: Option<u32>,
    pub label: String,
}

/// To an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Done,
    HasData {
        complete: bool,
    },
    /// The study's data are to be sent first.
    NeedsData,
    Submitted {
        study: StudyId,
        known: bool,
    },
    Status {
        studies: Vec<StudyStatus>,
    },
    Study {
        study: Box<Study>,
        text: String,
        submitted: Timestamp,
        violations: Vec<Violation>,
    },
    /// Trials that wait again, or would.
    Retried {
        trials: Vec<TrialIndex>,
        count: u64,
    },
    /// Trials that the study gained.
    Extended {
        gained: u64,
    },
    Explained(Box<Explanation>),
    Outcomes {
        rows: Vec<OutcomeRow>,
        next: Option<TrialIndex>,
    },
    Agents {
        agents: Vec<AgentStatus>,
    },
    Tokens {
        tokens: Vec<TokenStatus>,
    },
    Members {
        members: Vec<MemberStatus>,
    },
    Replicas {
        replicas: Vec<ReplicaStatus>,
    },
    /// This replica cannot answer: ask the one that leads, or another.
    Elsewhere {
        leader: Option<String>,
    },
    Refused {
        why: String,
    },
    /// The look's number; `None` where no ledger is kept yet.
    Looked {
        number: Option<u64>,
    },
    Ledger(Box<Ledger>),
    /// `agent` keeps it.
    Log {
        agent: MemberId,
        part: LogPart,
    },
    Repeats(Box<Repeats>),
    /// As `Ledger`, of a study that was sealed or whose claim is registered.
    LedgerSealed {
        ledger: Box<Ledger>,
        sealing: Box<Sealing>,
    },
    /// In order; of a study that nothing limits none. Of a sealed one without words.
    Decided {
        decided: Vec<Decided>,
        /// Seeds that are bought of each arm; none where all are.
        seeds: Vec<u32>,
    },
    /// `agents`: of those that [`Response::Agents`] names. `wanting`: what waits, and nobody here may train.
    Labels {
        agents: Vec<(MemberId, Labels)>,
        wanting: Vec<Wanting>,
    },
    /// Of those agents that said so.
    Stays {
        stays: Vec<Stay>,
    },
}

/// A study as the coordinator knows it; `status --json` prints these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyStatus {
    pub id: StudyId,
    pub name: String,
    pub state: StudyState,
    pub priority: i32,
    pub planned: u64,
    pub complete: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub waiting: u64,
    pub leased: u64,
    /// Attempts that ended without an outcome, by reason, in order of the reason's name.
    pub failures: Vec<(String, u64)>,
    /// The first trials that were given up because they killed whoever trained them.
    pub poison: Vec<TrialIndex>,
    /// Outcomes that came again with another digest.
    pub differing: u64,
    /// At the present rate; `None` before the first outcomes.
    pub seconds_left: Option<u64>,
    /// Trainings a second over the last minute.
    pub rate: f64,
    pub submitted: Timestamp,
    /// Unix time of the last trial's end.
    pub finished: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StudyState {
    Active,
    Paused,
    Finished,
    Cancelled,
}

impl StudyState {
    /// Whether trials of it may still end.
    pub fn goes_on(self) -> bool {
        matches!(self, StudyState::Active | StudyState::Paused)
    }
}

/// One trial's end, as the report reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub trial: TrialIndex,
    pub ended: Timestamp,
    /// Which member trained it.
    pub agent: MemberId,
    pub end: RowEnd,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RowEnd {
    Complete(Outcome),
    Failed { reason: String, detail: String },
}

/// A trial that gave one outcome and, trained again, another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    pub trial: TrialIndex,
    /// First 64 bits of the digest of the outcome that stands, and of the later one.
    pub digests: (u64, u64),
    /// Who gave the later one.
    pub agent: MemberId,
    pub at: Timestamp,
}

/// Where a trial is, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub trial: TrialIndex,
    /// The cell of the design in words: arm, config, seeds, partition, fold.
    pub cell: String,
    pub state: TrialPlace,
    /// Sentences for people, the most telling first.
    pub reasons: Vec<String>,
    pub own_failures: u32,
    pub losses: u32,
    pub attempts_allowed: u32,
    /// The latest attempts that gave no outcome, oldest first.
    pub failures: Vec<PastFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TrialPlace {
    Waiting,
    /// `left_ms`: until the lease ends unless it is renewed.
    Leased {
        lease: LeaseId,
        agent: MemberId,
        left_ms: u64,
    },
    Complete,
    Failed,
    Cancelled,
}

/// One attempt that gave no outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastFailure {
    pub lease: LeaseId,
    pub agent: MemberId,
    pub reason: FailReason,
    pub detail: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub member: MemberId,
    pub about: super::AgentAbout,
    /// Address it speaks from, or `in this process`.
    pub address: String,
    pub leased: u64,
    pub complete: u64,
    pub failed: u64,
    /// Unix time of its last message.
    pub heard: Timestamp,
    pub connected: bool,
    /// Why it is given nothing.
    pub set_aside: Option<String>,
}

/// Trials that wait for an agent of certain labels, and none is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanting {
    pub study: StudyId,
    /// Names of the arms that require it.
    pub arms: Vec<String>,
    pub requires: Requires,
    /// Agents that are here.
    pub agents: u64,
}

/// Beside an [`AgentStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stay {
    pub member: MemberId,
    /// When it is gone, Unix time by the leader's clock; `None`: nothing is known to end it.
    pub ends: Option<Timestamp>,
    /// Trials that it gave back in the middle of their training.
    pub interrupted: u64,
}

/// A join token without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenStatus {
    pub id: String,
    pub role: Role,
    pub label: String,
    pub uses_left: Option<u32>,
    pub expires: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub member: MemberId,
    pub role: Role,
    pub label: String,
    pub joined: Timestamp,
}

/// A replica as the one that was asked knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub replica: ReplicaId,
    pub address: Option<String>,
    pub role: ReplicaRole,
    pub term: u64,
    pub commit: u64,
    /// Committed entries that it is known to lack.
    pub lag: u64,
    /// Free bytes where its data folder lies.
    pub disk_free: Option<u64>,
    pub version: String,
    /// Unix time by its own clock when it last said something.
    pub clock: Option<Timestamp>,
    /// Since then, on the clock of the replica that was asked; `None` when it never did.
    pub silent_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    Leader,
    Follower,
    /// Catches up before it may vote.
    Learner,
    /// Admitted, and not heard of yet.
    Joining,
    /// Removed, and still to be told.
    Leaving,
}
