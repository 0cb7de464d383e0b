//! Finding a kernel's parameters: the most probable ones given the scores.
//!
//! The log likelihood plus Optuna's priors is climbed with its gradient. Only errors that were not
//! measured share a fitted noise; measured ones are taken as they are. Deliberately absent: averaging
//! over parameters.
//!
//! Sources: Rasmussen & Williams (2006), §5.4.1; priors as in Optuna 4, `optuna._gp.prior`.
//!
//! Floor: common.

use super::super::ascend::minimise;
use super::super::linear::{Factor, dot};
use super::kernel::{Kernel, NOISE_MIN, Row, Shape};

/// The most probable parameters for `rows`, from the default ones and from `before`. O(rows³) a step.
pub(super) fn fit(shape: &Shape, rows: &[Row], before: Option<&Kernel>) -> Kernel {
    let axes = shape.axes();
    let mut bounds = vec![(WEIGHT.0.ln(), WEIGHT.1.ln()); axes];
    bounds.extend([(SCALE.0.ln(), SCALE.1.ln()), (NOISE.0.ln(), NOISE.1.ln())]);
    let usual = Kernel { weights: vec![1.0; axes], scale: 1.0, noise: 0.01 };
    let starts = std::iter::once(&usual).chain(before);
    let ended = starts.map(|start| {
        let surface = |x: &[f64], gradient: &mut [f64]| surprise(shape, rows, x, gradient);
        minimise(surface, &logarithms(start), &bounds, EVALUATIONS)
    });
    let best = ended.min_by(|a, b| a.1.total_cmp(&b.1));
    best.filter(|(_, value)| value.is_finite()).map_or(usual.clone(), |(x, _)| kernel(&x))
}

fn logarithms(kernel: &Kernel) -> Vec<f64> {
    let all = kernel.weights.iter().chain([&kernel.scale, &kernel.noise]);
    all.map(|parameter| parameter.ln()).collect()
}

fn kernel(logarithms: &[f64]) -> Kernel {
    let (weights, rest) = logarithms.split_at(logarithms.len() - 2);
    let weights = weights.iter().map(|weight| weight.exp()).collect();
    Kernel { weights, scale: rest[0].exp(), noise: rest[1].exp() }
}

/// Minus the log posterior at the logarithms of weights, scale and noise, [axes + 2], less a
/// constant; its gradient by them is written out. Infinite where the covariance is not definite.
fn surprise(shape: &Shape, rows: &[Row], x: &[f64], gradient: &mut [f64]) -> f64 {
    let (axes, count) = (shape.axes(), rows.len());
    let kernel = kernel(x);
    let mut covariance = Vec::with_capacity(count * (count + 1) / 2);
    for (at, row) in rows.iter().enumerate() {
        covariance.extend(rows[..=at].iter().map(|other| kernel.at(shape, &row.x, &other.x)));
    }
    let entry = |row: usize, column: usize| covariance[row * (row + 1) / 2 + column];
    let error = |row: usize| rows[row].variance.unwrap_or(kernel.noise) + NOISE_MIN;
    let factor = Factor::of(count, |row, column| {
        entry(row, column).0 + if row == column { error(row) } else { 0.0 }
    });
    let Some(factor) = factor else { return f64::INFINITY };
    let y: Vec<f64> = rows.iter().map(|row| row.y).collect();
    let alpha = factor.backward(factor.forward(y.clone()));
    let inverse = factor.inverse();
    gradient.fill(0.0);
    for row in 0..count {
        for column in 0..=row {
            let at = row * (row + 1) / 2 + column;
            // Half the trace of a symmetric product: pairs off the diagonal count twice.
            let twice = if row == column { 0.5 } else { 1.0 };
            let pull = twice * (inverse[at] - alpha[row] * alpha[column]);
            gradient[axes] += pull * covariance[at].0;
            if row == column {
                let shared = rows[row].variance.is_none();
                gradient[axes + 1] += if shared { pull * kernel.noise } else { 0.0 };
                continue;
            }
            let pull = pull * covariance[at].1;
            for (axis, weight) in kernel.weights.iter().enumerate() {
                let apart = shape.apart(axis, rows[row].x[axis], rows[column].x[axis]);
                gradient[axis] += pull * weight * apart * apart;
            }
        }
    }
    let prior = prior(&kernel, gradient);
    0.5 * dot(&y, &alpha) + factor.half_log_determinant() + prior
}

/// Minus the log prior; its gradient by the logarithms is added.
fn prior(kernel: &Kernel, gradient: &mut [f64]) -> f64 {
    let axes = kernel.weights.len();
    let mut value = 0.0;
    for (axis, weight) in kernel.weights.iter().enumerate() {
        value += LENGTHS * (1.0 / weight + weight);
        gradient[axis] += LENGTHS * (weight - 1.0 / weight);
    }
    value += kernel.scale - kernel.scale.ln();
    gradient[axes] += kernel.scale - 1.0;
    value += 30.0 * kernel.noise - 0.1 * kernel.noise.ln();
    gradient[axes + 1] += 30.0 * kernel.noise - 0.1;
    value
}

const LENGTHS: f64 = 0.1;
const WEIGHT: (f64, f64) = (1e-4, 1e4);
const SCALE: (f64, f64) = (1e-3, 1e3);
const NOISE: (f64, f64) = (1e-6, 1e1);
const EVALUATIONS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::super::super::cube::Cube;
    use super::*;
    use crate::space::{Axis, Space};

    #[test]
    fn the_gradient_is_the_slope_of_the_surprise() {
        let axis = || Axis::LinearRange { low: 0.0, high: 1.0 };
        let axes = vec![("a".into(), axis()), ("b".into(), axis())];
        let shape = Shape::of(&Cube::new(Space { axes, ..Space::default() }));
        let rows: Vec<Row> = (0..8)
            .map(|at| {
                let (a, b) = (f64::from(at) / 8.0, f64::from(at * 5 % 8) / 8.0);
                let variance = (at % 3 == 0).then_some(0.02);
                Row { x: vec![a, b], y: (7.0 * a).sin() + b, variance }
            })
            .collect();
        let x = [0.7, -0.4, 0.3, -2.0];
        let mut gradient = [0.0; 4];
        surprise(&shape, &rows, &x, &mut gradient);
        for at in 0..4 {
            let value = |step: f64| {
                let mut moved = x;
                moved[at] += step;
                surprise(&shape, &rows, &moved, &mut [0.0; 4])
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-6, "{at}: {slope} {}", gradient[at]);
        }
    }
}
