//! What a report says, as data: `report.json` is this, and the pages are made of it.
//!
//! Keys are stable under [`SCHEMA`]; a part that a study does not have is an absent key. Numbers
//! that are not finite are absent too. Deliberately absent: words for readers beyond the verdicts,
//! which `page.rs` writes, and figures.
//!
//! Floor: core.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drawn::Further;
use super::monitor::MonitorPart;
use super::stopped::StopPart;

mod agreement;
mod case_model;
mod cases;
mod checklists;
mod choice;
mod controls;
mod curves;
mod leakage;
mod ledger;
mod selection;
mod spreads;
mod worth;

pub use agreement::{AgreementPart, ConfigAgreement};
pub use case_model::{CaseArm, CaseComponent, CaseModelPart};
pub use cases::{
    CaseLottery, Gain, LotteryPart, LotteryShares, OtherRows, OtherRowsPart, SeedDrawn,
};
pub use checklists::ChecklistItem;
pub use choice::{ArmCost, CheapestConfig, Cost, RopeConfig};
pub use controls::{Beside, ControlledPart, ControlsPart};
pub use curves::{CurvePart, CurvePoint, Shows};
pub use leakage::LeakageCheck;
pub use ledger::{ClaimPart, LedgerPart, LookPart, LookerPart};
pub use selection::{
    ChosenAxis, ExpectedBest, Frequency, Gap, RacePart, RunningBest, SearchedPart, SelectionPart,
};
pub use spreads::{ArmRanks, EqualSpread, RanksPart, SeedSpread, SpreadsPart};
pub use worth::{GainPrice, Money, NextBlock, Worth};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub study: StudyPart,
    pub design: DesignPart,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub arms: Vec<ArmPart>,
    pub components: Vec<ComponentPart>,
    /// Sources of spread that the design cannot estimate, and why.
    pub not_estimable: Vec<NotEstimable>,
    /// Of each arm whose spread was divided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agreement: Vec<AgreementPart>,
    pub case_model: CaseModelPart,
    pub comparisons: Vec<ComparisonPart>,
    /// Absent for one arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RanksPart>,
    /// Absent where no config has two seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spreads: Option<SpreadsPart>,
    /// What T3 rests on.
    pub t3: OtherRowsPart,
    /// Of each arm whose seeds differ: what its best seed is worth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lottery: Vec<LotteryPart>,
    /// Of each arm with several configs: what choosing among them did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selection: Vec<SelectionPart>,
    /// Absent where no two arms have two complete seeds, or several seed factors are crossed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorPart>,
    /// Absent where all was trained that was planned, or more may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopPart>,
    /// Absent where a study has no control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controls: Option<ControlsPart>,
    /// Of trainings whose outcomes say how they went.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<CurvePart>,
    pub seed_use: SeedUse,
    pub determinism: Determinism,
    pub leakage: Vec<LeakageCheck>,
    /// Absent where no ledger is kept of who sees outcomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerPart>,
    pub cost: Cost,
    /// What of reporting guidelines this report answers, and where.
    pub checklists: Vec<ChecklistItem>,
    pub methods: String,
    pub references: Vec<&'static str>,
    pub reproduce: String,
    /// What only the figures show.
    #[serde(skip)]
    pub drawn: Drawn,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyPart {
    pub name: String,
    pub notes: String,
    pub digest: String,
    pub metric: String,
    /// `larger is better` or `smaller is better`.
    pub goal: &'static str,
    pub task: &'static str,
    pub data: String,
    pub data_digest: String,
    pub target: String,
    pub rows: u64,
    /// What the primary metric is, in one sentence.
    pub metric_meaning: String,
    /// Class names, and which one is positive when there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<String>,
    /// What became of empty cells.
    pub empty_cells: &'static str,
    /// Columns that are not features.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// How columns became numbers.
    pub features: &'static str,
    /// The column whose groups no split parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// The column whose values are tested one after another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// The split in words.
    pub split: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DesignPart {
    pub arms: u64,
    /// Over all arms.
    pub configs: u64,
    /// Levels of each seed factor.
    pub seeds: BTreeMap<String, u32>,
    pub partitions: u32,
    pub outer_folds: u32,
    /// Absent without them, as is the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_folds: Option<u32>,
    /// How configs are chosen, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choosing: Option<String>,
    /// Of a nested study, the refits that are reported.
    pub planned: u64,
    pub complete: u64,
    /// Diverged ones included.
    pub failed: u64,
    pub diverged: u64,
    pub cancelled: u64,
    /// Complete, but the metric is not defined on their test rows.
    pub undefined: u64,
    pub diverged_policy: &'static str,
    pub missing: Vec<Missing>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    pub arm: String,
    pub config: String,
    pub reason: String,
    pub trials: u64,
    /// The first of them, where each is worth a look: those that killed whoever trained them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<u64>,
}

/// An answer in plain words, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    #[serde(rename = "verdict_kind")]
    pub kind: VerdictKind,
    #[serde(rename = "verdict")]
    pub text: String,
    /// What the text rests on: target, rows, seeds, folds, failed runs, class of seed use.
    #[serde(rename = "verdict_basis")]
    pub basis: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    Clear,
    /// Of several comparisons some are clear, but no arm is ahead of every other.
    PartlyClear,
    NotShown,
    /// The difference is smaller than what counts.
    Equivalent,
    /// One arm on one test set: its best seed is what luck gives.
    Lottery,
    NotEstimable,
    /// One arm: nothing is compared.
    Described,
}

