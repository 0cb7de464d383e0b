//! What an attempt at a trial ends with.
//!
//! An outcome's digest covers what was measured, never how long it took or where: on one kind of
//! processor it is equal run to run, and a difference is a finding.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, LeaseId, StudyId, TrialIndex};

/// A finished training: every metric of the study in its order, and one score a test row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The study's metrics, primary first; NaN where a metric is not defined (one class in a fold).
    pub metrics: Vec<f64>,
    /// One value a test row, in the fold's row order: probability of the true class, or
    /// prediction minus truth in a regression. Empty when the study asks for none.
    pub rows: Vec<f32>,
    pub epochs: u32,
    /// Training and evaluation, wall clock, this lane's share of its cohort.
    pub duration_us: u64,
    /// What it was trained on and with, in one line that begins with the device's name, such as
    /// `cpu; AMD EPYC 9B14; avx2; seedsweep 0.1.0; candle 0.11.1; 1 thread`; before there were such
    /// records, the name alone. Which data: the study says so, whose digest covers theirs.
    pub device: String,
}

impl Outcome {
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.metrics.len() as u64).to_le_bytes());
        for metric in &self.metrics {
            hasher.update(&metric.to_bits().to_le_bytes());
        }
        for row in &self.rows {
            hasher.update(&row.to_bits().to_le_bytes());
        }
        hasher.update(&self.epochs.to_le_bytes());
        Digest(*hasher.finalize().as_bytes())
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ending {
    Complete(Outcome),
    Failed { reason: FailReason, detail: String },
}

/// Why an attempt gave no outcome.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum FailReason {
    /// The loss became NaN or infinite. Training again gives the same: it fails at once.
    Diverged,
    /// The trainer returned an error.
    Error,
    /// The agent had started it and died; found from its start marker.
    AgentCrashed,
    /// The lease ran out without a word. Not the trial's own failure, yet counted apart.
    AgentLost,
    /// A program did not end within its time.
    TimeLimit,
    /// A program took more memory than it may, or than there was.
    OutOfMemory,
    /// A program said that this config is wrong (exit status 78): trying again gives the same.
    BadConfig,
    /// A program asked for another agent (exit status 75). Not the trial's own failure, yet counted
    /// apart.
    Elsewhere,
}

impl FailReason {
    pub fn name(self) -> &'static str {
        match self {
            FailReason::Diverged => "diverged",
            FailReason::Error => "error",
            FailReason::AgentCrashed => "agent crashed",
            FailReason::AgentLost => "agent lost",
            FailReason::TimeLimit => "time limit",
            FailReason::OutOfMemory => "out of memory",
            FailReason::BadConfig => "bad config",
            FailReason::Elsewhere => "elsewhere",
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_final(self) -> bool {
        matches!(self, FailReason::Diverged | FailReason::BadConfig)
    }

    /// Whether only programs fail so; logs of before there were any cannot hold it.
    pub fn is_of_programs(self) -> bool {
        matches!(
            self,
            FailReason::TimeLimit
                | FailReason::OutOfMemory
                | FailReason::BadConfig
                | FailReason::Elsewhere
        )
    }
}

/// An attempt's name on the wire, in the spool and in acknowledgements.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Attempt {
    pub study: StudyId,
    pub trial: TrialIndex,
    pub lease: LeaseId,
}

/// An attempt with its ending: what an agent spools and sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub attempt: Attempt,
    pub ending: Ending,
}

/// The reason of a trial that was given up because it killed whoever trained it.
pub const POISON: &str = "poison";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_digest_ignores_where_and_how_long() {
        let outcome = Outcome {
            metrics: vec![0.9],
            rows: vec![0.1, 0.2],
            epochs: 3,
            duration_us: 1,
            device: "cpu".into(),
        };
        let elsewhere = Outcome { duration_us: 2, device: "cuda:0".into(), ..outcome.clone() };
        let other = Outcome { metrics: vec![0.8], ..outcome.clone() };
        assert_eq!(outcome.digest(), elsewhere.digest());
        assert_ne!(outcome.digest(), other.digest());
    }
}
