//! What the report on a table says, as data: its `report.json` is this.
//!
//! Keys are stable under [`SCHEMA`]; what the table does not tell is an absent key.
//!
//! Floor: core.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::content::{ArmDrawn, ComponentPart, Contrast, Scores, Verdict};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tabled {
    pub schema: &'static str,
    pub table: String,
    pub metric: String,
    /// `larger is better` or `smaller is better`.
    pub goal: &'static str,
    /// Role → column.
    pub roles: BTreeMap<String, String>,
    /// How the table was read, in sentences.
    pub understood: Vec<String>,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub arms: Vec<ArmPart>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<PairPart>,
    pub model: FitPart,
    pub methods: String,
    pub references: Vec<&'static str>,
    pub reproduce: String,
    /// What only the figures show.
    #[serde(skip)]
    pub drawn: Vec<ArmDrawn>,
    #[serde(skip)]
    pub components: Vec<ComponentPart>,
}

/// One arm, or all rows where no column names arms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmPart {
    pub arm: String,
    /// Observations.
    pub n: u64,
    #[serde(flatten)]
    pub scores: Scores,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairPart {
    pub a: String,
    pub b: String,
    /// Seeds and folds that both have.
    pub cells: u64,
    pub folds: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The difference by the mixed model, where arms are its fixed effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed: Option<FixedPart>,
}

/// The mixed model, as `coordinator analyze --json` answers it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitPart {
    pub formula: String,
    /// `REML` or `ML`.
    pub method: &'static str,
    /// Rows.
    pub n: usize,
    /// Rows with a missing cell.
    pub left_out: usize,
    /// Factor → its levels.
    pub groups: BTreeMap<String, usize>,
    pub criterion: f64,
    pub loglik: f64,
    pub fixed: Vec<FixedPart>,
    /// Whose degrees of freedom tests of fixed effects have.
    pub df_method: &'static str,
    /// Differences of arms by this model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contrasts: Vec<ContrastPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapPart>,
    /// Why there is no bootstrap though one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_absent: Option<String>,
    /// Why fixed effects have no degrees of freedom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_absent: Option<String>,
    pub components: Vec<SpreadPart>,
    pub residual: SpreadPart,
    pub correlations: Vec<CorrelationPart>,
    pub between: Vec<BetweenPart>,
    /// Why components have no intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervals_absent: Option<String>,
    pub ranef: Vec<RanefPart>,
    pub fit: SearchPart,
}

/// A difference of two arms, and the same allowing for how many there are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContrastPart {
    #[serde(flatten)]
    pub test: FixedPart,
    pub p_adjusted: f64,
    /// Dunnett's, which holds for all of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_adjusted: Option<[f64; 2]>,
    /// `Holm` or `Dunnett`.
    pub method: &'static str,
}

/// A parametric bootstrap that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BootstrapPart {
    pub draws: usize,
    /// Refits that did not converge and were left out.
    pub failed: usize,
}

/// A fixed effect or a difference of two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixedPart {
    pub name: String,
    pub estimate: f64,
    pub se: f64,
    /// By [`FitPart::df_method`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub df: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<[f64; 2]>,
    /// By the profile of the full likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_profile: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_bootstrap: Option<[f64; 2]>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpreadPart {
    pub factor: String,
    pub term: String,
    pub levels: usize,
    pub variance: f64,
    pub sd: f64,
    pub share: f64,
    pub at_boundary: bool,
    /// By profile likelihood; an end without bound is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_sd: Option<[f64; 2]>,
    /// Chance of a variance this far from zero when there is none; absent for the residual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The exact restricted likelihood-ratio test, by simulation, where levels are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_exact: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_sd_bootstrap: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_share_bootstrap: Option<[f64; 2]>,
}

impl SpreadPart {
    /// The factor, and the covariate whose slopes differ between its levels.
    pub fn title(&self) -> String {
        match self.term.as_str() {
            "" | "(Intercept)" => self.factor.clone(),
            term => format!("{}, slope of {term}", self.factor),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorrelationPart {
    /// By profile likelihood; absent for terms of three effects or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci_bootstrap: Option<[f64; 2]>,
    pub factor: String,
    pub terms: [String; 2],
    pub covariance: f64,
    pub correlation: Option<f64>,
    pub share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BetweenPart {
    pub fixed: String,
    pub factors: Vec<String>,
}

/// Predicted effects of one component's levels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RanefPart {
    pub factor: String,
    pub term: String,
    pub levels: Vec<LevelPart>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelPart {
    pub level: String,
    pub mean: f64,
    pub sd: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchPart {
    pub evaluations: u32,
    pub converged: bool,
    pub gradient_norm: f64,
}

/// First key of the `report.json` on a table.
pub const SCHEMA: &str = "seedsweep.table/1";
