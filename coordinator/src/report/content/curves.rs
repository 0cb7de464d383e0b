//! How trainings went, as data.
//!
//! Floor: core.

use serde::Serialize;

/// The trainings of one arm, by epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurvePart {
    pub arm: String,
    pub shows: Shows,
    /// `epoch`, or `step` of a program.
    pub by: &'static str,
    /// Trainings whose outcomes have such a curve, over all configs, seeds and folds.
    pub trainings: u64,
    pub points: Vec<CurvePoint>,
}

/// What a curve's values are.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    TrainingLoss,
    /// On the rows that were held out of the training.
    ValidationLoss,
    /// As programs call it.
    Said(String),
}

/// Over the trainings that had not ended before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    pub at: u32,
    pub trainings: u64,
    pub median: f64,
    /// Quantiles of 5 % and 95 %.
    pub low: f64,
    pub high: f64,
}
