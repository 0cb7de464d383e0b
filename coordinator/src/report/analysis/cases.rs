//! Scores of single rows: which outcomes hold them, and what a row is scored by.
//!
//! A row's score is kept as the probability given to its true class, or as prediction minus truth.
//! Rows of one fold lie in one order in every outcome, so that two runs on one fold are paired row
//! by row. Deliberately absent: which row of the table a place in a fold is.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::Design;
use common::metric::Metric;
use common::study::{ROWS_KEPT_MAX, Study, Task};
use common::wire::message::RowEnd;

use super::super::Material;
use super::super::number::{count, counted};
use super::super::table::in_trial_order;

/// The runs of each judged arm that have a score and scores of their rows, in trial order.
#[derive(Clone, Debug, PartialEq)]
pub struct Cases<'a> {
    pub arms: Vec<Vec<CaseRun<'a>>>,
    /// Runs with a score that came without scores of their rows, and are not among these.
    pub without: u64,
}

/// One run with its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRun<'a> {
    pub config: u32,
    pub seeds: Vec<u32>,
    /// Number of the outer fold over all partitions.
    pub block: u32,
    /// The primary metric.
    pub score: f64,
    /// In the fold's order.
    pub rows: &'a [f32],
}

/// What one row is scored by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CaseScore {
    LogLoss,
    /// (1 − p)², with p of the true class: the Brier score of two classes.
    Brier,
    /// 1 where the true class of two is the likelier one, 0 where it is not, ½ between.
    Correct,
    /// The probability given to the true class.
    Probability,
    AbsoluteError,
    SquaredError,
    /// Mean over the foreground classes of one row's masks: the metric, where each row is a case.
    Dice,
    /// The same, where the metric is another one or counts rows of a case together.
    DiceOfRow,
}

impl<'a> Cases<'a> {
    /// Errors: in words, why no row has a score.
    pub fn open(material: &Material<'a>) -> Result<Self, String> {
        let study = material.study;
        let design = Design::of(study);
        let mut arms = vec![Vec::new(); study.judged().len()];
        let (mut with, mut without) = (0u64, 0u64);
        let mut lengths: BTreeMap<u32, usize> = BTreeMap::new();
        for row in in_trial_order(material.rows, &design) {
            let RowEnd::Complete(outcome) = &row.end else { continue };
            let Some(key) = design.key(row.trial) else { continue };
            let score = outcome.metrics.first().copied().filter(|score| score.is_finite());
            let (Some(score), Some(runs)) = (score, arms.get_mut(key.arm as usize)) else {
                continue;
            };
            let block = key.partition * study.outer.folds + key.fold;
            let whole = !outcome.rows.is_empty() && outcome.rows.iter().all(|row| row.is_finite());
            // Rows of one fold are paired: an outcome with another number of them is of no use.
            if !whole || *lengths.entry(block).or_insert(outcome.rows.len()) != outcome.rows.len() {
                without += 1;
                continue;
            }
            with += 1;
            let (config, seeds, rows) = (key.config, key.seeds, outcome.rows.as_slice());
            runs.push(CaseRun { config, seeds, block, score, rows });
        }
        match (with, without) {
            (0, 0) => Err("no run has a score".to_string()),
            (0, _) if !study.keeps_rows() => Err(format!(
                "outcomes on more than {} test rows keep no score of each row",
                count(ROWS_KEPT_MAX)
            )),
            (0, without) => {
                Err(format!("{} came without a score of each row", counted(without, "outcome")))
            }
            _ => Ok(Self { arms, without }),
        }
    }
}

