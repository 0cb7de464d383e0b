//! What a report over several studies says, as data: its `report.json` is this.
//!
//! Keys are stable under [`SCHEMA`]; what these studies do not have is an absent key.
//!
//! Floor: core.

use serde::Serialize;

use super::super::content::{Interval, LedgerPart, Verdict};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Several {
    pub schema: &'static str,
    pub metric: String,
    /// `larger is better` or `smaller is better`.
    pub goal: &'static str,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub scale: ScalePart,
    /// In the order of their names.
    pub studies: Vec<StudyPart>,
    /// The arms that all studies have, in the first study's order.
    pub arms: Vec<ArmPart>,
    /// Arms that some studies lack.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    pub improvement: Vec<PairPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friedman: Option<FriedmanPart>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub friedman_absent: Option<String>,
    pub runs: Vec<RunsPart>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    pub methods: String,
    pub references: Vec<&'static str>,
    pub reproduce: String,
}

/// How scores of different studies were brought to one scale, on which 1 is the best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalePart {
    pub kind: ScaleKind,
    pub zero: &'static str,
    pub one: &'static str,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleKind {
    /// From what the constant control scored to the metric's best value.
    Constant,
    /// From what a guess scores by the metric's definition to its best value.
    Chance,
    /// From the worst run to the best that any of the arms had in the study.
    Range,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyPart {
    pub study: String,
    pub digest: String,
    pub data: String,
    pub rows: u64,
    pub seeds: u64,
    /// Over all partitions, on which every shared arm has a score.
    pub folds: u64,
    pub complete: u64,
    pub failed: u64,
    /// The scores that became 0 and 1.
    pub zero: f64,
    pub one: f64,
    pub scores: Vec<ScorePart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerPart>,
}

/// One arm in one study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScorePart {
    pub arm: String,
    pub runs: u64,
    pub mean: f64,
    pub normalised: f64,
    /// 1 is best; ties share their mean rank.
    pub rank: f64,
}

/// One arm over all studies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmPart {
    pub arm: String,
    pub runs: u64,
    pub iqm: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iqm_ci: Option<Interval>,
    pub optimality_gap: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimality_gap_ci: Option<Interval>,
    pub mean_rank: f64,
    /// Studies in which no arm had a better mean.
    pub first_in: u64,
    pub profile: Vec<PointPart>,
}

/// One point of a performance profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointPart {
    pub threshold: f64,
    /// Share of runs with a normalised score above the threshold.
    pub above: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<Interval>,
}

/// Two arms, study by study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairPart {
    pub a: String,
    pub b: String,
    /// Chance that a run of a beats one of b in the same study, averaged over studies.
    pub p_a_beats_b: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_a_beats_b_ci: Option<Interval>,
    /// The same, as wide as the number of pairs asks for (Bonferroni).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_a_beats_b_adjusted: Option<Interval>,
    /// Studies in which the mean of a was better, of b was better, and neither.
    pub a_wins: u64,
    pub b_wins: u64,
    pub ties: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FriedmanPart {
    pub studies: u64,
    pub chi_square: f64,
    pub p_chi_square: f64,
    /// Iman and Davenport's form; absent where all studies rank alike and it is without bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f: Option<f64>,
    pub df: [f64; 2],
    pub p_f: f64,
    pub critical_difference: f64,
    /// Largest sets of arms whose mean ranks are closer than the critical difference.
    pub alike: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    pub arm: String,
    pub lacking: Vec<String>,
}

/// The runs of one arm in one study: one a seed, averaged over folds and configs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunsPart {
    pub study: String,
    pub arm: String,
    pub seeds: Vec<String>,
    pub scores: Vec<f64>,
    pub normalised: Vec<f64>,
}

/// First key of the `report.json` over several studies.
pub const SCHEMA: &str = "seedsweep.studies/1";
