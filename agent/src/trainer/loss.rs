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
use pulp::{Arch, Simd, WithSimd};

use super::ops::exponential::{exp, ln, power};
use super::ops::{by_loops, made1};

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

    /// Loss of one row of class probabilities, before weighting, which become the weighted loss'
    /// gradient in the outputs; of Dice its cross-entropy and that one's gradient.
    ///
    /// `nats`: −ln of an output's probability.
    #[inline(always)]
    fn of_classes(
        self,
        probabilities: &mut [f32],
        outputs: &[f32],
        nats: impl Fn(f32) -> f32,
        (target, weight): (usize, f32),
    ) -> f32 {
        let of_class = nats(outputs[target]);
        if let Kind::Focal(gamma) = self.kind {
            let p = exp(-of_class);
            let rest = (1.0 - p).max(0.0);
            // γ·(1 − p)^(γ−1)·p·ln p, which is 0 at p = 1 for every γ.
            let bend = match rest > 0.0 {
                true => gamma * power(rest, gamma - 1.0) * p * of_class,
                false => 0.0,
            };
            let easy = power(rest, gamma);
            let slope = easy + bend;
            probabilities[target] -= 1.0;
            probabilities.iter_mut().for_each(|d| *d *= slope * weight);
            return easy * of_class;
        }
        let (loss, alike) = match self.smoothing == 0.0 {
            true => (of_class, 0.0),
            false => {
                let mean = outputs.iter().sum::<f32>() / outputs.len() as f32;
                let all = self.smoothing * nats(mean);
                ((1.0 - self.smoothing) * of_class + all, self.smoothing / outputs.len() as f32)
            }
        };
        probabilities[target] -= 1.0 - self.smoothing;
        probabilities.iter_mut().for_each(|d| *d = (*d - alike) * weight);
        loss
    }

    /// Loss of one row of a value, before weighting, and the weighted loss' gradient in the output.
    fn of_value(self, output: f32, (target, weight): (f32, f32)) -> (f32, f32) {
        let error = output - target;
        match self.kind {
            Kind::Huber(delta) => {
                let size = error.abs();
                let loss = match size <= delta {
                    true => 0.5 * size * size,
                    false => delta * (size - 0.5 * delta),
                };
                (loss, error.clamp(-delta, delta) * weight)
            }
            _ => (error * error, 2.0 * error * weight),
        }
    }

    /// One lane's loss over its rows; `gradient` becomes its gradient, where there is one.
    ///
    /// Shapes: outputs and gradient [rows, width], truth [rows, 2].
    #[inline(always)]
    fn of_lane(
        self,
        outputs: &[f32],
        truth: &[f32],
        width: usize,
        gradient: &mut [f32],
        soft: &mut Soft,
    ) -> f32 {
        let mut sum = 0.0;
        gradient.copy_from_slice(outputs);
        let of_values = matches!(self.kind, Kind::SquaredError | Kind::Huber(_));
        if !of_values {
            soft.soften(gradient, width);
        }
        let rows = gradient.chunks_exact_mut(width).zip(outputs.chunks_exact(width));
        for (at, ((row, outputs), pair)) in rows.zip(truth.chunks_exact(2)).enumerate() {
            // A padding row may be anything but must not be heard: 0 · ∞ is NaN.
            if pair[1] <= 0.0 {
                row.fill(0.0);
            } else if of_values {
                let (loss, slope) = self.of_value(outputs[0], (pair[0], pair[1]));
                sum += loss * pair[1];
                row[0] = slope;
            } else {
                // What is large in both is taken off first: the loss of a sure and right answer is small,
                // and would be rounded as the outputs are.
                let nats = |output: f32| soft.logs[at] + (soft.tops[at] - output);
                let target = (pair[0] as usize, pair[1]);
                sum += self.of_classes(row, outputs, nats, target) * pair[1];
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
        let (mut gradient, mut sums) = (vec![0.0; outputs.len()], [0.0]);
        let (losses, sizes) = (&[self][..], (targets.len(), width));
        let (gradient, sums) = (&mut gradient[..], &mut sums[..]);
        let judge = Judge { said: outputs, truth: &truth, losses, sizes, gradient, sums };
        Arch::new().dispatch(judge);
        sums[0]
    }
}

/// Each lane's weighted loss, [lanes], and its gradient in `outputs` [lanes, rows, width].
///
/// `truth` [lanes · rows · 2]: target and weight of each row. One loss a lane.
pub fn losses(outputs: &Tensor, truth: Vec<f32>, losses: &[Loss]) -> Result<(Vec<f32>, Tensor)> {
    let (lanes, rows, width) = outputs.dims3()?;
    let mut sums = vec![0.0f32; lanes];
    let judge = |said: &[f32], gradient: &mut [f32], sums: &mut [f32]| {
        let (truth, sizes) = (truth.as_slice(), (rows, width));
        Arch::new().dispatch(Judge { said, truth, losses, sizes, gradient, sums });
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

/// All lanes' losses. Not a closure: what is compiled apart from it would miss the wide vectors.
struct Judge<'a> {
    said: &'a [f32],
    truth: &'a [f32],
    losses: &'a [Loss],
    /// Rows of a lane, and outputs of a row.
    sizes: (usize, usize),
    gradient: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Judge<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (rows, width) = self.sizes;
        let mut soft = Soft::default();
        let each = self.said.chunks_exact(rows * width).zip(self.truth.chunks_exact(rows * 2));
        let each = each.zip(self.gradient.chunks_exact_mut(rows * width));
        for (((said, truth), gradient), (sum, loss)) in
            each.zip(self.sums.iter_mut().zip(self.losses))
        {
            *sum = loss.of_lane(said, truth, width, gradient, &mut soft);
        }
    }
}

/// Of each row, its largest output and ln Σ exp(output − that).
#[derive(Debug, Default)]
struct Soft {
    tops: Vec<f32>,
    logs: Vec<f32>,
}

impl Soft {
    /// Outputs [rows, width] become probabilities, all rows at once.
    #[inline(always)]
    fn soften(&mut self, outputs: &mut [f32], width: usize) {
        self.tops.clear();
        self.logs.clear();
        for row in outputs.chunks_exact_mut(width) {
            let top = largest(row);
            row.iter_mut().for_each(|output| *output -= top);
            self.tops.push(top);
        }
        outputs.iter_mut().for_each(|output| *output = exp(*output));
        self.logs.extend(outputs.chunks_exact(width).map(|row| row.iter().sum::<f32>()));
        for (row, sum) in outputs.chunks_exact_mut(width).zip(&self.logs) {
            let share = 1.0 / sum;
            row.iter_mut().for_each(|output| *output *= share);
        }
        self.logs.iter_mut().for_each(|sum| *sum = ln(*sum));
    }
}

/// Outputs become probabilities.
#[inline(always)]
pub fn softmax(outputs: &mut [f32]) {
    let top = largest(outputs);
    outputs.iter_mut().for_each(|output| *output = exp(*output - top));
    let share = 1.0 / outputs.iter().sum::<f32>();
    outputs.iter_mut().for_each(|output| *output *= share);
}

#[inline(always)]
fn largest(outputs: &[f32]) -> f32 {
    outputs.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

/// 1 − the mean soft Dice of every class but the first, its gradient added to `gradient`.
#[inline(always)]
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

    impl Loss {
        /// Of one row that weighs 1: its loss and the gradient in its outputs.
        fn of_one(self, outputs: &[f32], target: f32) -> (f32, Vec<f32>) {
            let mut gradient = vec![0.0; outputs.len()];
            let width = outputs.len();
            let soft = &mut Soft::default();
            let loss = self.of_lane(outputs, &[target, 1.0], width, &mut gradient, soft);
            (loss, gradient)
        }
    }

    #[test]
    fn cross_entropy_of_even_outputs_is_ln_classes() {
        let loss = loss(Kind::CrossEntropy, 0.0).of_one(&[7.0, 7.0, 7.0], 1.0).0;
        assert!((loss - 3f32.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn cross_entropy_of_a_sure_answer_keeps_its_digits() {
        let loss = loss(Kind::CrossEntropy, 0.0).of_one(&[3e4, 3e4 - 8.0], 0.0).0;
        assert!((f64::from(loss) / (-8f64).exp().ln_1p() - 1.0).abs() < 2e-4, "{loss}");
    }

    #[test]
    fn cross_entropy_of_a_certain_error_is_finite() {
        assert_eq!(loss(Kind::CrossEntropy, 0.0).of_one(&[1e30, 0.0], 1.0).0, 1e30);
    }

    #[test]
    fn an_output_that_is_not_a_number_makes_the_loss_so() {
        for kind in [Kind::CrossEntropy, Kind::Focal(2.0), Kind::DiceCrossEntropy] {
            for outputs in [[f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
                let sum = loss(kind, 0.0).of_one(&outputs, 0.0).0;
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
        assert!((focal.of_one(&outputs, 2.0).0 - plain.of_one(&outputs, 2.0).0).abs() < 1e-6);
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
            loss.of_lane(&outputs, &truth, 3, &mut gradient, &mut Soft::default());
            for at in 0..9 {
                let at_moved = |by: f32| {
                    let mut moved = outputs;
                    moved[at] += by;
                    loss.of_lane(&moved, &truth, 3, &mut [0.0; 12], &mut Soft::default())
                };
                let slope = (at_moved(1e-2) - at_moved(-1e-2)) / 2e-2;
                assert!((slope - gradient[at]).abs() < 2e-4, "{loss:?} {at}: {slope} {gradient:?}");
            }
            assert_eq!(gradient[9..], [0.0; 3]);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn losses_have_the_same_bits_in_every_kind_of_vector() {
        let (rows, width) = (37, 3);
        let outputs: Vec<f32> = (0..rows * width).map(|i| 9.0 * (i as f32 * 1.7).sin()).collect();
        let pairs = (0..rows).flat_map(|row| [(row % 3) as f32, if row < 33 { 0.03 } else { 0.0 }]);
        let truth: Vec<f32> = pairs.collect();
        let by = |loss: Loss, work: &dyn Fn(Judge<'_>)| {
            let (mut gradient, mut sums) = (vec![0.0; outputs.len()], [0.0]);
            let (said, truth, losses) = (&outputs[..], &truth[..], &[loss][..]);
            let (slopes, of_lane) = (&mut gradient[..], &mut sums[..]);
            let sizes = (rows, width);
            work(Judge { said, truth, losses, sizes, gradient: slopes, sums: of_lane });
            gradient.push(sums[0]);
            gradient
        };
        for loss in [loss(Kind::CrossEntropy, 0.1), loss(Kind::DiceCrossEntropy, 0.0)] {
            let plain = by(loss, &|work| Simd::vectorize(pulp::Scalar, work));
            assert!(plain.iter().all(|number| number.is_finite()));
            if let Some(simd) = pulp::x86::V3::try_new() {
                assert_eq!(by(loss, &|work| Simd::vectorize(simd, work)), plain);
            }
            if let Some(simd) = pulp::x86::V4::try_new() {
                assert_eq!(by(loss, &|work| Simd::vectorize(simd, work)), plain);
            }
        }
    }

    #[test]
    fn errors_of_values_bend_at_delta() {
        let huber = loss(Kind::Huber(1.0), 0.0);
        assert_eq!(huber.of_one(&[0.5], 0.0), (0.125, vec![0.5]));
        assert_eq!(huber.of_one(&[3.0], 0.0), (2.5, vec![1.0]));
    }
}
