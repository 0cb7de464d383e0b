//! Optimizers: one pass over a parameter and its moments, every number a lane's own.
//!
//! A lane's rate, decay, momentum and count of steps are its own, and so is its place in a schedule.
//! Decay meets weights and biases alike, as PyTorch's does with `model.parameters()`.
//!
//! Floor: core.

use std::f64::consts::PI;

use candle_core::{Device, Result, Tensor};
use common::study::{Hyper, Optimizer, Schedule};
use pulp::{Arch, Simd, WithSimd};

use super::network::Parameter;
use super::ops::{by_loops, changed2, made1};

/// What a lane's next step needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    hyper: Rates,
    /// Of the whole training.
    total: u32,
    /// Steps taken, the one at hand included.
    steps: u32,
    lr: f32,
    /// What a value is multiplied with before it is moved: 1 − lr · decay.
    keep: f32,
    /// What of a value is added to its gradient.
    pull: f32,
    momentum: f32,
    /// 1 / (1 − β₁ᵗ) and 1 / (1 − β₂ᵗ).
    corrections: (f32, f32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    optimizer: Optimizer,
    schedule: Schedule,
    lr: f64,
    decay: f64,
}

impl Pace {
    /// Of a training of so many steps.
    pub fn new(hyper: &Hyper, total: u32) -> Self {
        let rates = Rates {
            optimizer: hyper.optimizer,
            schedule: hyper.recipe.schedule,
            lr: hyper.lr,
            decay: hyper.weight_decay,
        };
        Self {
            hyper: rates,
            total,
            steps: 0,
            lr: 0.0,
            keep: 1.0,
            pull: 0.0,
            momentum: hyper.momentum as f32,
            corrections: (1.0, 1.0),
        }
    }

    /// The same after so many steps.
    pub fn after(self, steps: u32) -> Self {
        Self { steps, ..self }
    }

    /// Goes on to the next step.
    pub fn advance(&mut self) {
        let Rates { optimizer, schedule, lr, decay } = self.hyper;
        let lr = lr * part(schedule, self.steps, self.total);
        self.steps += 1;
        self.lr = lr as f32;
        let coupled = optimizer == Optimizer::Adam;
        self.keep = if coupled { 1.0 } else { (1.0 - lr * decay) as f32 };
        self.pull = if coupled { decay as f32 } else { 0.0 };
        let correction = |beta: f64| (1.0 / (1.0 - beta.powi(self.steps as i32))) as f32;
        self.corrections = (correction(BETA_1), correction(BETA_2));
    }
}

/// The part of the learning rate that step `step`, from 0, of `total` takes.
fn part(schedule: Schedule, step: u32, total: u32) -> f64 {
    let cosine = |from: f64, to: f64, part: f64| to + (from - to) / 2.0 * (1.0 + (PI * part).cos());
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => cosine(1.0, 0.0, f64::from(step) / f64::from(total.max(1))),
        Schedule::OneCycle => {
            let (step, last) = (f64::from(step), f64::from(total) - 1.0);
            let top = RISE * f64::from(total) - 1.0;
            let (low, end) = (1.0 / START, 1.0 / (START * END));
            if step <= top {
                cosine(low, 1.0, step / top)
            } else if last > top {
                cosine(1.0, end, (step - top) / (last - top))
            } else {
                1.0
            }
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

/// The paces of all lanes, for one step of all parameters.
pub struct Paces<'p> {
    each: &'p [&'p Pace],
    /// [lanes, 6], where a card's kernels read them.
    on_card: Option<Tensor>,
}

impl<'p> Paces<'p> {
    pub fn of(each: &'p [&'p Pace], device: &Device) -> Result<Self> {
        let numbers = |pace: &&Pace| {
            let (c1, c2) = pace.corrections;
            [pace.lr, pace.keep, pace.pull, pace.momentum, c1, c2]
        };
        let on_card = kernels::on(device).then(|| {
            let all: Vec<f32> = each.iter().flat_map(numbers).collect();
            Tensor::from_vec(all, (each.len(), 6), device)
        });
        Ok(Self { each, on_card: on_card.transpose()? })
    }
}

