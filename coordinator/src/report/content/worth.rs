//! What more runs are worth, as data.
//!
//! Floor: core.

use serde::Serialize;

/// What choosing the leader now is expected to lose, and what more runs would save of that.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worth {
    /// In the metric's unit.
    pub expected_loss: f64,
    /// What the next block that saves most for its training is expected to save, in the metric's
    /// unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_block_value: Option<f64>,
    /// Whether more runs are worth it, in words.
    pub verdict: String,
    /// Absent where nobody said what a better score and an hour are worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// Absent where the leader takes no longer to train than the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<GainPrice>,
    /// Twice the seeds, and twice the folds.
    pub blocks: Vec<NextBlock>,
    /// Larger designs that no cheaper one beats, by cost.
    pub frontier: Vec<NextBlock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NextBlock {
    pub seeds: u32,
    pub folds: u32,
    /// Agent-seconds beyond what was spent.
    pub cost: f64,
    pub expected_loss: f64,
}

/// The block that returns most above its price, or comes nearest to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Money {
    /// As told: money for a score that is better by 0.01, and for an hour of training.
    pub value_of_a_hundredth: f64,
    pub price_of_an_hour: f64,
    pub worth_it: bool,
    pub seeds: u32,
    pub folds: u32,
    /// What it is expected to save, and what it costs.
    pub value: f64,
    pub cost: f64,
}

/// What a lead costs in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GainPrice {
    /// What is left of the lead when luck is taken away.
    pub shrunken_gain: f64,
    /// Agent-seconds that one training of the leader takes beyond the other's.
    pub seconds: f64,
    /// In the metric's unit.
    pub step: f64,
    /// Agent-seconds more a training for each `step` of the shrunken lead; absent where nothing is
    /// left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_step: Option<f64>,
}
