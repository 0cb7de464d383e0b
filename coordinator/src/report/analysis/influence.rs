//! How much each row moves a metric: its part in the mean, or the metric's slope at the row.
//!
//! A metric over resampled rows is its value plus the mean of the influences of the rows drawn, to
//! first order; for a mean over rows that is exact. For the area under the ROC curve the influences
//! are the placements of DeLong et al. (1988, Biometrics 44). Deliberately absent: the average
//! precision, whose slope is not that of a few sums, and whatever more than two classes need, since
//! only the probability of the true one is kept.
//!
//! Floor: core.

use common::metric::Metric;
use common::study::{Study, Task};

use super::cases::CaseScore;
use super::places::{NO_TABLE, Places};

/// A metric that rows can be resampled for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A mean over rows.
    Mean(CaseScore),
    Rmse,
    R2,
    Auroc,
    BalancedAccuracy,
    F1,
}

/// One run's metric, worked out again from its rows, and each row's influence on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    pub metric: f64,
    /// They average to zero. Of a mean: the row's score minus the mean.
    pub rows: Vec<f64>,
}

impl Form {
    /// Errors: in words, why rows cannot be resampled for the study's metric.
    pub fn of(study: &Study, places: &Places<'_>) -> Result<Self, String> {
        let metric = study.primary();
        let two = match &study.data.task {
            Task::Classification { classes } => classes.len() == 2,
            Task::Regression => true,
            Task::Segmentation { .. } => false,
        };
        let case = CaseScore::of(study);
        let form = match metric {
            Metric::Mae | Metric::LogLoss => Form::Mean(case),
            Metric::Rmse => Form::Rmse,
            Metric::R2 => Form::R2,
            Metric::Dice | Metric::Iou | Metric::Hausdorff95 => {
                return Err(format!(
                    "{metric} is a mean over cases, and of each row its mean dice alone is kept"
                ));
            }
            Metric::Auprc => {
                return Err(format!("{metric} cannot be written as parts of single rows"));
            }
            _ if !two => {
                return Err(format!(
                    "{metric} of more than two classes needs each class's probability, and the \
                     true class's alone is kept"
                ));
            }
            Metric::Accuracy | Metric::Brier => Form::Mean(case),
            Metric::Auroc => Form::Auroc,
            Metric::BalancedAccuracy => Form::BalancedAccuracy,
            Metric::F1 => Form::F1,
        };
        let needs_truth = !matches!(form, Form::Mean(_) | Form::Rmse);
        if needs_truth && places.data().is_none() {
            return Err(format!(
                "{metric} of other rows needs the truth of each row, and {NO_TABLE}"
            ));
        }
        Ok(form)
    }

    /// Whether the influences are a slope rather than the metric's own parts.
    pub fn is_slope(self) -> bool {
        !matches!(self, Form::Mean(_))
    }

    /// Of a run on `block` with the kept `rows`; `None` where the metric is not defined for them.
    pub fn influence(self, places: &Places<'_>, block: u32, rows: &[f32]) -> Option<Influence> {
        let found = match self {
            Form::Mean(case) => mean_of(rows.iter().map(|row| case.value(*row)).collect()),
            Form::Rmse => {
                let squares = mean_of(squared(rows));
                let root = squares.metric.sqrt();
                scaled(squares, root, 0.5 / root)
            }
            Form::R2 => r2(rows, &places.targets(block)?),
            Form::Auroc => auroc(rows, &places.classes(block)?),
            Form::BalancedAccuracy => balanced_accuracy(rows, &places.classes(block)?),
            Form::F1 => f1(rows, &places.classes(block)?),
        };
        let finite = found.metric.is_finite() && found.rows.iter().all(|value| value.is_finite());
        (finite && found.rows.len() == rows.len()).then_some(found)
    }
}

fn squared(rows: &[f32]) -> Vec<f64> {
    rows.iter().map(|row| f64::from(*row).powi(2)).collect()
}

