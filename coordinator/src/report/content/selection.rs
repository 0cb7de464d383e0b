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
    /// By how often they were chosen, the most frequent first; none where a search tried others each time.
    pub frequency: Vec<Frequency>,
    /// In bits; absent where a search tried others each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// What the best of n configs is expected to score on the folds that choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected_best: Vec<ExpectedBest>,
    /// Of an arm whose configs a search proposed: it learned from earlier tries, so that these are no sample
    /// and nothing can be expected of n others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched: Option<SearchedPart>,
    /// Of an arm whose configs raced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub race: Option<RacePart>,
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchedPart {
    pub method: &'static str,
    /// What was chosen, one a hyperparameter of the space.
    pub chosen: Vec<ChosenAxis>,
    pub running_best: Vec<RunningBest>,
}

/// What races dropped, over all choices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RacePart {
    /// With which a choice's best config stays in.
    pub level: f64,
    /// Tuning seeds before the first look, and in all.
    pub first: u64,
    pub tuning_seeds: u64,
    /// Configs that were not trained with all tuning seeds, but for those that were chosen before, since no
    /// other was left; `configs` is that of all choices.
    pub dropped: u64,
    pub configs: u64,
    /// On inner folds.
    pub trainings: u64,
    pub trainings_saved: u64,
}

/// One hyperparameter over the chosen configs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenAxis {
    pub name: String,
    /// Choices whose config has it.
    pub choices: u64,
    /// Of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest: Option<f64>,
    /// Of words, the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Frequency>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RunningBest {
    pub tries: u64,
    /// Best score so far on the folds that choose, in the order of trying; its mean over choices.
    pub best: f64,
    /// Of training that so many tries took, for one choice.
    pub agent_seconds: f64,
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
