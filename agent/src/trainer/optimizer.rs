//! Optimizers: one pass over a parameter and its moments, every number a lane's own.
//!
//! A lane that is not active keeps its weights and moments untouched. Weight decay is decoupled and
//! meets weights and biases alike, as PyTorch's AdamW does with `model.parameters()`.
//!
//! Floor: core.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result};
use common::study::{Hyper, Optimizer};

use super::slices::{read, write};

/// What a lane's next step needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub active: bool,
    lr: f32,
    /// 1 − lr · decay.
    keep: f32,
    momentum: f32,
    /// Steps taken, the one at hand included.
    steps: i32,
    /// 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ).
    corrections: (f32, f32),
}

impl Pace {
    pub fn new(hyper: &Hyper) -> Self {
        Self {
            active: true,
            lr: hyper.lr as f32,
            keep: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            momentum: hyper.momentum as f32,
            steps: 0,
            corrections: (1.0, 1.0),
        }
    }

    /// Counts a step of an active lane.
    pub fn advance(&mut self, active: bool) {
        self.active = active;
        if active {
            self.steps += 1;
            let correction = |beta: f64| (1.0 / (1.0 - beta.powi(self.steps))) as f32;
            self.corrections = (correction(BETA_1), correction(BETA_2));
        }
    }
}

/// Copies of a parameter that its state holds: the values, then the moments.
pub fn copies(optimizer: Optimizer) -> usize {
    match optimizer {
        Optimizer::AdamW | Optimizer::Adam => 3,
        Optimizer::Sgd => 2,
    }
}

/// One step: the state's values and moments change by the gradient.
///
/// Operands: state [copies, lanes, …], gradient [lanes, rows, …], summed over its rows first (the
/// rows of a minibatch for biases, 1 for weights).
pub struct Step<'a> {
    pub optimizer: Optimizer,
    pub lanes: &'a [Pace],
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(
        &self,
        state: &mut CpuStorage,
        state_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let state = write(state, state_layout)?;
        let gradient = read(gradient, gradient_layout)?;
        let all = state.len() / copies(self.optimizer);
        let (values, moments) = state.split_at_mut(all);
        let one = all / self.lanes.len();
        let rows = gradient.len() / all;
        let mut summed = vec![0.0; one];
        for (lane, pace) in self.lanes.iter().enumerate().filter(|(_, pace)| pace.active) {
            let own = lane * one..(lane + 1) * one;
            let gradient = &gradient[own.start * rows..own.end * rows];
            let gradient = if rows == 1 { gradient } else { sum_rows(gradient, &mut summed) };
            match self.optimizer {
                Optimizer::AdamW | Optimizer::Adam => {
                    let (first, second) = moments.split_at_mut(all);
                    let moments = (&mut first[own.clone()], &mut second[own.clone()]);
                    adam(&mut values[own], moments, gradient, pace);
                }
                Optimizer::Sgd => sgd(&mut values[own.clone()], &mut moments[own], gradient, pace),
            }
        }
        Ok(())
    }
}

fn sum_rows<'a>(rows: &[f32], sums: &'a mut [f32]) -> &'a [f32] {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// w ← w·(1 − lr·decay) − lr · m̂ / (√v̂ + ε). Loshchilov and Hutter (2019), algorithm 2.
fn adam(values: &mut [f32], moments: (&mut [f32], &mut [f32]), gradient: &[f32], pace: &Pace) {
    let (b1, b2, a1, a2) =
        (BETA_1 as f32, BETA_2 as f32, (1.0 - BETA_1) as f32, (1.0 - BETA_2) as f32);
    let (c1, c2) = pace.corrections;
    let moments = moments.0.iter_mut().zip(moments.1);
    for ((w, g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
        *m = *m * b1 + g * a1;
        *v = *v * b2 + g * g * a2;
        *w = *w * pace.keep - *m * c1 / ((*v * c2).sqrt() + EPSILON) * pace.lr;
    }
}

/// u ← momentum · u + g; w ← w·(1 − lr·decay) − lr · u.
fn sgd(values: &mut [f32], velocity: &mut [f32], gradient: &[f32], pace: &Pace) {
    for ((w, g), u) in values.iter_mut().zip(gradient).zip(velocity) {
        *u = *u * pace.momentum + g;
        *w = *w * pace.keep - *u * pace.lr;
    }
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// Values of two lanes with two numbers each after steps of `gradient`, one row a gradient.
    fn after(hyper: &Hyper, active: [bool; 2], gradients: &[[f32; 4]]) -> Vec<f32> {
        let copies = copies(hyper.optimizer);
        let mut state = vec![1.0f32; 4];
        state.resize(4 * copies, 0.0);
        let state = Tensor::from_vec(state, (copies, 2, 1, 2), &Device::Cpu).unwrap();
        let mut lanes = [Pace::new(hyper), Pace::new(hyper)];
        for gradient in gradients {
            lanes.iter_mut().zip(active).for_each(|(pace, active)| pace.advance(active));
            let gradient = Tensor::from_slice(gradient, (2, 1, 2), &Device::Cpu).unwrap();
            let step = Step { optimizer: hyper.optimizer, lanes: &lanes };
            state.inplace_op2(&gradient, &step).unwrap();
        }
        state.get(0).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_close(seen: &[f32], expected: &[f32]) {
        let near = seen.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near && seen.len() == expected.len(), "{seen:?} against {expected:?}");
    }

    #[test]
    fn first_adam_step_is_the_step_size_against_the_gradient() {
        let hyper = Hyper { lr: 0.1, ..Hyper::default() };
        let seen = after(&hyper, [true, true], &[[3.0, -0.2, 1e-3, 500.0]]);
        assert_close(&seen, &[0.9, 1.1, 0.9 + 1e-6, 0.9]);
    }

    /// Worked by hand in 64 bits: weight 1, gradients 1 and −2.
    #[test]
    fn adam_decays_apart_from_the_gradient() {
        let hyper = Hyper { lr: 0.1, weight_decay: 0.5, ..Hyper::default() };
        let seen = after(&hyper, [true, true], &[[1.0; 4], [-2.0; 4]]);
        // m = 0.9·0.1 − 0.2 = −0.11, m̂ = −0.11/0.19; v = 0.999·0.001 + 0.004, v̂ = v/0.001999.
        let first = 1.0 * 0.95 - 0.1f64;
        let second = first * 0.95 - 0.1 * (-0.11 / 0.19) / (0.004999f64 / 0.001999).sqrt();
        assert_close(&seen, &[second as f32; 4]);
    }

    #[test]
    fn momentum_carries_on() {
        let hyper = Hyper { optimizer: Optimizer::Sgd, lr: 0.1, momentum: 0.5, ..Hyper::default() };
        let seen = after(&hyper, [true, true], &[[1.0; 4], [0.0; 4]]);
        assert_close(&seen, &[0.85; 4]);
    }

    #[test]
    fn a_lane_that_is_not_active_stays() {
        for optimizer in [Optimizer::AdamW, Optimizer::Sgd] {
            let hyper = Hyper { optimizer, weight_decay: 0.1, ..Hyper::default() };
            let seen = after(&hyper, [false, true], &[[1.0; 4]; 3]);
            assert_eq!(seen[..2], [1.0, 1.0]);
            assert!(seen[2] < 1.0);
        }
    }

    #[test]
    fn rows_of_a_gradient_are_summed() {
        let mut sums = [9.0, 9.0];
        assert_eq!(sum_rows(&[1.0, 2.0, 10.0, 20.0], &mut sums), [11.0, 22.0]);
    }
}
