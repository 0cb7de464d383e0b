//! Minimises a smooth function some of whose arguments may not fall below zero.
//!
//! Projected BFGS. A bounded argument x enters the function only by its square, so its slope by x
//! vanishes at zero and says nothing there; the slope by x^2 is what surfaces give, and what decides
//! whether an argument stays at zero. The search is deterministic. Deliberately absent: what
//! is minimised, and the choice of starts.
//!
//! Source: Nocedal & Wright (2006), Numerical Optimization, sections 3.1 and 6.1.
//!
//! Floor: common.

use faer::Mat;
use faer::linalg::solvers::Solve;

/// A function to be minimised.
pub(super) trait Surface {
    type Point;

    /// The function at `x`; `None` where it cannot be computed.
    fn at(&mut self, x: &[f64]) -> Option<Self::Point>;
    fn value(&self, point: &Self::Point) -> f64;
    /// Slopes by x^2 for bounded arguments, by x for the others.
    fn slopes(&self, point: &Self::Point) -> Vec<f64>;
    /// Whether argument `index` lies in [0, [`BOUND`]].
    fn bounded(&self, index: usize) -> bool;
}

/// Where a search ended.
pub(super) struct Optimum<P> {
    pub x: Vec<f64>,
    pub point: P,
    pub value: f64,
    /// Largest slope by x among the arguments that are not held at zero.
    pub gradient_norm: f64,
    pub converged: bool,
    /// Approximate inverse Hessian, for a search of a similar function.
    pub inverse: Option<Inverse>,
}

pub(super) type Inverse = Vec<Vec<f64>>;

/// Searches from `start` until the gradient is below `tolerance` and no argument at zero wants
/// to leave it. `inverse` may come from an earlier search. `None` when the function cannot be
/// computed at `start`.
pub(super) fn minimise<S: Surface>(
    surface: &mut S,
    start: &[f64],
    inverse: Option<Inverse>,
    tolerance: f64,
) -> Option<Optimum<S::Point>> {
    let mut search = Search::begin(surface, start, inverse, tolerance)?;
    let mut converged = false;
    let mut stalls = 0;
    for _ in 0..ITERATIONS_MAX {
        search.snap_to_zero();
        if search.gradient_norm() <= tolerance {
            if !search.release() {
                converged = true;
                break;
            }
            continue;
        }
        if search.step() {
            stalls = 0;
        } else {
            search.forget();
            stalls += 1;
            if stalls == STALLS_MAX {
                // The function is flat to rounding here; its slopes are not.
                search.polish();
                converged = search.gradient_norm() <= STALLED_FACTOR * tolerance;
                break;
            }
        }
    }
    let gradient_norm = search.gradient_norm();
    let Search { x, point, value, inverse, .. } = search;
    Some(Optimum { x, point, value, gradient_norm, converged, inverse })
}

/// Searches from where the search of a similar function ended, and where that does not converge from
/// `best` as well; `None` where neither does.
pub(super) fn followed<S: Surface>(
    surface: &mut S,
    last: &[f64],
    best: &[f64],
    inverse: Option<Inverse>,
    tolerance: f64,
) -> Option<Optimum<S::Point>> {
    let ended = |end: Option<Optimum<S::Point>>| end.filter(|end| end.converged);
    ended(minimise(surface, last, inverse, tolerance))
        .or_else(|| ended(minimise(surface, best, None, tolerance)))
}

struct Search<'s, S: Surface> {
    surface: &'s mut S,
    x: Vec<f64>,
    point: S::Point,
    value: f64,
    slopes: Vec<f64>,
    tolerance: f64,
    /// Approximate inverse Hessian over all arguments; `None` before the first step.
    inverse: Option<Inverse>,
    /// Snaps to zero left for each argument, so that none goes in and out for ever.
    snaps: Vec<u32>,
}

