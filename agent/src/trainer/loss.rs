//! Losses and their gradients, one lane beside the other.
//!
//! The truth of a row is a pair: target and weight. Rows that pad a minibatch weigh 0 and add exact
//! zeros to every sum. A row is what has one target: a row of a table, or one pixel of a mask.
//!
//! Floor: core.

use std::cell::RefCell;

use candle_core::{Result, Tensor};
use common::study;
use common::table::Target;

use super::ops::{by_loops, made1, vectorised};

/// What a training makes small, as one lane's hyperparameters have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    kind: Kind,
    /// Share of a class' target that all classes get alike.
    smoothing: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// −ln softmax(outputs)[class]; a target is a class index.
    CrossEntropy,
    /// (1 − p)^γ times that, p being the class' probability (Lin et al. 2017).
    Focal(f32),
    /// Cross-entropy and, over all of a lane's rows together, 1 − the mean of the soft Dice of every
    /// class but the first: (2 Σ p·g + 1) / (Σ p + Σ g + 1) (Milletari et al. 2016).
    DiceCrossEntropy,
    /// (output − target)²; one output.
    SquaredError,
    /// ½ e² up to δ, δ·(|e| − ½ δ) beyond (Huber 1964).
    Huber(f32),
}

impl Loss {
    pub fn of(target: &Target, recipe: &study::Recipe) -> Self {
        let values = matches!(target, Target::Values(_));
        let kind = match recipe.loss {
            study::Loss::Usual if values => Kind::SquaredError,
            study::Loss::Usual => Kind::CrossEntropy,
            study::Loss::Focal { gamma } => Kind::Focal(gamma as f32),
            study::Loss::DiceCrossEntropy => Kind::DiceCrossEntropy,
            study::Loss::Huber { delta } => Kind::Huber(delta as f32),
        };
        Self { kind, smoothing: recipe.label_smoothing as f32 }
    }

    /// Loss of one row, before weighting; of Dice its cross-entropy.
    fn of_row(self, outputs: &[f32], target: f32) -> f32 {
        match self.kind {
            Kind::CrossEntropy | Kind::DiceCrossEntropy => {
                let of_class = nats(outputs, outputs[target as usize]);
                if self.smoothing == 0.0 {
                    return of_class;
                }
                let mean = outputs.iter().sum::<f32>() / outputs.len() as f32;
                (1.0 - self.smoothing) * of_class + self.smoothing * nats(outputs, mean)
            }
            Kind::Focal(gamma) => {
                let nats = nats(outputs, outputs[target as usize]);
                (1.0 - (-nats).exp()).max(0.0).powf(gamma) * nats
            }
            Kind::SquaredError => (outputs[0] - target).powi(2),
            Kind::Huber(delta) => {
                let error = (outputs[0] - target).abs();
                match error <= delta {
                    true => 0.5 * error * error,
                    false => delta * (error - 0.5 * delta),
                }
            }
        }
    }

    /// Replaces one row's outputs by the weighted loss' gradient in them; of Dice by its
    /// cross-entropy's.
    fn differentiate(self, outputs: &mut [f32], target: f32, weight: f32) {
        match self.kind {
            Kind::CrossEntropy | Kind::DiceCrossEntropy => {
                softmax(outputs);
                if self.smoothing == 0.0 {
                    outputs[target as usize] -= 1.0;
                } else {
                    let alike = self.smoothing / outputs.len() as f32;
                    outputs.iter_mut().for_each(|output| *output -= alike);
                    outputs[target as usize] -= 1.0 - self.smoothing;
                }
                outputs.iter_mut().for_each(|output| *output *= weight);
            }
            Kind::Focal(gamma) => {
                let nats = nats(outputs, outputs[target as usize]);
                let p = (-nats).exp();
                let rest = (1.0 - p).max(0.0);
                // γ·(1 − p)^(γ−1)·p·ln p, which is 0 at p = 1 for every γ.
                let bend = match rest > 0.0 {
                    true => gamma * rest.powf(gamma - 1.0) * p * nats,
                    false => 0.0,
                };
                let slope = rest.powf(gamma) + bend;
                softmax(outputs);
                outputs[target as usize] -= 1.0;
                outputs.iter_mut().for_each(|output| *output *= slope * weight);
            }
            Kind::SquaredError => outputs[0] = 2.0 * (outputs[0] - target) * weight,
            Kind::Huber(delta) => {
                outputs[0] = (outputs[0] - target).clamp(-delta, delta) * weight;
            }
        }
    }

