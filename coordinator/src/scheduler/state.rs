//! What the replicas agree on: studies with their trials' ends, tokens, members.
//!
//! A trial costs nine bytes; only those that failed once cost more. Whether an open trial waits or
//! is leased is the leader's soft state and not here.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::Design;
use common::id::{ClusterId, Digest, LeaseId, MemberId, StudyId, TrialIndex};
use common::study::Study;
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::message::{Role, StudyState};
use serde::{Deserialize, Serialize};

/// Everything a snapshot holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub cluster: ClusterId,
    pub studies: BTreeMap<StudyId, StudyRecord>,
    /// Studies ever submitted: the next one's place in the queue.
    pub submissions: u64,
    pub tokens: BTreeMap<[u8; 6], Token>,
    pub members: BTreeMap<MemberId, Member>,
    pub next_member: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    pub study: Study,
    /// The study file as written.
    pub text: String,
    pub submitted: Timestamp,
    /// Earlier ones are served first.
    pub order: u64,
    pub state: StudyState,
    pub finished: Option<Timestamp>,
    trials: Vec<TrialState>,
    /// First 64 bits of each outcome's digest; zero without one.
    digests: Vec<u64>,
    pub complete: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Attempts without an outcome.
    pub failures: BTreeMap<FailReason, u64>,
    /// Trials that failed at least once.
    pub tallies: BTreeMap<TrialIndex, Tally>,
    /// Outcomes that came again and differed.
    pub differing: u64,
}

/// What the replicas know of a trial. "Leased" is absent: the leader alone knows that.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum TrialState {
    Open,
    Complete,
    Failed,
    Cancelled,
}

/// Failures of one trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub own: u32,
    pub losses: u32,
    /// Leases already counted: a failure told twice counts once.
    pub counted: Vec<LeaseId>,
}

/// A join token; its secret is known by hash alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub secret_hash: [u8; 32],
    pub role: Role,
    pub uses_left: Option<u32>,
    pub expires: Timestamp,
    pub label: String,
}

/// An admitted key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub role: Role,
    pub label: String,
    pub joined: Timestamp,
    pub public_key: [u8; 32],
    pub token_id: [u8; 6],
}

impl State {
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            studies: BTreeMap::new(),
            submissions: 0,
            tokens: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: FIRST_MEMBER,
        }
    }
}

impl StudyRecord {
    pub fn new(study: Study, text: String, submitted: Timestamp, order: u64) -> Self {
        let trials = Design::of(&study).trials().unwrap_or_default() as usize;
        Self {
            study,
            text,
            submitted,
            order,
            state: StudyState::Active,
            finished: None,
            trials: vec![TrialState::Open; trials],
            digests: vec![0; trials],
            complete: 0,
            failed: 0,
            cancelled: 0,
            failures: BTreeMap::new(),
            tallies: BTreeMap::new(),
            differing: 0,
        }
    }

    pub fn planned(&self) -> u64 {
        self.trials.len() as u64
    }

    /// Trials without an end.
    pub fn open(&self) -> u64 {
        self.planned() - self.complete - self.failed - self.cancelled
    }

    pub fn trial(&self, trial: TrialIndex) -> Option<TrialState> {
        self.trials.get(trial.0 as usize).copied()
    }

    pub fn digest(&self, trial: TrialIndex) -> u64 {
        self.digests.get(trial.0 as usize).copied().unwrap_or_default()
    }

    pub(super) fn keep_digest(&mut self, trial: TrialIndex, digest: u64) {
        if let Some(slot) = self.digests.get_mut(trial.0 as usize) {
            *slot = digest;
        }
    }

    /// Gives an open trial its end. True when it was the study's last one.
    pub(super) fn end(&mut self, trial: TrialIndex, end: TrialState, at: Timestamp) -> bool {
        let slot = &mut self.trials[trial.0 as usize];
        assert_eq!(*slot, TrialState::Open, "a trial ends once");
        *slot = end;
        match end {
            TrialState::Complete => self.complete += 1,
            TrialState::Failed => self.failed += 1,
            TrialState::Cancelled => self.cancelled += 1,
            TrialState::Open => unreachable!("open is not an end"),
        }
        let over = self.open() == 0 && self.state == StudyState::Active;
        if over {
            self.state = StudyState::Finished;
            self.finished = Some(at);
        }
        over
    }

    pub(super) fn cancel(&mut self, at: Timestamp) {
        for slot in self.trials.iter_mut().filter(|slot| **slot == TrialState::Open) {
            *slot = TrialState::Cancelled;
            self.cancelled += 1;
        }
        self.state = StudyState::Cancelled;
        self.finished = Some(at);
    }

    /// Takes a cancelled study up again: what was cancelled is open once more.
    pub(super) fn reopen(&mut self) {
        for slot in self.trials.iter_mut().filter(|slot| **slot == TrialState::Cancelled) {
            *slot = TrialState::Open;
        }
        self.cancelled = 0;
        self.state = if self.open() == 0 { StudyState::Finished } else { StudyState::Active };
        if self.state == StudyState::Active {
            self.finished = None;
        }
    }
}

/// First 64 bits, as kept for each complete trial.
pub fn short_digest(digest: &Digest) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(bytes)
}

/// Members below are never admitted: 1 is the operator on the coordinator's own machine, 2 the
/// agent inside its process.
pub const FIRST_MEMBER: u64 = 16;
pub const LOCAL_OPERATOR: MemberId = MemberId(1);
pub const LOCAL_AGENT: MemberId = MemberId(2);
