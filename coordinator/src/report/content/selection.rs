//! What choosing a config did, as data.
//!
//! Floor: core.

use serde::Serialize;

/// Of one arm with several configs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelectionPart {
    pub arm: String,
    pub configs: u64,
    /// `inner folds` of each outer fold's training rows, or, of a study without, `outer folds`: the same
    /// scores that are then reported.
    pub chosen_on: &'static str,
    /// Choices with all their scores.
    pub choices: u64,
    /// Mean score of the chosen configs on the folds that chose them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<f64>,
    /// Mean score of their refits on outer test rows, which chose nothing; of a nested study.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refit: Option<f64>,
    /// How much better the chosen ones looked than their refits are, and over outer folds its standard
    /// error; positive: they were flattered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested_gap: Option<Gap>,
    /// How much choosing alone flatters, from the folds that chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tibshirani_bias: Option<f64>,
    /// By how often they were chosen, the most frequent first.
    pub frequency: Vec<Frequency>,
    /// In bits.
    pub entropy: f64,
    /// What the best of n configs is expected to score on the folds that choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected_best: Vec<ExpectedBest>,
    /// Score on the choosing folds and of the refit, one a choice.
    #[serde(skip)]
    pub slopes: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gap {
    pub mean: f64,
    /// Absent with one outer fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se: Option<f64>,
    pub folds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frequency {
    pub config: String,
    pub chosen: u64,
    pub share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExpectedBest {
    pub configs: u64,
    /// Unbiased for n new configs where they are drawn at random.
    pub expected: f64,
    /// Middle 95 % over choices drawn again; absent for fewer than five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// With drawn ones put back, as is often reported.
    pub replaced: f64,
    /// Of training that trying so many takes, for one choice.
    pub agent_seconds: f64,
}