impl CaseScore {
    /// By the study's primary metric; the probability of the true class, or the squared error, where
    /// that metric is not a mean over rows.
    pub fn of(study: &Study) -> Self {
        let two =
            matches!(&study.data.task, Task::Classification { classes } if classes.len() == 2);
        match study.primary() {
            Metric::LogLoss => CaseScore::LogLoss,
            Metric::Brier if two => CaseScore::Brier,
            Metric::Accuracy if two => CaseScore::Correct,
            Metric::Mae => CaseScore::AbsoluteError,
            Metric::Rmse | Metric::R2 => CaseScore::SquaredError,
            Metric::Auroc
            | Metric::Auprc
            | Metric::Accuracy
            | Metric::BalancedAccuracy
            | Metric::F1
            | Metric::Brier => CaseScore::Probability,
            Metric::Dice if study.data.group.is_none() => CaseScore::Dice,
            Metric::Dice | Metric::Iou | Metric::Hausdorff95 => CaseScore::DiceOfRow,
        }
    }

    pub fn value(self, row: f32) -> f64 {
        let wide = f64::from(row);
        match self {
            CaseScore::LogLoss => -f64::from(row.clamp(f32::EPSILON, 1.0 - f32::EPSILON)).ln(),
            CaseScore::Brier => (1.0 - wide).powi(2),
            CaseScore::Correct => match row {
                row if row > 0.5 => 1.0,
                row if row < 0.5 => 0.0,
                _ => 0.5,
            },
            CaseScore::Probability | CaseScore::Dice | CaseScore::DiceOfRow => wide,
            CaseScore::AbsoluteError => wide.abs(),
            CaseScore::SquaredError => wide * wide,
        }
    }

    pub fn larger_is_better(self) -> bool {
        matches!(
            self,
            CaseScore::Correct | CaseScore::Probability | CaseScore::Dice | CaseScore::DiceOfRow
        )
    }

    /// Whether the mean over rows is the primary metric, or rises and falls with it on one test set.
    pub fn is_the_metrics(self) -> bool {
        !matches!(self, CaseScore::Probability | CaseScore::DiceOfRow)
    }

    /// As in "each row is scored by …".
    pub fn in_words(self) -> &'static str {
        match self {
            CaseScore::LogLoss => "minus the logarithm of the probability given to its true class",
            CaseScore::Brier => "the squared distance of its predicted probability from the truth",
            CaseScore::Correct => "whether it was put into its true class",
            CaseScore::Probability => "the probability given to its true class",
            CaseScore::AbsoluteError => "its absolute error",
            CaseScore::SquaredError => "its squared error",
            CaseScore::Dice | CaseScore::DiceOfRow => {
                "its dice, averaged over the classes of its masks"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_scored_as_the_metric_scores_them() {
        use common::metric::score::{Predictions, score};
        let probabilities = [0.8f32, 0.2, 0.35, 0.65, 0.45, 0.55];
        let truth = [0u32, 1, 0];
        let of_true: Vec<f32> =
            probabilities.chunks(2).zip(truth).map(|(row, class)| row[class as usize]).collect();
        let said =
            Predictions::Classes { probabilities: &probabilities, classes: 2, truth: &truth };
        for (metric, case) in [
            (Metric::LogLoss, CaseScore::LogLoss),
            (Metric::Brier, CaseScore::Brier),
            (Metric::Accuracy, CaseScore::Correct),
        ] {
            let mean = of_true.iter().map(|row| case.value(*row)).sum::<f64>() / 3.0;
            assert!((mean - score(metric, &said)).abs() < 1e-6, "{metric}: {mean}");
        }
        let predicted = [1.0f32, 2.5, -1.0];
        let truth = [0.5f32, 2.0, 1.0];
        let errors: Vec<f32> = predicted.iter().zip(&truth).map(|(p, t)| p - t).collect();
        let said = Predictions::Values { predicted: &predicted, truth: &truth };
        let mean = |case: CaseScore| errors.iter().map(|row| case.value(*row)).sum::<f64>() / 3.0;
        assert_eq!(mean(CaseScore::AbsoluteError), score(Metric::Mae, &said));
        assert_eq!(mean(CaseScore::SquaredError).sqrt(), score(Metric::Rmse, &said));
    }
}
