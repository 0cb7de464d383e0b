//! The criterion with one standard deviation held.
//!
//! For an effect in a vector-valued term the covariance is written with that effect first, in units
//! of the data: `G = A L L' A'` with L lower triangular, so that `L_00` is its relative standard
//! deviation and every other entry is free. Deliberately absent: the search over what is free.
//!
//! Floor: common.

use super::fit::{Fit, Method};
use super::objective::{Point, freedom};
use super::optimise::{BOUND, Surface};
use super::relative;
use super::terms::Terms;

/// What is held, and where its free companions are.
#[derive(Clone, Debug)]
pub(super) enum Held {
    Residual,
    /// The only effect of its term: index of its parameter.
    Number(usize),
    Entry(Entry),
}

/// An effect in a vector-valued term.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    block: usize,
    first: usize,
    width: usize,
    /// A, [width, width].
    map: Vec<f64>,
    /// Parameters of other terms.
    others: Vec<usize>,
    /// Row and column of the entries of L but the first, by columns.
    entries: Vec<(usize, usize)>,
}

/// The criterion of a fit with a standard deviation `sd` held, in units of the scaled response and
/// the scaled covariate.
///
/// Arguments: log sigma unless it is held, then the parameters that are free.
pub(super) struct HeldCriterion<'a> {
    pub fit: &'a Fit,
    pub held: &'a Held,
    pub sd: f64,
}

pub(super) struct HeldPoint<'a> {
    point: Point<'a>,
    sigma: f64,
}

impl Held {
    /// The effect at `column` of `block`.
    pub fn of(fit: &Fit, block: usize, column: usize) -> Self {
        let terms = &fit.terms;
        let parameters = &terms.parameters;
        let known = &terms.blocks[block];
        let inside = |first: usize, width: usize| (first..first + width).contains(&column);
        let Some(term) = known.terms.iter().find(|term| inside(term.first, term.width)) else {
            return Self::Residual;
        };
        let (first, width, k) = (term.first, term.width, known.width);
        let of_term = |at: &&super::terms::Parameter| {
            at.block == block && (first..first + width).contains(&at.column)
        };
        if width == 1 {
            let index = parameters.iter().position(|at| of_term(&at));
            return index.map_or(Self::Residual, Self::Number);
        }
        let units: Vec<f64> = (0..width * width)
            .map(|at| known.units[(first + at / width) * k + first + at % width])
            .collect();
        let order = order(column - first, width);
        let mut map = vec![0.0; width * width];
        for (place, &effect) in order.iter().enumerate() {
            map[effect * width + place] = units[effect * width + effect];
        }
        if let Some((inverse, _)) = relative::inverse(&units, width) {
            map = relative::times(&inverse, &map, width);
        }
        let others = (0..parameters.len()).filter(|&at| !of_term(&&parameters[at])).collect();
        let lower = (0..width).flat_map(|column| (column..width).map(move |row| (row, column)));
        let entries = lower.skip(1).collect();
        Self::Entry(Entry { block, first, width, map, others, entries })
    }

    /// The arguments at the fit.
    pub fn best(&self, fit: &Fit) -> Vec<f64> {
        let sigma = (fit.residual.sd / fit.terms.y_scale).ln();
        match self {
            Self::Residual => fit.block_theta.clone(),
            Self::Number(index) => {
                let mut best = fit.block_theta.clone();
                best.remove(*index);
                best.insert(0, sigma);
                best
            }
            Self::Entry(entry) => {
                let mut best = vec![sigma];
                best.extend(entry.others.iter().map(|&at| fit.block_theta[at]));
                let root = entry.root(fit);
                best.extend(entry.entries.iter().map(|&(i, j)| root[i * entry.width + j]));
                best
            }
        }
    }
}

impl Entry {
    /// L at the fit.
    fn root(&self, fit: &Fit) -> Vec<f64> {
        let mut root = vec![0.0; self.width * self.width];
        if let (Some(point), Some((inverse, _))) =
            (Point::at(&fit.terms, &fit.block_theta), relative::inverse(&self.map, self.width))
        {
            let k = fit.terms.blocks[self.block].width;
            let factor = &point.factors[self.block];
            for (at, entry) in root.iter_mut().enumerate() {
                let (i, j) = (self.first + at / self.width, self.first + at % self.width);
                *entry = factor[i * k + j];
            }
            root = relative::lower_root(&relative::times(&inverse, &root, self.width), self.width);
        }
        root
    }
}

