//! Metrics computed from predictions.
//!
//! Predictions are 32-bit, all sums are 64-bit, and the definitions are scikit-learn's, which
//! `tests/metrics.rs` holds them to. Where scikit-learn warns and returns a conventional number for
//! a metric that these rows do not define, the score is NaN here: a made-up zero would be averaged
//! like a real one. Deliberately absent: which metric a study wants, and what NaN means to it.
//!
//! Floor: common.

use super::Metric;
use super::masks::Masks;

/// What a model said about its test rows, and the truth.
#[derive(Clone, Copy, Debug)]
pub enum Predictions<'a> {
    Classes {
        /// [rows, classes], row-major; each row sums to 1.
        probabilities: &'a [f32],
        classes: usize,
        /// [rows], class indices; with two classes, class 1 is the positive one.
        truth: &'a [u32],
    },
    Values {
        predicted: &'a [f32],
        truth: &'a [f32],
    },
    Masks {
        /// [rows, height · width], class indices; class 0 surrounds the others.
        predicted: &'a [u8],
        truth: &'a [u8],
        /// Height and width.
        shape: [usize; 2],
        classes: usize,
        /// [rows]: rows with equal numbers are one case; without it each row is one.
        cases: Option<&'a [u32]>,
        /// [rows]: height and width of a pixel, in mm.
        spacing: Option<&'a [[f32; 2]]>,
    },
}

/// The value of `metric`; NaN where it is not defined for these rows.
///
/// Not defined: anything without rows, with a prediction that is not finite, or for the other kind
/// of task; auroc and auprc unless every class has a row and not all rows; f1 where neither truth
/// nor prediction holds the positive class; r2 where the truth does not vary. Masks that are empty
/// have a score by definition: `Masks::score`.
pub fn score(metric: Metric, predictions: &Predictions<'_>) -> f64 {
    match *predictions {
        Predictions::Classes { probabilities, classes, truth } => {
            let sound = classes >= 2
                && !truth.is_empty()
                && probabilities.len() == truth.len() * classes
                && probabilities.iter().all(|p| p.is_finite());
            if !sound {
                return f64::NAN;
            }
            of_classes(metric, &Classes { probabilities, classes, truth })
        }
        Predictions::Values { predicted, truth } => {
            let sound = !truth.is_empty()
                && predicted.len() == truth.len()
                && predicted.iter().all(|value| value.is_finite());
            if sound { of_values(metric, predicted, truth) } else { f64::NAN }
        }
        Predictions::Masks { predicted, truth, shape, classes, cases, spacing } => {
            let masks = Masks { predicted, truth, shape, classes, cases, spacing };
            if masks.is_sound() { masks.score(metric) } else { f64::NAN }
        }
    }
}

struct Classes<'a> {
    probabilities: &'a [f32],
    classes: usize,
    truth: &'a [u32],
}

impl Classes<'_> {
    /// Each row's probabilities and true class.
    fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let truth = self.truth.iter().map(|&class| class as usize);
        self.probabilities.chunks_exact(self.classes).zip(truth)
    }

    fn count(&self) -> f64 {
        self.truth.len() as f64
    }

    fn mean(&self, of_row: impl Fn(&[f32], usize) -> f64) -> f64 {
        self.rows().map(|(row, class)| of_row(row, class)).sum::<f64>() / self.count()
    }

    /// [classes, classes] counts, true class by predicted class.
    fn confusion(&self) -> Vec<Vec<f64>> {
        let mut counts = vec![vec![0.0; self.classes]; self.classes];
        for (row, class) in self.rows() {
            counts[class][likeliest(row)] += 1.0;
        }
        counts
    }

    /// `area` of class 1 with two classes, else its mean over each class against the rest.
    fn one_against_rest(&self, area: impl Fn(&[(f32, bool)]) -> f64) -> f64 {
        let of_class = |positive: usize| {
            let mut scored: Vec<(f32, bool)> =
                self.rows().map(|(row, class)| (row[positive], class == positive)).collect();
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            area(&scored)
        };
        if self.classes == 2 {
            return of_class(1);
        }
        (0..self.classes).map(of_class).sum::<f64>() / self.classes as f64
    }
}

fn of_classes(metric: Metric, rows: &Classes<'_>) -> f64 {
    match metric {
        Metric::Auroc => rows.one_against_rest(roc_area),
        Metric::Auprc => rows.one_against_rest(average_precision),
        Metric::Accuracy => rows.mean(|row, class| f64::from(likeliest(row) == class)),
        Metric::BalancedAccuracy => balanced_accuracy(&rows.confusion()),
        Metric::F1 => f1(&rows.confusion()),
        Metric::LogLoss => rows.mean(|row, class| {
            let clipped = row[class].clamp(f32::EPSILON, 1.0 - f32::EPSILON);
            -f64::from(clipped).ln()
        }),
        Metric::Brier if rows.classes == 2 => {
            rows.mean(|row, class| (f64::from(row[1]) - f64::from(u8::from(class == 1))).powi(2))
        }
        Metric::Brier => rows.mean(|row, class| {
            let misses = row.iter().enumerate();
            misses.map(|(c, &p)| (f64::from(p) - f64::from(u8::from(c == class))).powi(2)).sum()
        }),
        Metric::Rmse
        | Metric::Mae
        | Metric::R2
        | Metric::Dice
        | Metric::Iou
        | Metric::Hausdorff95 => f64::NAN,
    }
}

/// The first of the largest, as `argmax` of numpy.
fn likeliest(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, &p) in row.iter().enumerate() {
        if p > row[best] {
            best = class;
        }
    }
    best
}