fn mean_of(values: Vec<f64>) -> Influence {
    let metric = values.iter().sum::<f64>() / values.len() as f64;
    Influence { metric, rows: values.into_iter().map(|value| value - metric).collect() }
}

/// A smooth function of a mean: its value there, and its slope times the influences.
fn scaled(of: Influence, metric: f64, slope: f64) -> Influence {
    Influence { metric, rows: of.rows.into_iter().map(|value| slope * value).collect() }
}

/// `1 - mean e² / mean (t - mean t)²`; rows are `e`.
fn r2(rows: &[f32], truth: &[f64]) -> Influence {
    let errors = mean_of(squared(rows));
    let centre = truth.iter().sum::<f64>() / truth.len() as f64;
    let spread = mean_of(truth.iter().map(|value| (value - centre).powi(2)).collect());
    let share = errors.metric / spread.metric;
    let parts = errors.rows.iter().zip(&spread.rows);
    Influence {
        metric: 1.0 - share,
        rows: parts.map(|(error, of_t)| (share * of_t - error) / spread.metric).collect(),
    }
}

/// The probability of the second class, which is the positive one.
fn positive(row: f32, class: u32) -> f64 {
    if class == 1 { f64::from(row) } else { 1.0 - f64::from(row) }
}

/// Placements: of a positive row the share of negative ones below it, of a negative row that of
/// positive ones above it, ties counting half.
fn auroc(rows: &[f32], classes: &[u32]) -> Influence {
    let scores: Vec<f64> =
        rows.iter().zip(classes).map(|(row, class)| positive(*row, *class)).collect();
    let of = |wanted: u32| -> Vec<f64> {
        let both = scores.iter().zip(classes);
        let mut own: Vec<f64> =
            both.filter(|(_, class)| **class == wanted).map(|(score, _)| *score).collect();
        own.sort_by(f64::total_cmp);
        own
    };
    let (negatives, positives) = (of(0), of(1));
    let below = |sorted: &[f64], score: f64| {
        let less = sorted.partition_point(|other| *other < score);
        let not_above = sorted.partition_point(|other| *other <= score);
        (less + not_above) as f64 / (2 * sorted.len()) as f64
    };
    let placement = |(score, class): (&f64, &u32)| match class {
        1 => below(&negatives, *score),
        _ => 1.0 - below(&positives, *score),
    };
    let placements: Vec<f64> = scores.iter().zip(classes).map(placement).collect();
    // Either class's placements average to the area, and each class adds its own luck to it.
    let halved = by_class(&placements, classes);
    let metric = halved.metric;
    scaled(halved, metric, 2.0)
}

/// The mean over both classes of the mean of `values` in each.
fn by_class(values: &[f64], classes: &[u32]) -> Influence {
    let count = |wanted: u32| classes.iter().filter(|class| **class == wanted).count() as f64;
    let mean = |wanted: u32| {
        let own = values.iter().zip(classes).filter(|(_, class)| **class == wanted);
        own.map(|(value, _)| value).sum::<f64>() / count(wanted)
    };
    let (counts, means) = ([count(0), count(1)], [mean(0), mean(1)]);
    let all = values.len() as f64;
    let part = |(value, class): (&f64, &u32)| {
        let class = usize::from(*class == 1);
        0.5 * all / counts[class] * (value - means[class])
    };
    Influence {
        metric: (means[0] + means[1]) / 2.0,
        rows: values.iter().zip(classes).map(part).collect(),
    }
}

fn balanced_accuracy(rows: &[f32], classes: &[u32]) -> Influence {
    let right: Vec<f64> = rows.iter().map(|row| CaseScore::Correct.value(*row)).collect();
    by_class(&right, classes)
}

