//! What an attempt at a trial ends with.
//!
//! An outcome's digest covers what was measured, never how long it took, where, or on what way: on
//! one kind of processor it is equal run to run, and a difference is a finding. An outcome without a
//! curve has the bytes that it had before there were any.
//!
//! Floor: common.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::id::{Digest, LeaseId, StudyId, TrialIndex};

/// A finished training: every metric of the study in its order, and one score a test row.
#[derive(Clone, Debug, PartialEq)]
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
    /// How it went; boxed, since most of an outcome's travels are without one.
    pub curve: Option<Box<Curve>>,
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

/// Fields in their order; a curve, where there is one, is announced by [`CURVE`] among the epochs,
/// which readers of before refuse as a number too large.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let announced = if self.curve.is_some() { CURVE } else { 0 };
        let fields = FIELDS.len() - usize::from(self.curve.is_none());
        let mut written = serializer.serialize_struct("Outcome", fields)?;
        written.serialize_field(FIELDS[0], &self.metrics)?;
        written.serialize_field(FIELDS[1], &self.rows)?;
        written.serialize_field(FIELDS[2], &(u64::from(self.epochs) | announced))?;
        written.serialize_field(FIELDS[3], &self.duration_us)?;
        written.serialize_field(FIELDS[4], &self.device)?;
        if let Some(curve) = &self.curve {
            written.serialize_field(FIELDS[5], curve)?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Outcome", &FIELDS, InOrder)
    }
}

/// Reads an outcome's fields one after another: they lie in a sequence wherever they are kept.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Outcome;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of an outcome")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Outcome, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
            fields: &mut A,
        ) -> Result<T, A::Error> {
            fields.next_element()?.ok_or_else(|| A::Error::custom("an outcome has more fields"))
        }
        let (metrics, rows) = (next(&mut fields)?, next(&mut fields)?);
        let epochs: u64 = next(&mut fields)?;
        let (duration_us, device) = (next(&mut fields)?, next(&mut fields)?);
        let curve = if epochs & CURVE == 0 { None } else { Some(next(&mut fields)?) };
        let epochs = u32::try_from(epochs & !CURVE)
            .map_err(|_| A::Error::custom("an outcome has fewer epochs"))?;
        Ok(Outcome { metrics, rows, epochs, duration_us, device, curve })
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
    /// Its agent was told to leave, and gave it back. Never the trial's own failure, nor a loss.
    Preempted,
    /// The time for which its agent was there was over. Never the trial's own failure, nor a loss.
    OutOfTime,
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
            FailReason::Preempted => "preempted",
            FailReason::OutOfTime => "out of time",
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_final(self) -> bool {
        matches!(self, FailReason::Diverged | FailReason::BadConfig)
    }

    /// Whether it says only that its agent left; logs of before this was counted cannot hold it.
    pub fn is_interruption(self) -> bool {
        matches!(self, FailReason::Preempted | FailReason::OutOfTime)
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

const FIELDS: [&str; 6] = ["metrics", "rows", "epochs", "duration_us", "device", "curve"];

/// Above every number of epochs: a curve follows.
const CURVE: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Quantity, Trace};
    use crate::wire::codec::{decode, encode};

    #[test]
    fn a_curve_travels_with_its_outcome_and_costs_nothing_where_there_is_none() {
        let mut trace = Trace::default();
        (1..=60).for_each(|at| trace.push(at, 1.0 / f64::from(at), Some(0.5)));
        let curve = trace.curve(Quantity::Loss).map(Box::new);
        let device = "cpu".to_string();
        let plain = Outcome {
            metrics: vec![0.5],
            rows: vec![1.0],
            epochs: 3,
            duration_us: 5,
            device,
            curve: None,
        };
        // As five fields that follow one another.
        let fields = (vec![0.5f64], vec![1.0f32], 3u32, 5u64, "cpu");
        assert_eq!(encode(&plain).unwrap(), encode(&fields).unwrap());
        for epochs in [0, 3, 300, u32::MAX] {
            let (plain, full) = (
                Outcome { epochs, ..plain.clone() },
                Outcome { epochs, curve: curve.clone(), ..plain.clone() },
            );
            let bytes = encode(&full).unwrap();
            assert_eq!(decode::<Outcome>(&bytes).unwrap(), full);
            assert_eq!(decode::<Outcome>(&encode(&plain).unwrap()).unwrap(), plain);
            assert_eq!(plain.digest(), full.digest());
            // A program of before there were curves finds a number of epochs that is none.
            assert!(decode::<(Vec<f64>, Vec<f32>, u32)>(&bytes).is_err());
        }
        let many = (vec![0.5f64], vec![1.0f32], 1u64 << 33, 5u64, "cpu");
        assert!(decode::<Outcome>(&encode(&many).unwrap()).is_err());
        let announced = (vec![0.5f64], vec![1.0f32], CURVE | 3, 5u64, "cpu");
        assert!(decode::<Outcome>(&encode(&announced).unwrap()).is_err());
    }

    #[test]
    fn outcome_digest_ignores_where_and_how_long() {
        let outcome = Outcome {
            metrics: vec![0.9],
            rows: vec![0.1, 0.2],
            epochs: 3,
            duration_us: 1,
            device: "cpu".into(),
            curve: None,
        };
        let elsewhere = Outcome { duration_us: 2, device: "cuda:0".into(), ..outcome.clone() };
        let other = Outcome { metrics: vec![0.8], ..outcome.clone() };
        assert_eq!(outcome.digest(), elsewhere.digest());
        assert_ne!(outcome.digest(), other.digest());
    }
}
