//! Losses and their gradients, one lane beside the other.
//!
//! The truth of a row is a pair: target and weight. Rows that pad a minibatch weigh 0 and add exact
//! zeros to every sum.
//!
//! Floor: core.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result};
use common::table::Target;

use super::slices::{read, write};

/// What a training makes small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// −ln softmax(outputs)[class]; a target is a class index.
    CrossEntropy,
    /// (output − target)²; one output.
    SquaredError,
}

impl Loss {
    pub fn of(target: &Target) -> Self {
        match target {
            Target::Classes { .. } | Target::Masks { .. } => Loss::CrossEntropy,
            Target::Values(_) => Loss::SquaredError,
        }
    }

    /// Loss of one row, before weighting.
    fn of_row(self, outputs: &[f32], target: f32) -> f32 {
        match self {
            Loss::CrossEntropy => {
                let top = largest(outputs);
                let sum: f32 = outputs.iter().map(|output| (output - top).exp()).sum();
                sum.ln() + top - outputs[target as usize]
            }
            Loss::SquaredError => (outputs[0] - target).powi(2),
        }
    }

    /// Replaces one row's outputs by the weighted loss' gradient in them.
    fn differentiate(self, outputs: &mut [f32], target: f32, weight: f32) {
        match self {
            Loss::CrossEntropy => {
                softmax(outputs);
                outputs[target as usize] -= 1.0;
                outputs.iter_mut().for_each(|output| *output *= weight);
            }
            Loss::SquaredError => outputs[0] = 2.0 * (outputs[0] - target) * weight,
        }
    }
}

/// Outputs become probabilities.
pub fn softmax(outputs: &mut [f32]) {
    let top = largest(outputs);
    let mut sum = 0.0;
    for output in outputs.iter_mut() {
        *output = (*output - top).exp();
        sum += *output;
    }
    outputs.iter_mut().for_each(|output| *output /= sum);
}

fn largest(outputs: &[f32]) -> f32 {
    outputs.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

/// Adds each lane's weighted loss: sums [lanes] += Σ weight · loss(outputs, target).
///
/// Operands: sums [lanes], outputs [lanes, batch, width], truth [lanes, batch, 2].
pub struct AddLoss(pub Loss);

impl InplaceOp3 for AddLoss {
    fn name(&self) -> &'static str {
        "add-loss"
    }

    fn cpu_fwd(
        &self,
        sums: &mut CpuStorage,
        sums_layout: &Layout,
        outputs: &CpuStorage,
        outputs_layout: &Layout,
        truth: &CpuStorage,
        truth_layout: &Layout,
    ) -> Result<()> {
        let (_, batch, width) = outputs_layout.shape().dims3()?;
        let lanes = read(outputs, outputs_layout)?.chunks_exact(batch * width);
        let truth = read(truth, truth_layout)?.chunks_exact(batch * 2);
        for (sum, (outputs, truth)) in write(sums, sums_layout)?.iter_mut().zip(lanes.zip(truth)) {
            for (row, pair) in outputs.chunks_exact(width).zip(truth.chunks_exact(2)) {
                // A padding row may be anything but must not be heard: 0 · ∞ is NaN.
                if pair[1] > 0.0 {
                    *sum += self.0.of_row(row, pair[0]) * pair[1];
                }
            }
        }
        Ok(())
    }
}

/// Outputs become the gradient of each lane's weighted loss in them.
///
/// Operands: outputs [lanes, batch, width], truth [lanes, batch, 2].
pub struct LossGradient(pub Loss);

impl InplaceOp2 for LossGradient {
    fn name(&self) -> &'static str {
        "loss-gradient"
    }

    fn cpu_fwd(
        &self,
        outputs: &mut CpuStorage,
        outputs_layout: &Layout,
        truth: &CpuStorage,
        truth_layout: &Layout,
    ) -> Result<()> {
        let (_, _, width) = outputs_layout.shape().dims3()?;
        let rows = write(outputs, outputs_layout)?.chunks_exact_mut(width);
        for (row, pair) in rows.zip(read(truth, truth_layout)?.chunks_exact(2)) {
            self.0.differentiate(row, pair[0], pair[1]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_of_even_outputs_is_ln_classes() {
        let loss = Loss::CrossEntropy.of_row(&[7.0, 7.0, 7.0], 1.0);
        assert!((loss - 3f32.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn cross_entropy_of_a_certain_error_is_finite() {
        assert_eq!(Loss::CrossEntropy.of_row(&[1e30, 0.0], 1.0), 1e30);
    }

    #[test]
    fn an_output_that_is_not_a_number_makes_the_loss_so() {
        for outputs in [[f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
            assert!(!Loss::CrossEntropy.of_row(&outputs, 0.0).is_finite(), "{outputs:?}");
        }
    }

    #[test]
    fn softmax_sums_to_one_for_large_outputs() {
        let mut outputs = [1000.0, 1000.0];
        softmax(&mut outputs);
        assert_eq!(outputs, [0.5, 0.5]);
    }
}
