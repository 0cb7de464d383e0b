//! What choices cost, as data.
//!
//! Floor: core.

use serde::Serialize;

/// Time that trainings took, on the machines of this study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub agent_seconds: f64,
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
}
