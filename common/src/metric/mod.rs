//! Metrics: their names, their direction, and which task each belongs to.
//!
//! A metric's direction is its own; nothing asks the user for "maximize".
//!
//! Floor: common.

mod masks;
pub mod score;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use masks::case_dice;

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
    /// Of segmentation, as are the next two: means over cases.
    Dice,
    Iou,
    Hausdorff95,
}

impl Metric {
    pub const ALL: [Metric; 13] = [
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
        Metric::Dice,
        Metric::Iou,
        Metric::Hausdorff95,
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
            Metric::Dice => "dice",
            Metric::Iou => "iou",
            Metric::Hausdorff95 => "hausdorff95",
        }
    }

    pub fn is_classification(self) -> bool {
        !matches!(self, Metric::Rmse | Metric::Mae | Metric::R2) && !self.is_segmentation()
    }

    pub fn is_segmentation(self) -> bool {
        matches!(self, Metric::Dice | Metric::Iou | Metric::Hausdorff95)
    }

    /// Whether a larger value is a better model.
    pub fn larger_is_better(self) -> bool {
        !matches!(
            self,
            Metric::LogLoss | Metric::Brier | Metric::Rmse | Metric::Mae | Metric::Hausdorff95
        )
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