/// One step: a parameter's values and moments change by `gradient` [lanes, rows, columns]; one pace a
/// lane.
pub fn step(
    parameter: &Parameter,
    gradient: &Tensor,
    optimizer: Optimizer,
    paces: &Paces<'_>,
) -> Result<()> {
    if let Some(on_card) = &paces.on_card {
        let (state, gradient) = (&parameter.state, gradient.contiguous()?);
        return match optimizer {
            Optimizer::AdamW | Optimizer::Adam => kernels::adam(state, &gradient, on_card),
            Optimizer::Sgd => kernels::sgd(state, &gradient, on_card),
        };
    }
    let paces = paces.each;
    if !by_loops(gradient) {
        return composed::step(parameter, gradient, optimizer, paces);
    }
    changed2(&parameter.state, gradient, |state, gradient| {
        Arch::new().dispatch(Step { state, gradient, optimizer, paces });
    })
}

/// A step of all lanes. Not a closure: what is compiled apart from it would miss the wide vectors.
struct Step<'a> {
    state: &'a mut [f32],
    gradient: &'a [f32],
    optimizer: Optimizer,
    paces: &'a [&'a Pace],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let all = self.gradient.len();
        let one = all / self.paces.len();
        let (values, moments) = self.state.split_at_mut(all);
        for (lane, pace) in self.paces.iter().enumerate() {
            let own = lane * one..(lane + 1) * one;
            let (values, gradient) = (&mut values[own.clone()], &self.gradient[own.clone()]);
            match self.optimizer {
                Optimizer::AdamW | Optimizer::Adam => {
                    let (first, second) = moments.split_at_mut(all);
                    let moments = (&mut first[own.clone()], &mut second[own]);
                    adam(simd, values, moments, gradient, pace);
                }
                Optimizer::Sgd => sgd(values, &mut moments[own], gradient, pace),
            }
        }
    }
}

/// Shortens each lane's gradients to a norm of at most its `longest`, over all of them together; 0:
/// however long. PyTorch's `clip_grad_norm_`.
pub fn clip(gradients: &mut [Option<Tensor>], longest: &[f64]) -> Result<()> {
    if longest.iter().all(|&longest| longest == 0.0) {
        return Ok(());
    }
    let mut squares = vec![0.0f32; longest.len()];
    for gradient in gradients.iter().flatten() {
        for (sum, square) in squares.iter_mut().zip(squares_of(gradient)?) {
            *sum += square;
        }
    }
    let factors: Vec<f32> = squares
        .iter()
        .zip(longest)
        .map(|(square, &longest)| match longest == 0.0 {
            true => 1.0,
            false => (longest as f32 / (square.sqrt() + SMALL)).min(1.0),
        })
        .collect();
    for gradient in gradients.iter_mut().flatten() {
        let factors = Tensor::from_slice(&factors, (factors.len(), 1, 1), gradient.device())?;
        *gradient = gradient.broadcast_mul(&factors)?;
    }
    Ok(())
}

/// Σ g² of each lane.
fn squares_of(gradient: &Tensor) -> Result<Vec<f32>> {
    let lanes = gradient.dim(0)?;
    if !by_loops(gradient) {
        return gradient.sqr()?.reshape((lanes, ()))?.sum(1)?.to_vec1();
    }
    let one = gradient.elem_count() / lanes;
    let sums = made1(gradient, lanes, |gradient, sums| {
        for (sum, gradient) in sums.iter_mut().zip(gradient.chunks_exact(one)) {
            *sum = gradient.iter().map(|g| g * g).sum();
        }
    })?;
    sums.to_vec1()
}

/// w ← w·(1 − lr·decay) − lr · m̂ / (√v̂ + ε). Kingma and Ba (2015); with decay apart Loshchilov and
/// Hutter (2019), algorithm 2.
#[inline(always)]
fn adam<S: Simd>(
    simd: S,
    values: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradient: &[f32],
    pace: &Pace,
) {
    let (values, values_left) = values.as_chunks_mut::<PAIRED>();
    let (gradient, gradient_left) = gradient.as_chunks::<PAIRED>();
    let (first, first_left) = moments.0.as_chunks_mut::<PAIRED>();
    let (second, second_left) = moments.1.as_chunks_mut::<PAIRED>();
    let all = values.iter_mut().zip(gradient).zip(first.iter_mut().zip(second));
    for ((w, g), (m, v)) in all {
        adam_paired(simd, w, (m, v), g, pace);
    }
    let count = values_left.len();
    if count == 0 {
        return;
    }
    // What is left, as if zeros came after it.
    let [mut w, mut g, mut m, mut v] = [[0.0; PAIRED]; 4];
    w[..count].copy_from_slice(values_left);
    g[..count].copy_from_slice(gradient_left);
    m[..count].copy_from_slice(first_left);
    v[..count].copy_from_slice(second_left);
    adam_paired(simd, &mut w, (&mut m, &mut v), &g, pace);
    values_left.copy_from_slice(&w[..count]);
    first_left.copy_from_slice(&m[..count]);
    second_left.copy_from_slice(&v[..count]);
}

