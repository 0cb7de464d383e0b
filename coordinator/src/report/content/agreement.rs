//! What an arm's components say of single runs, as data.
//!
//! Floor: core.

use serde::Serialize;

/// How alike one arm's runs are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgreementPart {
    pub arm: String,
    /// Standard deviation of runs that differ in nothing but chance: the same fold, another seed.
    /// Absent for one seed, and for several configs, whose leanings to folds are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeatability_sd: Option<f64>,
    /// Intraclass correlations: shares of the variance of one run that its seed and its fold bring
    /// along, all configs of the arm alike. Absent where seeds, or folds, did not vary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icc_seed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icc_fold: Option<f64>,
    /// Absent for one config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configs: Option<ConfigAgreement>,
}

/// Generalizability coefficients of configs' means over all seeds and folds (Brennan, 2001). They err
/// low: all of the residual is taken for configs' leanings to folds, which seeds do not average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConfigAgreement {
    /// How well configs keep their order.
    pub relative: f64,
    /// How well a mean stands for the config's own, the level of these folds and seeds included.
    pub absolute: f64,
}
