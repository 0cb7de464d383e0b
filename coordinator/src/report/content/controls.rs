//! What controls scored, as data.
//!
//! Floor: core.

use serde::Serialize;

use super::Interval;

/// What arms that cannot learn scored, and how each judged arm stands beside them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlsPart {
    /// The constant control's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<String>,
    /// Seeds that permuted controls are trained with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// Trials of all controls.
    pub planned: u64,
    pub arms: Vec<ControlledPart>,
}

/// One judged arm beside its controls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlledPart {
    pub arm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permuted: Option<Beside>,
    /// The permuted control's scores beside what a guess scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_chance: Option<Beside>,
    /// Whether the arm beats all its controls; absent where the folds cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<bool>,
    /// Whether the permuted control does better than a guess; absent where nothing can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks: Option<bool>,
    /// What is wrong, in words; empty where nothing is.
    pub findings: Vec<String>,
}

/// The scores of one arm minus those of what it is held against, over folds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// What it is held against: the other's runs (0 for a fixed number), mean and spread.
    pub n: u64,
    pub mean: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    pub folds: u64,
    pub difference: f64,
    /// Absent where all folds differ by the same, or there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<Interval>,
    /// Whether the first did better beyond what the folds' luck gives; absent with one fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub better: Option<bool>,
}
