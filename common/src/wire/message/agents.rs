//! What an agent and the leading coordinator say to each other on the agent's control stream.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, LeaseId, StudyId, TrialIndex};
use crate::label::Labels;
use crate::study::Study;
use crate::trial::{Attempt, FailReason, Report};

/// From an agent on its control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// First: what this machine is, what it still trains, and what it had started when it crashed.
    /// `life` is drawn anew by every agent process.
    Register { about: AgentAbout, life: u64, holding: Vec<Attempt>, crashed: Vec<Attempt> },
    /// Lanes that could start now. Replaces any earlier offer.
    Offer { lanes: u32 },
    /// The agent needs the study before it can train its trials.
    NeedStudy { study: StudyId },
    /// Still training these.
    Renew { leases: Vec<LeaseId> },
    /// Endings, kept in the spool until acknowledged. At most [`REPORTS_MAX`] at once.
    Reports { reports: Vec<Report> },
    /// Not started, given back: the agent is leaving.
    HandBack { leases: Vec<LeaseId> },
    /// After `Register`: what else this agent may be given. One that never says it runs no programs.
    Skills { programs: bool },
    /// What programs said last of how far they are, for people. Never in the log.
    Progress { items: Vec<(LeaseId, String)> },
    /// Answer to `SendLog`; `None`: nothing is kept of that trial here.
    Log { number: u64, part: Option<LogPart> },
    /// After `Register`, and before any offer: what this agent is known by. One that never says it has none.
    /// From [`super::BORROWED_PROTOCOL`] on, as what follows.
    Labels { labels: Labels },
    /// After `Register`, of an agent that goes on from others' checkpoints: for how much longer it is
    /// there, where that is known.
    Stay { left_ms: Option<u64> },
    /// Was in training, stopped and given back: the agent leaves. What it had reached of it was sent
    /// before, by [`super::Open::Checkpoint`]. `why`: one that [`FailReason::is_interruption`].
    Interrupted { leases: Vec<LeaseId>, why: FailReason },
}

/// A part of what one attempt of a program wrote to stdout and stderr.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPart {
    pub lease: LeaseId,
    /// Place of the first byte among all that was written.
    pub from: u64,
    pub bytes: Vec<u8>,
    /// All that was written so far; what is long ago is not kept.
    pub written: u64,
    /// The program still runs.
    pub running: bool,
    /// How the attempt ended, in words; of one that runs, what it said last of how far it is.
    pub state: String,
}

/// What an agent says of itself, for people and for placement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentAbout {
    pub host: String,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// The device's model, such as the processor's name.
    pub model: String,
    /// Lanes trained at once, over all its threads.
    pub lanes: u32,
    /// Lanes of one cohort: a grant of more trials than this is cut into cohorts.
    pub cohort_lanes: u32,
    pub version: String,
}

/// To an agent on its control stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answer to `Register`. Of what the agent holds, `keep` stays leased to it; all else is stopped.
    Registered {
        lease_ms: u64,
        keep: Vec<LeaseId>,
    },
    /// Train these trials as one cohort, before the lease ends; renew until done. `version` of the
    /// study is the one that has these trials.
    Assign {
        lease: LeaseId,
        study: StudyId,
        version: u32,
        trials: Vec<TrialIndex>,
    },
    Study {
        id: StudyId,
        version: u32,
        study: Box<Study>,
    },
    /// Stop; what was trained under this lease may still be reported.
    Revoke {
        lease: LeaseId,
    },
    /// Committed: the spool may forget these.
    Acknowledge {
        attempts: Vec<Attempt>,
    },
    /// The addresses of all replicas, whenever they change.
    Replicas {
        addresses: Vec<String>,
    },
    /// This replica does not lead: ask the one that does, or one of the others.
    Elsewhere {
        leader: Option<String>,
        addresses: Vec<String>,
    },
    /// The coordinator is leaving; come back later.
    Goodbye {
        why: String,
    },
    /// Send what a trial's program wrote, from this byte on. Sent to agents that run programs alone.
    SendLog {
        number: u64,
        study: StudyId,
        trial: TrialIndex,
        from: u64,
    },
    /// As `Assign`, of trials some of which others left at a checkpoint: its digest, by which
    /// [`super::Open::Fetch`] gives the bytes. Sent to agents that said `Stay` alone.
    AssignFrom {
        lease: LeaseId,
        study: StudyId,
        version: u32,
        trials: Vec<TrialIndex>,
        checkpoints: Vec<(TrialIndex, Digest)>,
    },
}

/// Outcomes in one `Reports` message; further limited by the frame's bytes.
pub const REPORTS_MAX: usize = 64;

/// Bytes of one checkpoint that travels.
pub const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of one [`LogPart`].
pub const LOG_PART_MAX: usize = 256 << 10;