impl<'a> HeldCriterion<'a> {
    /// L at some arguments; nothing beside a standard deviation of zero.
    fn lower(&self, entry: &Entry, x: &[f64], sigma: f64) -> Vec<f64> {
        let mut lower = vec![0.0; entry.width * entry.width];
        lower[0] = self.sd / sigma;
        for (&(i, j), value) in entry.entries.iter().zip(&x[1 + entry.others.len()..]) {
            lower[i * entry.width + j] = if self.sd == 0.0 && j == 0 { 0.0 } else { *value };
        }
        lower
    }

    fn point(&self, x: &[f64]) -> Option<HeldPoint<'a>> {
        let terms: &'a Terms = &self.fit.terms;
        let sigma = if matches!(self.held, Held::Residual) { self.sd } else { x[0].exp() };
        if !(sigma.is_finite() && sigma > 0.0) {
            return None;
        }
        let theta = match self.held {
            Held::Residual => x.to_vec(),
            Held::Number(index) => {
                let mut theta = x[1..].to_vec();
                theta.insert(*index, self.sd / sigma);
                theta
            }
            Held::Entry(entry) => {
                let mut theta = vec![0.0; terms.parameters.len()];
                entry.others.iter().zip(&x[1..]).for_each(|(&at, value)| theta[at] = *value);
                theta
            }
        };
        let mut factors = terms.factors(&theta);
        if let Held::Entry(entry) = self.held {
            let (k, width) = (terms.blocks[entry.block].width, entry.width);
            let root = relative::times(&entry.map, &self.lower(entry, x, sigma), width);
            for (at, value) in root.iter().enumerate() {
                let (i, j) = (entry.first + at / width, entry.first + at % width);
                factors[entry.block][i * k + j] = *value;
            }
        }
        let sound = factors.iter().flatten().all(|entry| entry.abs() <= BOUND);
        if !sound {
            return None;
        }
        Some(HeldPoint { point: Point::of_factors(terms, factors)?, sigma })
    }
}

impl<'a> Surface for HeldCriterion<'a> {
    type Point = (HeldPoint<'a>, Vec<f64>);

    fn at(&mut self, x: &[f64]) -> Option<Self::Point> {
        Some((self.point(x)?, x.to_vec()))
    }

    fn value(&self, (at, _): &Self::Point) -> f64 {
        at.point.criterion_at(self.fit.method, at.sigma * at.sigma)
    }

    fn slopes(&self, (at, x): &Self::Point) -> Vec<f64> {
        let method: Method = self.fit.method;
        let variance = at.sigma * at.sigma;
        // By log sigma; the held relative deviation falls as sigma rises.
        let direct = 2.0 * (freedom(&self.fit.terms, method) - at.point.squares / variance);
        match self.held {
            Held::Residual => at.point.slopes(method, variance),
            Held::Number(index) => {
                let mut slopes = at.point.slopes(method, variance);
                let by_square = slopes.remove(*index);
                let theta = self.sd / at.sigma;
                slopes.insert(0, direct - 2.0 * theta * theta * by_square);
                slopes
            }
            Held::Entry(entry) => {
                let by_covariance = at.point.covariance_slopes(method, variance);
                let all = at.point.parameter_slopes(&by_covariance);
                let (k, width) = (self.fit.terms.blocks[entry.block].width, entry.width);
                let own: Vec<f64> = (0..width * width)
                    .map(|at| (entry.first + at / width) * k + entry.first + at % width)
                    .map(|at| by_covariance[entry.block][at])
                    .collect();
                let own = relative::sandwiched(&entry.map, &own, width);
                let lower = self.lower(entry, x, at.sigma);
                let by_entry = relative::times(&own, &lower, width);
                let mut slopes = vec![direct - 2.0 * by_entry[0] * lower[0]];
                slopes.extend(entry.others.iter().map(|&at| all[at]));
                slopes.extend(entry.entries.iter().map(|&(i, j)| match (i, j) {
                    (_, 0) if self.sd == 0.0 => 0.0,
                    _ if i == j && i + 1 == width => own[i * width + i],
                    _ => 2.0 * by_entry[i * width + j],
                }));
                slopes
            }
        }
    }

    fn bounded(&self, index: usize) -> bool {
        let square = |at: usize| self.fit.terms.parameters[at].square;
        match self.held {
            Held::Residual => square(index),
            _ if index == 0 => false,
            Held::Number(held) => square(if index <= *held { index - 1 } else { index }),
            Held::Entry(entry) => match entry.others.get(index - 1) {
                Some(&other) => square(other),
                None => index == entry.others.len() + entry.entries.len(),
            },
        }
    }
}

/// Effects of a term, the held one first.
fn order(held: usize, width: usize) -> Vec<usize> {
    std::iter::once(held).chain((0..width).filter(|&effect| effect != held)).collect()
}