/// Area under the ROC curve: the probability that a positive row scores above a negative one, ties
/// counting half (Mann and Whitney's U by mid-ranks).
///
/// `scored`: score and whether positive, by falling score.
fn roc_area(scored: &[(f32, bool)]) -> f64 {
    let (mut positives, mut negatives, mut above) = (0.0, 0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let hits = tied.iter().filter(|row| row.1).count() as f64;
        let misses = tied.len() as f64 - hits;
        above += misses * (positives + hits / 2.0);
        positives += hits;
        negatives += misses;
    }
    // 0/0 is the NaN that is wanted.
    above / (positives * negatives)
}

/// Average precision: Σ (recallₙ − recallₙ₋₁) · precisionₙ over the thresholds, without interpolation.
///
/// `scored`: score and whether positive, by falling score.
fn average_precision(scored: &[(f32, bool)]) -> f64 {
    let total = scored.iter().filter(|row| row.1).count() as f64;
    if total == 0.0 || total == scored.len() as f64 {
        return f64::NAN;
    }
    let (mut found, mut seen, mut area) = (0.0, 0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let hits = tied.iter().filter(|row| row.1).count() as f64;
        found += hits;
        seen += tied.len() as f64;
        area += hits / total * (found / seen);
    }
    area
}

/// Mean recall of the classes that have rows.
fn balanced_accuracy(confusion: &[Vec<f64>]) -> f64 {
    let recalls = confusion.iter().enumerate().filter_map(|(class, row)| {
        let rows: f64 = row.iter().sum();
        (rows > 0.0).then(|| row[class] / rows)
    });
    mean(recalls)
}

/// 2·TP / (2·TP + FP + FN) of class 1 with two classes, else its mean over the classes that are
/// true or predicted anywhere.
fn f1(confusion: &[Vec<f64>]) -> f64 {
    let of_class = |class: usize| {
        let hits = confusion[class][class];
        let truly: f64 = confusion[class].iter().sum();
        let predicted: f64 = confusion.iter().map(|row| row[class]).sum();
        (truly + predicted > 0.0).then(|| 2.0 * hits / (truly + predicted))
    };
    if confusion.len() == 2 {
        return of_class(1).unwrap_or(f64::NAN);
    }
    mean((0..confusion.len()).filter_map(of_class))
}

fn of_values(metric: Metric, predicted: &[f32], truth: &[f32]) -> f64 {
    let errors = || predicted.iter().zip(truth).map(|(&p, &t)| f64::from(p) - f64::from(t));
    match metric {
        Metric::Rmse => mean(errors().map(|error| error * error)).sqrt(),
        Metric::Mae => mean(errors().map(f64::abs)),
        Metric::R2 => {
            let centre = mean(truth.iter().map(|&t| f64::from(t)));
            let spread: f64 = truth.iter().map(|&t| (f64::from(t) - centre).powi(2)).sum();
            if spread == 0.0 {
                return f64::NAN;
            }
            1.0 - errors().map(|error| error * error).sum::<f64>() / spread
        }
        _ => f64::NAN,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary<'a>(probabilities: &'a [f32], truth: &'a [u32]) -> Predictions<'a> {
        Predictions::Classes { probabilities, classes: 2, truth }
    }

    #[test]
    fn a_tie_between_a_positive_and_a_negative_counts_half() {
        let rows = binary(&[0.5, 0.5, 0.5, 0.5], &[0, 1]);
        assert_eq!(score(Metric::Auroc, &rows), 0.5);
    }

    #[test]
    fn one_class_alone_has_no_area() {
        for truth in [[1, 1], [0, 0]] {
            let rows = binary(&[0.3, 0.7, 0.6, 0.4], &truth);
            assert!(score(Metric::Auroc, &rows).is_nan());
            assert!(score(Metric::Auprc, &rows).is_nan());
        }
    }

    #[test]
    fn f1_without_a_positive_anywhere_is_not_defined() {
        let rows = binary(&[0.9, 0.1, 0.8, 0.2], &[0, 0]);
        assert!(score(Metric::F1, &rows).is_nan());
    }

    #[test]
    fn a_missing_class_leaves_the_macro_area_undefined() {
        let rows = Predictions::Classes {
            probabilities: &[0.6, 0.3, 0.1, 0.2, 0.7, 0.1],
            classes: 3,
            truth: &[0, 1],
        };
        assert!(score(Metric::Auroc, &rows).is_nan());
        assert_eq!(score(Metric::BalancedAccuracy, &rows), 1.0);
    }

    #[test]
    fn log_loss_of_a_certain_error_is_finite() {
        let rows = binary(&[1.0, 0.0], &[1]);
        assert_eq!(score(Metric::LogLoss, &rows), -f64::from(f32::EPSILON).ln());
    }

    #[test]
    fn predictions_that_are_not_finite_have_no_score() {
        let broken = binary(&[f32::NAN, f32::NAN, 0.5, 0.5], &[0, 1]);
        let classification = Metric::ALL.into_iter().filter(|metric| metric.is_classification());
        for metric in classification {
            assert!(score(metric, &broken).is_nan(), "{metric}");
        }
    }

    #[test]
    fn r2_of_a_constant_truth_is_not_defined() {
        let rows = Predictions::Values { predicted: &[1.0, 2.0], truth: &[3.0, 3.0] };
        assert!(score(Metric::R2, &rows).is_nan());
        assert_eq!(score(Metric::Mae, &rows), 1.5);
    }
}