    /// One lane's loss over its rows; `gradient` becomes its gradient, where there is one.
    ///
    /// Shapes: outputs and gradient [rows, width], truth [rows, 2].
    #[inline(always)]
    fn of_lane(self, outputs: &[f32], truth: &[f32], width: usize, gradient: &mut [f32]) -> f32 {
        let mut sum = 0.0;
        gradient.copy_from_slice(outputs);
        let rows = gradient.chunks_exact_mut(width).zip(truth.chunks_exact(2));
        for (row, pair) in rows {
            // A padding row may be anything but must not be heard: 0 · ∞ is NaN.
            if pair[1] > 0.0 {
                sum += self.of_row(row, pair[0]) * pair[1];
                self.differentiate(row, pair[0], pair[1]);
            } else {
                row.fill(0.0);
            }
        }
        if self.kind == Kind::DiceCrossEntropy && width > 1 {
            sum += dice(outputs, truth, width, gradient);
        }
        sum
    }

    /// The mean loss of rows that all weigh the same: outputs [rows, width], one target a row.
    pub fn mean(self, outputs: &[f32], targets: &[f32], width: usize) -> f32 {
        let weight = 1.0 / targets.len() as f32;
        let truth: Vec<f32> = targets.iter().flat_map(|&target| [target, weight]).collect();
        let mut gradient = vec![0.0; outputs.len()];
        self.of_lane(outputs, &truth, width, &mut gradient)
    }
}

/// Each lane's weighted loss, [lanes], and its gradient in `outputs` [lanes, rows, width].
///
/// `truth` [lanes · rows · 2]: target and weight of each row. One loss a lane.
pub fn losses(outputs: &Tensor, truth: Vec<f32>, losses: &[Loss]) -> Result<(Vec<f32>, Tensor)> {
    let (lanes, rows, width) = outputs.dims3()?;
    let mut sums = vec![0.0f32; lanes];
    let judge = |said: &[f32], gradient: &mut [f32], sums: &mut [f32]| {
        vectorised(|| {
            let each = said.chunks_exact(rows * width).zip(truth.chunks_exact(rows * 2));
            let each = each.zip(gradient.chunks_exact_mut(rows * width));
            for (((said, truth), gradient), (sum, loss)) in each.zip(sums.iter_mut().zip(losses)) {
                *sum = loss.of_lane(said, truth, width, gradient);
            }
        });
    };
    if !by_loops(outputs) {
        // What has one number a class and row is small beside what made it.
        let said: Vec<f32> = outputs.flatten_all()?.to_vec1()?;
        let mut gradient = vec![0.0; said.len()];
        judge(&said, &mut gradient, &mut sums);
        return Ok((sums, Tensor::from_vec(gradient, outputs.shape(), outputs.device())?));
    }
    let kept = RefCell::new(sums);
    let gradient = made1(outputs, outputs.shape(), |said, gradient| {
        judge(said, gradient, &mut kept.borrow_mut());
    })?;
    Ok((kept.into_inner(), gradient))
}

/// Outputs become probabilities.
#[inline(always)]
pub fn softmax(outputs: &mut [f32]) {
    let top = largest(outputs);
    let mut sum = 0.0;
    for output in outputs.iter_mut() {
        *output = (*output - top).exp();
        sum += *output;
    }
    outputs.iter_mut().for_each(|output| *output /= sum);
}

/// ln Σ exp(outputs) − `output`. What is large in both is taken off first: the loss of a sure and
/// right answer is small, and would be rounded as the outputs are.
#[inline(always)]
fn nats(outputs: &[f32], output: f32) -> f32 {
    let top = largest(outputs);
    let sum: f32 = outputs.iter().map(|output| (output - top).exp()).sum();
    sum.ln() + (top - output)
}

