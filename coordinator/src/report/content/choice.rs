//! What choices cost, as data.
//!
//! Floor: core.

use serde::Serialize;

use super::GainPrice;

/// Time that trainings took, on the machines of this study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub agent_seconds: f64,
    /// Of these, on graphics cards.
    pub gpu_seconds: f64,
    /// Of these, for trials that chose configs on inner folds; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choosing_seconds: Option<f64>,
    /// Absent for the reason beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kwh: Option<f64>,
    pub kwh_absent: &'static str,
    /// Mean seconds of one training of each judged arm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trainings: Vec<ArmCost>,
    /// Of each arm with several configs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cheapest: Vec<CheapestConfig>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmCost {
    pub arm: String,
    pub seconds: f64,
}

/// The cheapest config within one standard error of the best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheapestConfig {
    pub arm: String,
    pub best: String,
    pub cheapest: String,
    /// How much worse than the best the cheapest is, and the standard error of that.
    pub behind: f64,
    pub se: f64,
    pub seconds_best: f64,
    pub seconds_cheapest: f64,
    /// What the best one's lead over the cheapest costs, where it takes longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<GainPrice>,
    /// By what counts instead of by what can be told apart; absent for metrics without a natural
    /// unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope: Option<RopeConfig>,
}

/// The cheapest config that is behind the best by less than counts, with probability 0.95 at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RopeConfig {
    /// Differences below this do not count.
    pub width: f64,
    pub cheapest: String,
    pub behind: f64,
    pub se: f64,
    pub seconds: f64,
}