/// A division takes as long as ten multiplications, so two numbers share one: each with the one that
/// lies half a block further on, whatever the vectors are.
#[inline(always)]
fn adam_paired<S: Simd>(
    simd: S,
    w: &mut [f32; PAIRED],
    (m, v): (&mut [f32; PAIRED], &mut [f32; PAIRED]),
    g: &[f32; PAIRED],
    pace: &Pace,
) {
    let all = |number: f32| simd.splat_f32s(number);
    let (b1, b2) = (all(BETA_1 as f32), all(BETA_2 as f32));
    let (a1, a2) = (all((1.0 - BETA_1) as f32), all((1.0 - BETA_2) as f32));
    let (c2, rate) = (all(pace.corrections.1), all(pace.corrections.0 * pace.lr));
    let (keep, pull, epsilon) = (all(pace.keep), all(pace.pull), all(EPSILON));
    let (w, m, v) = (S::as_mut_simd_f32s(w).0, S::as_mut_simd_f32s(m).0, S::as_mut_simd_f32s(v).0);
    let g = S::as_simd_f32s(g).0;
    let half = PAIRED / 2 / S::F32_LANES;
    for i in 0..half {
        let j = i + half;
        let mut roots = [epsilon; 2];
        for (root, at) in roots.iter_mut().zip([i, j]) {
            let g = simd.mul_add_f32s(pull, w[at], g[at]);
            m[at] = simd.mul_add_f32s(m[at], b1, simd.mul_f32s(g, a1));
            v[at] = simd.mul_add_f32s(v[at], b2, simd.mul_f32s(simd.mul_f32s(g, g), a2));
            *root = simd.add_f32s(simd.sqrt_f32s(simd.mul_f32s(v[at], c2)), epsilon);
        }
        let share = simd.div_f32s(rate, simd.mul_f32s(roots[0], roots[1]));
        for (at, other) in [(i, roots[1]), (j, roots[0])] {
            let step = simd.mul_f32s(m[at], simd.mul_f32s(share, other));
            w[at] = simd.sub_f32s(simd.mul_f32s(w[at], keep), step);
        }
    }
}

/// u ← momentum · u + g; w ← w·(1 − lr·decay) − lr · u.
#[inline(always)]
fn sgd(values: &mut [f32], velocity: &mut [f32], gradient: &[f32], pace: &Pace) {
    for ((w, g), u) in values.iter_mut().zip(gradient).zip(velocity) {
        *u = *u * pace.momentum + g;
        *w = *w * pace.keep - *u * pace.lr;
    }
}

/// The same of candle's own operations.
mod composed {
    use super::*;

    pub fn step(
        parameter: &Parameter,
        gradient: &Tensor,
        optimizer: Optimizer,
        paces: &[&Pace],
    ) -> Result<()> {
        let by_lane = |of: &dyn Fn(&Pace) -> f32| {
            let numbers: Vec<f32> = paces.iter().map(|pace| of(pace)).collect();
            Tensor::from_vec(numbers, (paces.len(), 1, 1), gradient.device())
        };
        let (lr, keep) = (by_lane(&|pace| pace.lr)?, by_lane(&|pace| pace.keep)?);
        let values = &parameter.values;
        let copies = match optimizer {
            Optimizer::AdamW | Optimizer::Adam => {
                let pull = by_lane(&|pace| pace.pull)?;
                let g = (gradient + values.broadcast_mul(&pull)?)?;
                let m = ((parameter.state.get(1)? * BETA_1)? + (&g * (1.0 - BETA_1))?)?;
                let v = ((parameter.state.get(2)? * BETA_2)? + (g.sqr()? * (1.0 - BETA_2))?)?;
                let (c1, c2) =
                    (by_lane(&|pace| pace.corrections.0)?, by_lane(&|pace| pace.corrections.1)?);
                let size = (v.broadcast_mul(&c2)?.sqrt()? + f64::from(EPSILON))?;
                let moved = m.broadcast_mul(&c1)?.div(&size)?.broadcast_mul(&lr)?;
                vec![values.broadcast_mul(&keep)?.sub(&moved)?, m, v]
            }
            Optimizer::Sgd => {
                let momentum = by_lane(&|pace| pace.momentum)?;
                let u = (parameter.state.get(1)?.broadcast_mul(&momentum)? + gradient)?;
                vec![values.broadcast_mul(&keep)?.sub(&u.broadcast_mul(&lr)?)?, u]
            }
        };
        parameter.state.slice_set(&Tensor::stack(&copies, 0)?, 0, 0)
    }
}