impl<'s, S: Surface> Search<'s, S> {
    fn begin(
        surface: &'s mut S,
        start: &[f64],
        inverse: Option<Inverse>,
        tolerance: f64,
    ) -> Option<Self> {
        let point = surface.at(start)?;
        let (value, slopes) = (surface.value(&point), surface.slopes(&point));
        let (x, snaps) = (start.to_vec(), vec![SNAPS_MAX; start.len()]);
        Some(Self { surface, x, point, value, slopes, tolerance, inverse, snaps })
    }

    /// Slopes by x; zero for arguments held at zero.
    fn gradient(&self) -> Vec<f64> {
        (self.x.iter().zip(&self.slopes).enumerate())
            .map(|(i, (x, slope))| by_x(self.surface.bounded(i), *x, *slope))
            .collect()
    }

    fn gradient_norm(&self) -> f64 {
        self.gradient().iter().fold(0.0, |max, slope| max.max(slope.abs()))
    }

    fn forget(&mut self) {
        self.inverse = None;
    }

    fn move_to(&mut self, x: Vec<f64>, point: S::Point, value: f64) {
        self.slopes = self.surface.slopes(&point);
        (self.x, self.point, self.value) = (x, point, value);
    }

    /// Puts arguments at zero that are close to it and not better off where they are.
    fn snap_to_zero(&mut self) {
        for i in 0..self.x.len() {
            let near = self.surface.bounded(i) && self.x[i] > 0.0 && self.x[i] < NEAR_ZERO;
            if !near || self.slopes[i] <= 0.0 || self.snaps[i] == 0 {
                continue;
            }
            self.snaps[i] -= 1;
            let mut x = self.x.clone();
            x[i] = 0.0;
            if let Some(point) = self.surface.at(&x) {
                let value = self.surface.value(&point);
                if value <= self.value {
                    self.move_to(x, point, value);
                    self.forget();
                }
            }
        }
    }

    /// Lets the argument leave zero whose slope falls most. False when none falls: the
    /// Karush-Kuhn-Tucker conditions hold.
    fn release(&mut self) -> bool {
        let held = (0..self.x.len()).filter(|&i| self.surface.bounded(i) && self.x[i] == 0.0);
        let Some(steepest) = held.min_by(|&a, &b| self.slopes[a].total_cmp(&self.slopes[b])) else {
            return false;
        };
        if self.slopes[steepest] >= -self.tolerance {
            return false;
        }
        let mut distance = RELEASE;
        while distance > RELEASE_MIN {
            let mut x = self.x.clone();
            x[steepest] = distance;
            if let Some(point) = self.surface.at(&x) {
                let value = self.surface.value(&point);
                if value < self.value {
                    self.move_to(x, point, value);
                    self.forget();
                    return true;
                }
            }
            distance /= 4.0;
        }
        false
    }

    /// One line search. False when no step lowers the function by more than rounding.
    fn step(&mut self) -> bool {
        let gradient = self.gradient();
        let direction = self.direction(&gradient);
        let longest = direction
            .iter()
            .zip(&self.x)
            .map(|(d, x)| d.abs() / (STEP_GROWTH * x.abs().max(STEP_FLOOR)))
            .fold(1.0f64, f64::max);
        let mut length = 1.0 / longest;
        for _ in 0..HALVINGS_MAX {
            let x: Vec<f64> = (self.x.iter().zip(&direction).enumerate())
                .map(|(i, (x, d))| {
                    let moved = x + length * d;
                    moved.clamp(if self.surface.bounded(i) { 0.0 } else { -BOUND }, BOUND)
                })
                .collect();
            let moves: Vec<f64> = x.iter().zip(&self.x).map(|(new, old)| new - old).collect();
            let promised: f64 = moves.iter().zip(&gradient).map(|(m, g)| m * g).sum();
            if moves.iter().all(|&m| m == 0.0) {
                return false;
            }
            if let Some(point) = self.surface.at(&x) {
                let value = self.surface.value(&point);
                let rounding = ROUNDING * self.value.abs().max(1.0);
                if value <= self.value + ARMIJO * promised + rounding {
                    return self.accept(x, point, value, &moves, &gradient, rounding);
                }
            }
            length *= 0.4;
        }
        false
    }

