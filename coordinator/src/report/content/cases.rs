//! Parts of the report that rest on scores of single rows.
//!
//! Floor: core.

use serde::Serialize;

use super::Interval;

/// The best of an arm's seeds, with and without its luck.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LotteryPart {
    pub arm: String,
    pub seeds: u64,
    pub best_seed: String,
    /// Absent where the seeds' spread was not told from the rest.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub cases: Option<CaseLottery>,
    /// Why no test over rows was made between seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases_missing: Option<String>,
}

/// What the best seed looks better by, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// How much better than the arm's mean the best seed looks.
    pub observed_gain: f64,
    /// What the best of as many seeds is expected to gain by the spread that was seen.
    pub expected_gain: f64,
    /// What it would gain if all seeds were the same and only luck within folds set them apart.
    pub noise_gain: f64,
    /// What is left of the gain when the very same model is tested again.
    pub shrunken_gain: f64,
    /// The arm's mean moved by that: what the best seed is worth.
    pub shrunken_best: f64,
}

/// What tests over rows say of one arm's seeds against each other (Åkesson et al., 2024).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseLottery {
    /// What each row is scored by.
    pub case_score: &'static str,
    /// Whether the mean over rows is the primary metric itself, or rises and falls with it.
    pub case_score_is_the_metrics: bool,
    /// The config whose seeds play, where the arm has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_config: Option<String>,
    /// Best by the mean over the rows of the first partition.
    pub case_best_seed: String,
    /// `cross-validation` or `hold-out`: what one play was over.
    pub played_on: &'static str,
    #[serde(flatten)]
    pub shares: LotteryShares,
    /// Each fold taken for a hold-out set of its own; absent where there is one fold anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<LotteryShares>,
    /// Of the first partition, for the figure.
    #[serde(skip)]
    pub drawn: Vec<SeedDrawn>,
}

/// Shares with p < 0.05, each the mean over as many plays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LotteryShares {
    /// Of the other seeds, those that the best one beats: paired t-test over rows.
    pub beats_share_t: f64,
    /// The same by Wilcoxon's signed-rank test.
    pub beats_share_wilcoxon: f64,
    /// Of all pairs of seeds, those that differ: paired t-test.
    pub all_pairs_share: f64,
    pub all_pairs_share_wilcoxon: f64,
    pub plays: u64,
    /// Rows and seeds of one play; the most where plays differ.
    pub rows: u64,
    pub seeds_played: u64,
    /// Pairs of seeds behind the shares of all pairs, over all plays.
    pub pairs: u64,
    /// Whether these were drawn, since there are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pairs_drawn: bool,
}

/// One seed of the lottery's figure.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedDrawn {
    pub seed: String,
    /// Mean over the rows.
    pub mean: f64,
    pub is_best: bool,
    /// Whether the best one beats it with p < 0.05 in the paired t-test.
    pub beaten: bool,
}

/// T3: the same trained models on other rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherRows {
    /// Over the partitions that [`OtherRowsPart`] names.
    #[serde(rename = "estimate_t3")]
    pub estimate: f64,
    #[serde(rename = "se_t3")]
    pub se: f64,
    #[serde(rename = "ci_t3")]
    pub ci: Interval,
}

/// What T3 draws again, or why it is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OtherRowsPart {
    /// `row`, or the column whose rows stay together.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    pub units: u64,
    pub rows: u64,
    /// Partitions that the estimates are over: the first alone where rows have no names.
    pub partitions: u32,
    /// Runs that came without a score of each row, and are not in the estimates.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