/// Numbers whose steps are taken together: two of the widest vectors.
const PAIRED: usize = 32;
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;
/// Keeps a gradient of 0 from being divided by its norm; PyTorch's.
const SMALL: f32 = 1e-6;
/// Share of the steps in which a cycle rises, what it starts and ends at; PyTorch's defaults.
const RISE: f64 = 0.3;
const START: f64 = 25.0;
const END: f64 = 1e4;

#[cfg(test)]
mod tests {
    use super::super::network::First;
    use super::*;

    fn parameter(copies: usize, lanes: usize, columns: usize) -> Parameter {
        let mut state = vec![1.0f32; lanes * columns];
        state.resize(copies * lanes * columns, 0.0);
        let state = Tensor::from_vec(state, (copies, lanes, 1, columns), &Device::Cpu).unwrap();
        let values = state.get(0).unwrap();
        Parameter { state, values, first: First::Fixed(1.0), position: 0, trained: true }
    }

    fn values(parameter: &Parameter) -> Vec<f32> {
        parameter.values.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Values of two lanes with two numbers each after steps of `gradients`.
    fn after(hyper: &Hyper, gradients: &[[f32; 4]]) -> Vec<f32> {
        let ours = parameter(copies(hyper.optimizer), 2, 2);
        let theirs = parameter(copies(hyper.optimizer), 2, 2);
        let mut pace = Pace::new(hyper, gradients.len() as u32);
        for gradient in gradients {
            pace.advance();
            let gradient = Tensor::from_slice(gradient, (2, 1, 2), &Device::Cpu).unwrap();
            let paces = [&pace; 2];
            let paces = Paces::of(&paces, &Device::Cpu).unwrap();
            step(&ours, &gradient, hyper.optimizer, &paces).unwrap();
            composed::step(&theirs, &gradient, hyper.optimizer, &[&pace; 2]).unwrap();
        }
        assert_close(&values(&ours), &values(&theirs));
        values(&ours)
    }

    fn assert_close(seen: &[f32], expected: &[f32]) {
        let near = seen.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near && seen.len() == expected.len(), "{seen:?} against {expected:?}");
    }

    #[test]
    fn first_adam_step_is_the_step_size_against_the_gradient() {
        let hyper = Hyper { lr: 0.1, ..Hyper::default() };
        let seen = after(&hyper, &[[3.0, -0.2, 1e-3, 500.0]]);
        assert_close(&seen, &[0.9, 1.1, 0.9 + 1e-6, 0.9]);
    }

    /// Worked by hand in 64 bits: weight 1, gradients 1 and −2.
    #[test]
    fn adamw_decays_apart_from_the_gradient() {
        let hyper = Hyper { lr: 0.1, weight_decay: 0.5, ..Hyper::default() };
        let seen = after(&hyper, &[[1.0; 4], [-2.0; 4]]);
        // m = 0.9·0.1 − 0.2 = −0.11, m̂ = −0.11/0.19; v = 0.999·0.001 + 0.004, v̂ = v/0.001999.
        let first = 1.0 * 0.95 - 0.1f64;
        let second = first * 0.95 - 0.1 * (-0.11 / 0.19) / (0.004999f64 / 0.001999).sqrt();
        assert_close(&seen, &[second as f32; 4]);
    }