    /// Newton steps on the slopes alone, with their Jacobian by differences, as long as each
    /// halves the gradient.
    fn polish(&mut self) {
        let free: Vec<usize> =
            (0..self.x.len()).filter(|&i| !self.surface.bounded(i) || self.x[i] > 0.0).collect();
        for _ in 0..POLISHES_MAX {
            let Some(moves) = self.newton_moves(&free) else { return };
            let mut x = self.x.clone();
            free.iter().zip(&moves).for_each(|(&i, step)| x[i] += step);
            let inside = |i: &usize| !self.surface.bounded(*i) || (x[*i] > 0.0 && x[*i] < BOUND);
            if !free.iter().all(inside) {
                return;
            }
            let Some(point) = self.surface.at(&x) else { return };
            let value = self.surface.value(&point);
            let before = self.gradient_norm();
            let slopes = self.surface.slopes(&point);
            let kept =
                (std::mem::replace(&mut self.x, x), std::mem::replace(&mut self.slopes, slopes));
            if self.gradient_norm() > 0.5 * before {
                (self.x, self.slopes) = kept;
                return;
            }
            (self.point, self.value) = (point, value);
        }
    }

    fn newton_moves(&mut self, free: &[usize]) -> Option<Vec<f64>> {
        let gradient = self.gradient();
        let mut jacobian = Mat::zeros(free.len(), free.len());
        for (column, &j) in free.iter().enumerate() {
            let mut beside = self.x.clone();
            beside[j] += DIFFERENCE * beside[j].abs().max(DIFFERENCE);
            let step = beside[j] - self.x[j];
            let point = self.surface.at(&beside)?;
            let slopes = self.surface.slopes(&point);
            for (row, &i) in free.iter().enumerate() {
                let slope = by_x(self.surface.bounded(i), beside[i], slopes[i]);
                jacobian[(row, column)] = (slope - gradient[i]) / step;
            }
        }
        let target = Mat::from_fn(free.len(), 1, |row, _| -gradient[free[row]]);
        let moves = jacobian.partial_piv_lu().solve(&target);
        let moves: Vec<f64> = (0..free.len()).map(|row| moves[(row, 0)]).collect();
        moves.iter().all(|step| step.is_finite()).then_some(moves)
    }

    fn accept(
        &mut self,
        x: Vec<f64>,
        point: S::Point,
        value: f64,
        moves: &[f64],
        gradient: &[f64],
        rounding: f64,
    ) -> bool {
        let (before, norm_before) = (self.value, self.gradient_norm());
        let at_zero = |x: &[f64]| x.iter().map(|x| *x == 0.0).collect::<Vec<_>>();
        let same_face = at_zero(&x) == at_zero(&self.x);
        self.move_to(x, point, value);
        if same_face {
            let change: Vec<f64> =
                self.gradient().iter().zip(gradient).map(|(new, old)| new - old).collect();
            self.update_inverse(moves, &change);
        } else {
            self.forget();
        }
        before - value > rounding || self.gradient_norm() < 0.9 * norm_before
    }