impl VerdictKind {
    pub fn title(self) -> &'static str {
        match self {
            VerdictKind::Clear => "Clear",
            VerdictKind::PartlyClear => "Partly clear",
            VerdictKind::NotShown => "Not shown",
            VerdictKind::Equivalent => "Equivalent",
            VerdictKind::Lottery => "Lottery",
            VerdictKind::NotEstimable => "Not estimable",
            VerdictKind::Described => "Described",
        }
    }
}

/// A 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    pub level: f64,
    pub method: &'static str,
    /// What a repetition would draw anew: T1 seeds, T2 training samples and seeds, T3 test rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Target {
    /// The same rows and folds, new seeds.
    T1,
    /// A new training sample of the same size, and new seeds.
    T2,
    /// These very trained models, and new test rows.
    T3,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmPart {
    pub arm: String,
    pub model: &'static str,
    /// Model and hyperparameters in words.
    pub training: String,
    pub n: u64,
    pub failed: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub other_rows: Option<OtherRows>,
    pub configs: Vec<ConfigPart>,
    /// The study's other metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<AlsoPart>,
    /// Findings a reader should know before trusting the numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// An arm's scores, over all its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    pub mean: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    pub median: f64,
    pub iqm: f64,
    pub min: f64,
    pub max: f64,
    /// Least and largest mean of one seed over the folds and configs that all its peers have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_max: Option<f64>,
    /// Standard errors of the mean over new seeds, and over new samples, with their intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se_t1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_t1: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se_t2: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_t2: Option<Interval>,
    /// Whether any of these intervals was cut where the metric ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Where one more run of this arm is expected: T2 with a new seed on a new fold, T1 with a new
    /// seed on the same test rows, where no spread between test sets was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Interval>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigPart {
    pub config: String,
    pub n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    #[serde(flatten)]
    pub errors: MeanErrors,
}

/// How far a mean would move over new seeds (T1), and over new training samples (T2).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MeanErrors {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se_t1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_t1: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se_t2: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_t2: Option<Interval>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlsoPart {
    pub metric: String,
    pub n: u64,
    pub mean: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
}

/// One source of spread in one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentPart {
    /// Absent for the model over all arms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    pub factor: String,
    pub levels: u64,
    pub variance: f64,
    pub sd: f64,
    /// Of the sum of all variances of this model.
    pub share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_sd: Option<Interval>,
    pub method: &'static str,
    /// Chance of a variance this far from zero when there is none; absent for the residual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    pub at_boundary: bool,
    pub meaning: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotEstimable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// Absent when no component of the model is estimable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<String>,
    pub why: String,
}

/// Two arms on the folds and seeds that both have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonPart {
    pub a: String,
    pub b: String,
    /// Seed and fold cells in which every config of both arms has a score.
    pub cells: u64,
    pub folds: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// What the difference means for further runs.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub other_rows: Option<OtherRows>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a difference between two arms says of runs that are not made yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// The difference in standard deviations of a single run, what all arms share aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardized: Option<f64>,
    pub rope: Rope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_a_beats_b_ci: Option<Interval>,
    /// Of the arm that wins more pairs, against Bouthillier's bar of 0.75.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_a_beats_b_judged: Option<&'static str>,
    pub precision: Precision,
    pub replication: ReplicationPart,
    pub worth: Worth,
}

/// Chances after the data that a difference matters (Bayesian correlated t-test).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Differences up to this are held for none.
    pub width: f64,
    /// The first arm is better by more than that.
    pub p_a: f64,
    pub p_equal: f64,
    pub p_b: f64,
}

