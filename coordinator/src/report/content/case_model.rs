//! How the spread of a single row's score divides, as data.
//!
//! Floor: core.

use serde::Serialize;

use super::NotEstimable;

/// The model of single rows (M2), or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CaseModelPart {
    /// Of each judged arm whose spread could be divided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<CaseArm>,
    /// Of all judged arms together, whose means are fixed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<CaseComponent>,
    /// Rows that these models are of.
    pub rows: u64,
    /// Runs behind the models of single arms, over all arms.
    pub runs: u64,
    /// Runs behind the joint model; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joint_runs: Option<u64>,
    /// Rows of the joint model; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joint_rows: Option<u64>,
    /// Runs with a score of each row whose rows have names: more than `runs` where some were taken.
    pub runs_with_rows: u64,
    /// Runs that came without a score of each row, and are in no model.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Partitions that the models are over: the first alone where rows have no names.
    pub partitions: u32,
    /// Whether a row's score is 0 or 1, which the models take for a number.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub linear_probability: bool,
    /// Sources of spread that a model had to leave out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_estimable: Vec<NotEstimable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseArm {
    pub arm: String,
    /// What each row is scored by.
    pub score: &'static str,
    pub components: Vec<CaseComponent>,
}

/// One source of the spread of a single row's score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseComponent {
    /// `row`, the column of groups, `fold`, `config`, `run`, `residual`, or `arm:` and one of these.
    pub factor: String,
    pub levels: u64,
    /// REML; in squared units of a row's score.
    pub variance: f64,
    pub sd: f64,
    /// Of the sum of all variances of this model.
    pub share: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
