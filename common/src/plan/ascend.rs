//! Minimising a smooth function in a box: quasi-Newton steps, projected onto the box.
//!
//! The best point seen is what comes back, never a worse one than the start. Deliberately absent:
//! many starts; callers choose them. The search in `stats/mixed` needs no gradient and so takes many
//! more evaluations.
//!
//! Source: Nocedal & Wright (2006), Numerical Optimization, chapters 6 (BFGS) and 16.7 (projection).
//!
//! Floor: common.

use super::linear::dot;

/// The least value found of `function` and where, from `start` [n] within `bounds` [n].
///
/// `function(x, gradient)` returns the value at x [n] and writes the gradient [n]; a value that is
/// not finite counts as worse than any. At most `evaluations` calls.
pub(super) fn minimise(
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
    start: &[f64],
    bounds: &[(f64, f64)],
    evaluations: u32,
) -> (Vec<f64>, f64) {
    let size = start.len();
    let mut x: Vec<f64> = start.iter().zip(bounds).map(|(x, (l, h))| x.clamp(*l, *h)).collect();
    let mut gradient = vec![0.0; size];
    let mut value = function(&x, &mut gradient);
    let mut left = evaluations.saturating_sub(1);
    let mut inverse: Option<Vec<Vec<f64>>> = None;
    if !value.is_finite() {
        return (x, value);
    }
    while left > 0 {
        let direction = direction(&x, &gradient, bounds, inverse.as_deref());
        let slope = dot(&direction, &gradient);
        if slope.abs() <= SLOPE_MIN * (1.0 + value.abs()) {
            break;
        }
        let longest = direction.iter().fold(0f64, |most, step| most.max(step.abs()));
        let mut length = if inverse.is_some() { 1.0 } else { (FIRST_STEP / longest).min(1.0) };
        let mut next_gradient = vec![0.0; size];
        let next = loop {
            if left == 0 {
                return (x, value);
            }
            let moved = x.iter().zip(&direction).zip(bounds);
            let moved: Vec<f64> =
                moved.map(|((x, step), (l, h))| (x + length * step).clamp(*l, *h)).collect();
            let reached = function(&moved, &mut next_gradient);
            left -= 1;
            if reached <= value + SUFFICIENT * length * slope {
                break Some((moved, reached));
            }
            length *= SHORTER;
            if length * longest < STEP_MIN {
                break None;
            }
        };
        let Some((moved, reached)) = next else {
            // Without what was learnt of the curvature a descent may still be found.
            if inverse.take().is_none() {
                break;
            }
            continue;
        };
        let s: Vec<f64> = moved.iter().zip(&x).map(|(to, from)| to - from).collect();
        let y: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(to, from)| to - from).collect();
        update(&mut inverse, &s, &y);
        let gained = value - reached;
        (x, value, gradient) = (moved, reached, next_gradient);
        if gained <= GAIN_MIN * (1.0 + value.abs()) {
            break;
        }
    }
    (x, value)
}

/// Downhill by `inverse` among the coordinates that are free to move; steepest where that is not.
fn direction(
    x: &[f64],
    gradient: &[f64],
    bounds: &[(f64, f64)],
    inverse: Option<&[Vec<f64>]>,
) -> Vec<f64> {
    let free = |at: usize| {
        let (low, high) = bounds[at];
        !(x[at] <= low && gradient[at] > 0.0 || x[at] >= high && gradient[at] < 0.0)
    };
    let masked: Vec<f64> =
        (0..x.len()).map(|at| if free(at) { gradient[at] } else { 0.0 }).collect();
    if let Some(inverse) = inverse {
        let step = |at: usize| if free(at) { -dot(&inverse[at], &masked) } else { 0.0 };
        let steps: Vec<f64> = (0..x.len()).map(step).collect();
        if dot(&steps, &masked) < 0.0 {
            return steps;
        }
    }
    masked.into_iter().map(|slope| -slope).collect()
}

/// The BFGS update of the inverse Hessian; begun as a multiple of the identity.
fn update(inverse: &mut Option<Vec<Vec<f64>>>, s: &[f64], y: &[f64]) {
    let curvature = dot(s, y);
    if curvature <= 1e-12 * dot(y, y).max(f64::MIN_POSITIVE) {
        return;
    }
    let size = s.len();
    let h = inverse.get_or_insert_with(|| {
        let scale = curvature / dot(y, y);
        let entry = |row, column| if row == column { scale } else { 0.0 };
        (0..size).map(|row| (0..size).map(|column| entry(row, column)).collect()).collect()
    });
    let hy: Vec<f64> = h.iter().map(|row| dot(row, y)).collect();
    let scale = (1.0 + dot(y, &hy) / curvature) / curvature;
    for row in 0..size {
        for column in 0..size {
            h[row][column] += scale * s[row] * s[column]
                - (hy[row] * s[column] + s[row] * hy[column]) / curvature;
        }
    }
}

const FIRST_STEP: f64 = 0.1;
const SUFFICIENT: f64 = 1e-4;
const SHORTER: f64 = 0.4;
const STEP_MIN: f64 = 1e-12;
const SLOPE_MIN: f64 = 1e-14;
const GAIN_MIN: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        gradient[0] = -2.0 * a - 400.0 * x[0] * b;
        gradient[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    #[test]
    fn the_valley_is_followed_to_its_end() {
        let (x, value) = minimise(rosenbrock, &[-1.2, 1.0], &[(-5.0, 5.0); 2], 200);
        assert!(value < 1e-8, "{x:?} {value}");
    }

    #[test]
    fn a_minimum_outside_ends_on_the_box() {
        let (x, _) = minimise(rosenbrock, &[-1.2, 0.3], &[(-2.0, 0.5), (-2.0, 2.0)], 200);
        assert!(x[0] == 0.5 && (x[1] - 0.25).abs() < 1e-3, "{x:?}");
    }
}
