//! Calibration: studies whose truth is known go through the real analysis, and what the report claims
//! is held against it.
//!
//! Two kinds of studies are made: scores drawn from the model that the report assumes ([`scores`]),
//! and a learner that is really trained, on samples drawn anew from a known population
//! ([`learner`]). Everything follows from the setting and the study's number, so a count is the same
//! whoever makes it. Whether the rules that end a study early keep their error is [`sequential`]'s.
//! Deliberately absent: threads, and any analysis: `report::build` is the one that is judged.
//!
//! Floor: core.

mod learner;
mod scores;
pub mod sequential;
mod settings;
mod tally;

use common::study::Study;
use common::wire::message::OutcomeRow;

use crate::report::{self, Material};

pub use settings::{Kind, Noise, Scores, Setting, Spread, settings};
pub use tally::{Count, HEADLINE, MODEL_DIFFERENCE, NAIVE, T1_DIFFERENCE, T2_DIFFERENCE, Tally};

/// What is true of a study that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// First arm minus second, for new training samples and seeds (T2).
    pub difference: f64,
    /// The same on this study's folds, for new seeds (T1), where that is known.
    pub difference_on_folds: Option<f64>,
    /// Of the first arm, for T2 and T1.
    pub mean: f64,
    pub mean_on_folds: Option<f64>,
    /// A further run of the first arm, with a new seed on a new fold.
    pub next_run: Option<f64>,
    /// Standard deviations by model (an arm, or `all arms`) and factor.
    pub spread: Vec<(&'static str, &'static str, f64)>,
}

/// A study that was made: its outcomes and their truth.
#[derive(Clone, Debug)]
pub struct Made {
    pub study: Study,
    pub rows: Vec<OutcomeRow>,
    pub truth: Truth,
}

/// A setting with what is true in all of its studies.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub setting: Setting,
    /// True mean of each arm, where a learner is trained.
    means: [f64; 2],
}

impl Prepared {
    pub fn of(setting: Setting) -> Self {
        let means = match setting.kind {
            Kind::Scores(_) => [0.0; 2],
            Kind::Learner { rows, differ } => learner::truth(&setting, (rows, differ)),
        };
        Self { setting, means }
    }

    /// Makes study number `number`.
    pub fn make(&self, number: u64) -> Made {
        match &self.setting.kind {
            Kind::Scores(model) => scores::make(&self.setting, model, number),
            Kind::Learner { rows, differ } => {
                learner::make(&self.setting, (*rows, *differ), self.means, number)
            }
        }
    }

    /// Makes one study, analyses it as every study is, and counts what the report says of it.
    pub fn judge(&self, number: u64) -> Tally {
        let made = self.make(number);
        let material = Material::of(&made.study, &made.rows);
        Tally::of(&report::build(&material), &made.truth)
    }
}
