//! Metrics: their names, their direction, and which task each belongs to.
//!
//! A metric's direction is its own; nothing asks the user for "maximize".
//!
//! Floor: common.

pub mod score;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A measure of a trained model on its test rows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Auroc,
    Auprc,
    Accuracy,
    BalancedAccuracy,
    F1,
    LogLoss,
    Brier,
    Rmse,
    Mae,
    R2,
}

impl Metric {
    pub const ALL: [Metric; 10] = [
        Metric::Auroc,
        Metric::Auprc,
        Metric::Accuracy,
        Metric::BalancedAccuracy,
        Metric::F1,
        Metric::LogLoss,
        Metric::Brier,
        Metric::Rmse,
        Metric::Mae,
        Metric::R2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Metric::Auroc => "auroc",
            Metric::Auprc => "auprc",
            Metric::Accuracy => "accuracy",
            Metric::BalancedAccuracy => "balanced_accuracy",
            Metric::F1 => "f1",
            Metric::LogLoss => "log_loss",
            Metric::Brier => "brier",
            Metric::Rmse => "rmse",
            Metric::Mae => "mae",
            Metric::R2 => "r2",
        }
    }

    pub fn is_classification(self) -> bool {
        !matches!(self, Metric::Rmse | Metric::Mae | Metric::R2)
    }

    /// Whether a larger value is a better model.
    pub fn larger_is_better(self) -> bool {
        !matches!(self, Metric::LogLoss | Metric::Brier | Metric::Rmse | Metric::Mae)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Metric::ALL.into_iter().find(|metric| metric.name() == text).ok_or(())
    }
}
