//! Evaluation: a trained lane meets its test rows.
//!
//! Each lane is evaluated by itself, so that the shape of its products is its own.
//!
//! Floor: core.

use candle_core::{Device, Result};
use common::metric::score::{Predictions, score};
use common::metric::{Metric, case_dice};
use common::table::{Dataset, Target};
use common::trial::{Ending, FailReason, Outcome};

use super::fit::{Fitted, said_of};
use super::lanes::Lane;
use super::loss::softmax;

/// What an outcome shall list.
pub struct Asked<'a> {
    pub metrics: &'a [Metric],
    /// One score a test row.
    pub keep_rows: bool,
}

/// How the training of `lane` ended.
pub fn ending(
    dataset: &Dataset,
    lane: &Lane,
    fitted: &Fitted<'_>,
    asked: &Asked<'_>,
    device: &Device,
) -> Result<Ending> {
    if let Some(epoch) = fitted.diverged {
        return Ok(diverged(format!("the loss was not finite in epoch {epoch}")));
    }
    let outputs = predict(dataset, &lane.test_rows, fitted, device)?;
    if outputs.iter().any(|output| !output.is_finite()) {
        let epochs = fitted.epochs;
        return Ok(diverged(format!("predictions were not finite after epoch {epochs}")));
    }
    let mut ending = judged(dataset, lane, &outputs, fitted.epochs, asked);
    if let Ending::Complete(outcome) = &mut ending {
        outcome.curve = fitted.curve.clone().map(Box::new);
    }
    Ok(ending)
}

/// The outcome of a lane that says `outputs` of its test rows, as [`predict`] gives them.
/// `epochs`: those that were trained.
pub fn judged(
    dataset: &Dataset,
    lane: &Lane,
    outputs: &[f32],
    epochs: u32,
    asked: &Asked<'_>,
) -> Ending {
    let (metrics, rows) = match &dataset.target {
        Target::Classes { labels, classes } => {
            let truth: Vec<u32> = pick(labels, &lane.test_rows);
            let classes = *classes as usize;
            let predictions =
                Predictions::Classes { probabilities: outputs, classes, truth: &truth };
            let of_truth = |(row, &class): (&[f32], &u32)| row[class as usize];
            let rows = outputs.chunks_exact(classes).zip(&truth).map(of_truth).collect();
            (scores(&predictions, asked), rows)
        }
        Target::Masks { labels, pixels, classes } => {
            let truth: Vec<u8> = lane
                .test_rows
                .iter()
                .flat_map(|&row| &labels[row as usize * pixels..(row as usize + 1) * pixels])
                .copied()
                .collect();
            masks(dataset, lane, outputs, &truth, *classes as usize, asked)
        }
        Target::Values(values) => {
            let truth: Vec<f32> = pick(values, &lane.test_rows);
            let predictions = Predictions::Values { predicted: outputs, truth: &truth };
            let rows = outputs.iter().zip(&truth).map(|(output, truth)| output - truth).collect();
            (scores(&predictions, asked), rows)
        }
    };
    Ending::Complete(Outcome {
        metrics,
        rows: if asked.keep_rows && !lane.chooses { rows } else { Vec::new() },
        epochs,
        duration_us: 0,
        device: String::new(),
        curve: None,
    })
}

/// Probabilities [rows, classes], those of each pixel [rows · pixels, classes], or values [rows] in
/// the target's own unit.
pub fn predict(
    dataset: &Dataset,
    rows: &[u32],
    fitted: &Fitted<'_>,
    device: &Device,
) -> Result<Vec<f32>> {
    let mut said = said_of(&fitted.network, &fitted.rows, rows, dataset.width, device)?;
    match &dataset.target {
        Target::Classes { classes, .. } | Target::Masks { classes, .. } => {
            said.chunks_exact_mut(*classes as usize).for_each(softmax);
        }
        Target::Values(_) => {
            said.iter_mut().for_each(|value| *value = fitted.rows.unscaled(*value));
        }
    }
    Ok(said)
}

/// The likeliest class of each pixel, beside the true ones: the metrics, and one dice a row.
fn masks(
    dataset: &Dataset,
    lane: &Lane,
    outputs: &[f32],
    truth: &[u8],
    classes: usize,
    asked: &Asked<'_>,
) -> (Vec<f64>, Vec<f32>) {
    // The first of equal ones.
    let likeliest = |p: &[f32]| {
        let best = p.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(class, _)| class as u8)
    };
    let predicted: Vec<u8> = outputs.chunks_exact(classes).map(likeliest).collect();
    let shape = match *dataset.shape.as_slice() {
        [height, width, _] => [height, width],
        _ => [1, truth.len() / lane.test_rows.len().max(1)],
    };
    let cases = dataset.groups.as_ref().map(|groups| pick(groups, &lane.test_rows));
    let spacing = dataset.spacing.as_ref().map(|spacing| pick(spacing, &lane.test_rows));
    let predictions = Predictions::Masks {
        predicted: &predicted,
        truth,
        shape,
        classes,
        cases: cases.as_deref(),
        spacing: spacing.as_deref(),
    };
    let pixels = shape[0] * shape[1];
    let rows = predicted.chunks_exact(pixels).zip(truth.chunks_exact(pixels));
    let rows = rows.map(|(predicted, truth)| case_dice(predicted, truth, classes) as f32).collect();
    (scores(&predictions, asked), rows)
}

fn scores(predictions: &Predictions<'_>, asked: &Asked<'_>) -> Vec<f64> {
    asked.metrics.iter().map(|&metric| score(metric, predictions)).collect()
}

fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|&row| values[row as usize]).collect()
}

fn diverged(detail: String) -> Ending {
    Ending::Failed { reason: FailReason::Diverged, detail }
}
