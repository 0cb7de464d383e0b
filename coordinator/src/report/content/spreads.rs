//! How far seeds move each config, and how stable the ranking of arms is, as data.
//!
//! Floor: core.

use serde::Serialize;

use super::Target;

/// The spread of seeds in each config of each arm, and whether these spreads differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpreadsPart {
    pub groups: Vec<SeedSpread>,
    /// Brown and Forsythe's test of equal spread; absent for one group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<EqualSpread>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedSpread {
    pub arm: String,
    /// Absent where the arm has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    pub seeds: u64,
    /// Standard deviation of the seeds' means over folds.
    pub sd: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EqualSpread {
    /// Absent where it is infinite: groups without any spread beside others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f: Option<f64>,
    pub df_between: f64,
    pub df_within: f64,
    pub p: f64,
    /// p below 0.05.
    pub unequal: bool,
}

/// The chance of each rank for each arm, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RanksPart {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<ArmRanks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmRanks {
    pub arm: String,
    /// Of rank 1, which is best, of rank 2 and so on.
    pub chances: Vec<f64>,
    pub mean_rank: f64,
    /// Ranks between which the arm lies at 95 %.
    pub low: u64,
    pub high: u64,
}