#[inline(always)]
fn largest(outputs: &[f32]) -> f32 {
    outputs.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

/// 1 − the mean soft Dice of every class but the first, its gradient added to `gradient`.
fn dice(outputs: &[f32], truth: &[f32], width: usize, gradient: &mut [f32]) -> f32 {
    let (mut both, mut either) = (vec![0.0f32; width], vec![0.0f32; width]);
    let mut probabilities = outputs.to_vec();
    let rows = || truth.chunks_exact(2).enumerate().filter(|(_, pair)| pair[1] > 0.0);
    for (row, pair) in rows() {
        let p = &mut probabilities[row * width..(row + 1) * width];
        softmax(p);
        let class = pair[0] as usize;
        both[class] += p[class];
        either[class] += 1.0;
        either.iter_mut().zip(p).for_each(|(sum, p)| *sum += *p);
    }
    let classes = (width - 1) as f32;
    let share = |class: usize| (2.0 * both[class] + 1.0) / (either[class] + 1.0);
    for (row, pair) in rows() {
        let p = &probabilities[row * width..(row + 1) * width];
        let class = pair[0] as usize;
        // Of the loss in this row's probabilities.
        let slope = |c: usize| {
            let hit = if c == class { 2.0 } else { 0.0 };
            if c == 0 { 0.0 } else { (share(c) - hit) / (either[c] + 1.0) / classes }
        };
        let mean: f32 = (0..width).map(|c| slope(c) * p[c]).sum();
        let gradient = &mut gradient[row * width..(row + 1) * width];
        for (c, d) in gradient.iter_mut().enumerate() {
            *d += p[c] * (slope(c) - mean);
        }
    }
    1.0 - (1..width).map(share).sum::<f32>() / classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(kind: Kind, smoothing: f32) -> Loss {
        Loss { kind, smoothing }
    }

    #[test]
    fn cross_entropy_of_even_outputs_is_ln_classes() {
        let loss = loss(Kind::CrossEntropy, 0.0).of_row(&[7.0, 7.0, 7.0], 1.0);
        assert!((loss - 3f32.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn cross_entropy_of_a_sure_answer_keeps_its_digits() {
        let loss = loss(Kind::CrossEntropy, 0.0).of_row(&[3e4, 3e4 - 8.0], 0.0);
        assert!((f64::from(loss) / (-8f64).exp().ln_1p() - 1.0).abs() < 2e-4, "{loss}");
    }

    #[test]
    fn cross_entropy_of_a_certain_error_is_finite() {
        assert_eq!(loss(Kind::CrossEntropy, 0.0).of_row(&[1e30, 0.0], 1.0), 1e30);
    }

    #[test]
    fn an_output_that_is_not_a_number_makes_the_loss_so() {
        for kind in [Kind::CrossEntropy, Kind::Focal(2.0), Kind::DiceCrossEntropy] {
            for outputs in [[f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
                let mut gradient = [0.0; 2];
                let sum = loss(kind, 0.0).of_lane(&outputs, &[0.0, 1.0], 2, &mut gradient);
                assert!(!sum.is_finite(), "{kind:?} of {outputs:?}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_for_large_outputs() {
        let mut outputs = [1000.0, 1000.0];
        softmax(&mut outputs);
        assert_eq!(outputs, [0.5, 0.5]);
    }

    #[test]
    fn focal_without_focus_is_cross_entropy() {
        let outputs = [0.3, -1.2, 0.7];
        let (focal, plain) = (loss(Kind::Focal(0.0), 0.0), loss(Kind::CrossEntropy, 0.0));
        assert!((focal.of_row(&outputs, 2.0) - plain.of_row(&outputs, 2.0)).abs() < 1e-6);
    }

    /// Four rows of three numbers, the last one padding.
    #[test]
    fn gradients_are_slopes_of_the_loss() {
        let outputs = [0.3, -1.2, 0.7, 1.0, 0.1, -0.4, -2.0, 0.5, 0.2, f32::NAN, 1.0, 1.0];
        let truth = [2.0, 0.4, 0.0, 0.4, 1.0, 0.2, 0.0, 0.0];
        let kinds = [
            loss(Kind::CrossEntropy, 0.0),
            loss(Kind::CrossEntropy, 0.2),
            loss(Kind::Focal(2.0), 0.0),
            loss(Kind::Focal(0.5), 0.0),
            loss(Kind::DiceCrossEntropy, 0.1),
        ];
        for loss in kinds {
            let mut gradient = [0.0; 12];
            loss.of_lane(&outputs, &truth, 3, &mut gradient);
            for at in 0..9 {
                let at_moved = |by: f32| {
                    let mut moved = outputs;
                    moved[at] += by;
                    loss.of_lane(&moved, &truth, 3, &mut [0.0; 12])
                };
                let slope = (at_moved(1e-2) - at_moved(-1e-2)) / 2e-2;
                assert!((slope - gradient[at]).abs() < 2e-4, "{loss:?} {at}: {slope} {gradient:?}");
            }
            assert_eq!(gradient[9..], [0.0; 3]);
        }
    }

    #[test]
    fn errors_of_values_bend_at_delta() {
        let huber = loss(Kind::Huber(1.0), 0.0);
        assert_eq!(huber.of_row(&[0.5], 0.0), 0.125);
        assert_eq!(huber.of_row(&[3.0], 0.0), 2.5);
        let mut outputs = [3.0];
        huber.differentiate(&mut outputs, 0.0, 0.5);
        assert_eq!(outputs, [0.5]);
    }
}