    #[test]
    fn adam_decays_with_the_gradient() {
        let hyper =
            Hyper { optimizer: Optimizer::Adam, lr: 0.1, weight_decay: 0.5, ..Hyper::default() };
        // −0.5 + 0.5·1 leaves no gradient, so nothing moves.
        assert_close(&after(&hyper, &[[-0.5; 4]; 3]), &[1.0; 4]);
    }

    #[test]
    fn momentum_carries_on() {
        let hyper = Hyper { optimizer: Optimizer::Sgd, lr: 0.1, momentum: 0.5, ..Hyper::default() };
        let seen = after(&hyper, &[[1.0; 4], [0.0; 4]]);
        assert_close(&seen, &[0.85; 4]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn adam_has_the_same_bits_in_every_kind_of_vector_and_those_of_the_formula() {
        const N: usize = 107;
        let mut pace = Pace::new(&Hyper { lr: 0.03, weight_decay: 0.1, ..Hyper::default() }, 10);
        pace.advance();
        let drawn =
            |by: f32| (0..N).map(move |i| (i as f32 * by).sin() * 10f32.powi(i as i32 % 7 - 3));
        let gradient: Vec<f32> = drawn(0.7).collect();
        let state: Vec<f32> =
            drawn(1.3).chain(drawn(2.1)).chain(drawn(0.3).map(f32::abs)).collect();
        let by = |work: &dyn Fn(Step<'_>)| {
            let mut state = state.clone();
            let (optimizer, paces) = (Optimizer::AdamW, &[&pace][..]);
            work(Step { state: &mut state, gradient: &gradient, optimizer, paces });
            state
        };
        let plain = by(&|work| Simd::vectorize(pulp::Scalar, work));
        if let Some(simd) = pulp::x86::V3::try_new() {
            assert_eq!(by(&|work| Simd::vectorize(simd, work)), plain);
        }
        if let Some(simd) = pulp::x86::V4::try_new() {
            assert_eq!(by(&|work| Simd::vectorize(simd, work)), plain);
        }
        for i in 0..N {
            let (w, g) = (f64::from(state[i]), f64::from(gradient[i]));
            let m = 0.9 * f64::from(state[N + i]) + 0.1 * g;
            let v = 0.999 * f64::from(state[2 * N + i]) + 0.001 * g * g;
            let step = m / 0.1 / ((v / 0.001).sqrt() + 1e-8) * 0.03;
            let expected = w * (1.0 - 0.03 * 0.1) - step;
            let apart = (f64::from(plain[i]) - expected).abs();
            assert!(apart <= 1e-5 * expected.abs().max(step.abs()), "{i}: {} {expected}", plain[i]);
        }
    }

    /// PyTorch 2.15, CosineAnnealingLR(T_max = 10) and OneCycleLR(max_lr = 1, total_steps = 10).
    #[test]
    fn schedules_are_pytorchs() {
        let rates = |schedule| (0..10).map(|step| part(schedule, step, 10)).collect::<Vec<_>>();
        let near = |seen: Vec<f64>, expected: [f64; 10]| {
            let apart = seen.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 5e-7, "{seen:?}");
        };
        near(rates(Schedule::Cosine), COSINE);
        near(rates(Schedule::OneCycle), ONE_CYCLE);
    }

    #[test]
    fn gradients_are_shortened_lane_by_lane() {
        let a = Tensor::new(&[[[3.0f32]], [[3.0]], [[0.3]]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[[4.0f32]], [[4.0]], [[0.4]]], &Device::Cpu).unwrap();
        let mut gradients = [Some(a), None, Some(b)];
        clip(&mut gradients, &[1.0, 0.0, 1.0]).unwrap();
        let seen = gradients.iter().flatten().flat_map(|g| g.flatten_all().unwrap().to_vec1());
        let seen: Vec<f32> = seen.flatten().collect();
        assert_close(&seen, &[0.6, 3.0, 0.3, 0.8, 4.0, 0.4]);
    }

    const COSINE: [f64; 10] = [
        1.0,
        0.975528258,
        0.904508497,
        0.793892626,
        0.654508497,
        0.5,
        0.345491503,
        0.206107374,
        0.095491503,
        0.024471742,
    ];
    const ONE_CYCLE: [f64; 10] = [
        0.04,
        0.52,
        1.0,
        0.950484632,
        0.811745654,
        0.611262022,
        0.388741978,
        0.188258346,
        0.049519368,
        4e-06,
    ];
}