/// What designs of other sizes would show (T2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Precision {
    /// Standard deviations of the difference of two runs on the same fold and seed.
    pub sd_fold: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd_seed: Option<f64>,
    pub sd_residual: f64,
    pub half_width_now: f64,
    /// A true difference that this design finds in 80 of 100 studies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectable: Option<f64>,
    /// Half-width that no number of seeds on these folds goes below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Of the cost of a design what each fold takes however many seeds it has: choosing configs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold_seconds: Option<f64>,
    pub table: Vec<PlannedDesign>,
    /// The cheapest design that finds a difference as large as the observed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<PlannedDesign>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlannedDesign {
    pub seeds: u32,
    /// Over all partitions.
    pub folds: u32,
    /// Agent-seconds for both arms, at what this study's runs took.
    pub cost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
    /// Chance of finding a difference as large as the observed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
}

/// Chances of a second study of the same design, and of single runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReplicationPart {
    pub same_sign: f64,
    pub significant_again: f64,
    /// One fresh run of the better arm beats one of the other on the same new fold.
    pub fresh_run: f64,
    /// Absent where rows have no scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_seed: Option<OneSeedPaper>,
}

/// What a paper would report that trains each arm once and compares both on one test set, by a paired
/// test over its rows, if the difference is what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OneSeedPaper {
    /// Of its test set.
    pub rows: u64,
    /// The standard error that it believes in.
    pub se: f64,
    /// Chance of p < 0.05, and of that with the wrong arm ahead.
    pub significant: f64,
    pub wrong: f64,
    /// By what factor a difference with p < 0.05 overstates the true one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exaggeration: Option<f64>,
}

/// Mean of a minus mean of b, over folds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contrast {
    pub difference: f64,
    pub se: f64,
    pub df: f64,
    pub ci: Interval,
    pub p: f64,
    /// `p` after Holm's step for all comparisons of this report.
    pub p_holm: f64,
    /// Of the mixed model, for T2; `None` where seeds or folds are too few for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_mixed: Option<f64>,
    /// Of the mixed model as it stands, with folds taken for independent samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_model: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_model: Option<Interval>,
    /// The corrected resampled t test over fold means, which leaves the seeds' own variance out.
    pub se_corrected: f64,
    pub df_corrected: f64,
    pub p_corrected: f64,
    pub ci_corrected: Interval,
    pub se_naive: f64,
    pub ci_naive: Interval,
    pub p_naive: f64,
    /// Folds and seeds resampled whole, which asks nothing of the shape of the scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_bootstrap: Option<Interval>,
    /// `p` with scores on the logit scale, for metrics between 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_logit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_t1: Option<Interval>,
    /// Share of cells in which a had the better score; ties count half.
    pub p_a_beats_b: f64,
    pub folds_a_better: u64,
    pub seeds: u64,
    pub seeds_a_better: u64,
    pub seeds_b_better: u64,
    pub target: Target,
    pub method: &'static str,
}

/// How seeds are used, after Bethard (2022).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedUse {
    pub class: &'static str,
    pub risky: bool,
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend_cost: Option<MendCost>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MendCost {
    pub trials: u64,
    pub agent_seconds: f64,
}

/// Whether the same training gave the same outcome, where it was done twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Determinism {
    /// Outcomes that came again and differed from the one that stands.
    pub violations: u64,
    /// The first of them, by trial.
    pub trials: Vec<ViolationPart>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViolationPart {
    pub trial: u64,
    /// The cell of the design in words.
    pub cell: String,
    /// The first 64 bits of the outcome's digest, of the one that stands and of the later one.
    pub stands: String,
    pub later: String,
    /// Who gave the later one.
    pub agent: String,
}

/// What the figures show beyond the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    pub arms: Vec<ArmDrawn>,
    pub effects: Vec<SeedEffects>,
    pub further: Further,
    /// Unix milliseconds at which complete trials ended, ascending.
    pub ended: Vec<u64>,
}

/// One arm's scores: every run, and one mean a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmDrawn {
    pub arm: String,
    /// Ascending.
    pub runs: Vec<f64>,
    /// Label and mean of each seed, in seed order.
    pub seeds: Vec<(String, f64)>,
}

/// Predicted effects of one seed factor's levels in one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedEffects {
    pub arm: String,
    pub factor: String,
    /// Level, effect, conditional standard deviation; in order of the effect.
    pub levels: Vec<(String, f64, f64)>,
}

/// First key of `report.json`; changes when a key changes its meaning.
pub const SCHEMA: &str = "seedsweep.report/1";

/// The level of every interval.
pub const LEVEL: f64 = 0.95;
