//! Evaluation: a trained lane meets its test rows.
//!
//! Each lane is evaluated by itself, so that the shape of its products is its own.
//!
//! Floor: core.

use candle_core::{Result, Tensor};
use common::metric::Metric;
use common::metric::score::{Predictions, score};
use common::table::{Dataset, Target};
use common::trial::{Ending, FailReason, Outcome};

use super::fit::{DEVICE, Fitted};
use super::lanes::Lane;
use super::loss::softmax;
use super::scale::Scale;

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
    fitted: &Fitted,
    asked: &Asked<'_>,
) -> Result<Ending> {
    if let Some(epoch) = fitted.diverged {
        return Ok(diverged(format!("the loss was not finite in epoch {epoch}")));
    }
    let outputs = predict(dataset, &lane.test_rows, fitted)?;
    if outputs.iter().any(|output| !output.is_finite()) {
        let epochs = lane.hyper.epochs;
        return Ok(diverged(format!("predictions were not finite after epoch {epochs}")));
    }
    Ok(judged(dataset, lane, &outputs, asked))
}

/// The outcome of a lane that says `outputs` of its test rows, as [`predict`] gives them.
pub fn judged(dataset: &Dataset, lane: &Lane, outputs: &[f32], asked: &Asked<'_>) -> Ending {
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
        Target::Masks { .. } => unimplemented!(),
        Target::Values(values) => {
            let truth: Vec<f32> = pick(values, &lane.test_rows);
            let predictions = Predictions::Values { predicted: outputs, truth: &truth };
            let rows = outputs.iter().zip(&truth).map(|(output, truth)| output - truth).collect();
            (scores(&predictions, asked), rows)
        }
    };
    Ending::Complete(Outcome {
        metrics,
        rows: if asked.keep_rows { rows } else { Vec::new() },
        epochs: lane.hyper.epochs,
        duration_us: 0,
        device: String::new(),
    })
}

/// Probabilities [rows, classes], or values [rows] in the target's own unit.
pub fn predict(dataset: &Dataset, rows: &[u32], fitted: &Fitted) -> Result<Vec<f32>> {
    let scale = Scale::stack(&[&fitted.features], &DEVICE)?;
    let mut predictions: Vec<f32> = Vec::new();
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let wide = |row: &u32| {
            let start = *row as usize * dataset.width;
            &dataset.features[start..start + dataset.width]
        };
        let input: Vec<f32> = rows.iter().flat_map(wide).copied().collect();
        let input = Tensor::from_vec(input, (1, rows.len(), dataset.width), &DEVICE)?;
        Scale::apply(&input, &scale)?;
        let pass = fitted.model.forward(input, &[])?;
        predictions.extend(pass.outputs.flatten_all()?.to_vec1::<f32>()?);
    }
    match &dataset.target {
        Target::Classes { classes, .. } => {
            predictions.chunks_exact_mut(*classes as usize).for_each(softmax);
        }
        Target::Masks { .. } => unimplemented!(),
        Target::Values(_) => {
            let (centre, width) = fitted.target;
            let unscaled = |value: f32| (f64::from(value) * width + centre) as f32;
            predictions.iter_mut().for_each(|value| *value = unscaled(*value));
        }
    }
    Ok(predictions)
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

/// Bounds the memory of an evaluation.
const ROWS_AT_ONCE: usize = 1024;