/// `2 TP / (2 TP + FP + FN)`, a ratio of two sums over rows.
fn f1(rows: &[f32], classes: &[u32]) -> Influence {
    let counts = |(row, class): (&f32, &u32)| match (positive(*row, *class) > 0.5, *class == 1) {
        (true, true) => (2.0, 2.0),
        (true, false) | (false, true) => (0.0, 1.0),
        (false, false) => (0.0, 0.0),
    };
    let parts: Vec<(f64, f64)> = rows.iter().zip(classes).map(counts).collect();
    let all = parts.len() as f64;
    let above = parts.iter().map(|(hit, _)| hit).sum::<f64>() / all;
    let below = parts.iter().map(|(_, seen)| seen).sum::<f64>() / all;
    let metric = above / below;
    let slope = |(hit, seen): (f64, f64)| (hit - metric * seen) / below;
    Influence { metric, rows: parts.into_iter().map(slope).collect() }
}

#[cfg(test)]
mod tests {
    use common::metric::score::{Predictions, score};

    use super::*;

    const TRUTH: [u32; 8] = [1, 0, 1, 1, 0, 0, 1, 0];
    /// Of the positive class; row 3 ties with row 4.
    const SAID: [f32; 8] = [0.9, 0.2, 0.4, 0.55, 0.55, 0.6, 0.75, 0.1];

    fn of_true(said: &[f32], truth: &[u32]) -> Vec<f32> {
        let both = said.iter().zip(truth);
        both.map(|(p, class)| if *class == 1 { *p } else { 1.0 - p }).collect()
    }

    /// The metric with row `row` counted `1 + step` times, by counting every row many times.
    fn weighed(metric: Metric, row: usize, times: usize) -> f64 {
        let mut said = SAID.repeat(times);
        let mut truth = TRUTH.repeat(times);
        said.push(SAID[row]);
        truth.push(TRUTH[row]);
        let probabilities: Vec<f32> = said.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let classes = 2;
        score(
            metric,
            &Predictions::Classes { probabilities: &probabilities, classes, truth: &truth },
        )
    }

    #[test]
    fn an_influence_is_what_one_more_of_a_row_does_to_the_metric() {
        let rows = of_true(&SAID, &TRUTH);
        let found = [
            (Metric::Auroc, auroc(&rows, &TRUTH)),
            (Metric::BalancedAccuracy, balanced_accuracy(&rows, &TRUTH)),
            (Metric::F1, f1(&rows, &TRUTH)),
            (Metric::LogLoss, mean_of(rows.iter().map(|r| CaseScore::LogLoss.value(*r)).collect())),
        ];
        let times = 4_000;
        for (metric, found) in found {
            assert!(found.rows.iter().sum::<f64>().abs() < 1e-12, "{metric}");
            for (row, influence) in found.rows.iter().enumerate() {
                let step = (weighed(metric, row, times) - found.metric) * (8 * times + 1) as f64;
                assert!((step - influence).abs() < 2e-3, "{metric} {row}: {step} {influence}");
            }
        }
    }

    #[test]
    fn a_regressions_influences_are_slopes_too() {
        let (truth, errors) = ([1.0, 2.0, 4.0, 7.0], [0.5f32, -0.25, 1.0, -0.75]);
        let times = 4_000;
        let metric = |kind: Metric, row: usize| {
            let mut of_t: Vec<f32> = truth.map(|t| t as f32).repeat(times);
            let mut of_e = errors.repeat(times);
            of_t.push(truth[row] as f32);
            of_e.push(errors[row]);
            let predicted: Vec<f32> = of_t.iter().zip(&of_e).map(|(t, e)| t + e).collect();
            score(kind, &Predictions::Values { predicted: &predicted, truth: &of_t })
        };
        let squares = mean_of(squared(&errors));
        let root = squares.metric.sqrt();
        for (kind, found) in
            [(Metric::R2, r2(&errors, &truth)), (Metric::Rmse, scaled(squares, root, 0.5 / root))]
        {
            for (row, influence) in found.rows.iter().enumerate() {
                let step = (metric(kind, row) - found.metric) * (4 * times + 1) as f64;
                assert!((step - influence).abs() < 2e-3, "{kind} {row}: {step} {influence}");
            }
        }
    }
}