    /// Downhill over the arguments that are not held at zero.
    fn direction(&mut self, gradient: &[f64]) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        if let Some(inverse) = &self.inverse {
            let direction: Vec<f64> = (inverse.iter().enumerate())
                .map(|(i, row)| if gradient[i] == 0.0 { 0.0 } else { -dot(row, gradient) })
                .collect();
            if dot(&direction, gradient) < 0.0 {
                return direction;
            }
            self.forget();
        }
        let norm = dot(gradient, gradient).sqrt();
        gradient.iter().map(|slope| -FIRST_STEP * slope / norm.max(FIRST_STEP)).collect()
    }

    /// The BFGS update; skipped where the function is not convex along the move.
    fn update_inverse(&mut self, moves: &[f64], change: &[f64]) {
        let curvature: f64 = moves.iter().zip(change).map(|(m, c)| m * c).sum();
        let squares: f64 = change.iter().map(|c| c * c).sum();
        let moved: f64 = moves.iter().map(|m| m * m).sum();
        if curvature <= CURVATURE_MIN * (squares * moved).sqrt() {
            return;
        }
        let size = moves.len();
        let inverse = self.inverse.take().unwrap_or_else(|| {
            let unit = curvature / squares;
            (0..size)
                .map(|i| (0..size).map(|j| if i == j { unit } else { 0.0 }).collect())
                .collect()
        });
        let product: Vec<f64> =
            inverse.iter().map(|row| row.iter().zip(change).map(|(h, c)| h * c).sum()).collect();
        let quadratic: f64 = product.iter().zip(change).map(|(p, c)| p * c).sum();
        let weight = (1.0 + quadratic / curvature) / curvature;
        let updated = (0..size).map(|i| {
            (0..size)
                .map(|j| {
                    inverse[i][j] + weight * moves[i] * moves[j]
                        - (product[i] * moves[j] + moves[i] * product[j]) / curvature
                })
                .collect()
        });
        self.inverse = Some(updated.collect());
    }
}

/// The slope by x of an argument whose slope by x^2 is given when it is bounded.
fn by_x(bounded: bool, x: f64, slope: f64) -> f64 {
    if bounded { 2.0 * x * slope } else { slope }
}

/// Largest value of a bounded argument.
pub(super) const BOUND: f64 = 1e5;
const ITERATIONS_MAX: usize = 200;
const STALLS_MAX: u32 = 2;
/// A stalled search counts as converged when its gradient is within this factor of the tolerance.
const STALLED_FACTOR: f64 = 1e4;
const POLISHES_MAX: u32 = 5;
/// Of an argument, for differences of slopes.
const DIFFERENCE: f64 = 1e-5;
const SNAPS_MAX: u32 = 4;
const NEAR_ZERO: f64 = 0.02;
const RELEASE: f64 = 0.25;
const RELEASE_MIN: f64 = 1e-5;
/// A step moves an argument by at most this multiple of itself, or of the floor.
const STEP_GROWTH: f64 = 3.0;
const STEP_FLOOR: f64 = 0.3;
const FIRST_STEP: f64 = 0.3;
const HALVINGS_MAX: u32 = 40;
const ARMIJO: f64 = 1e-4;
const ROUNDING: f64 = 1e-13;
const CURVATURE_MIN: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::*;

    /// `(x - 2)^2`, whose value is known to the left of `wall` alone.
    struct Walled {
        wall: f64,
    }

    impl Surface for Walled {
        type Point = f64;

        fn at(&mut self, x: &[f64]) -> Option<f64> {
            (x[0] < self.wall).then_some(x[0])
        }

        fn value(&self, point: &f64) -> f64 {
            (point - 2.0).powi(2)
        }

        fn slopes(&self, point: &f64) -> Vec<f64> {
            vec![2.0 * (point - 2.0)]
        }

        fn bounded(&self, _: usize) -> bool {
            false
        }
    }

    #[test]
    fn a_search_that_does_not_converge_begins_again_elsewhere_or_has_no_end() {
        let mut open = Walled { wall: 10.0 };
        let found = followed(&mut open, &[50.0], &[0.0], None, 1e-9).expect("from the best");
        assert!((found.x[0] - 2.0).abs() < 1e-6 && found.converged);

        let mut short = Walled { wall: 1.0 };
        assert!(
            followed(&mut short, &[0.5], &[0.0], None, 1e-9).is_none(),
            "its end is no minimum"
        );
    }
}
