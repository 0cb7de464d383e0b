//! What a point of the criterion says of the model: effects, variances and predictions.
//!
//! All in the units of the data: the terms' scaling is undone here. Deliberately absent: whether
//! the point is the best one.
//!
//! Floor: common.

use super::design::INTERCEPT;
use super::fit::{Blup, Component, Correlation, Fixed};
use super::objective::Point;
use super::relative;
use super::terms::Terms;

/// The fixed effects and their covariance, at `variance` of the scaled residual.
pub(super) fn fixed_effects(point: &Point, variance: f64) -> (Vec<Fixed>, Vec<Vec<f64>>) {
    let terms = point.terms;
    let back = &terms.back;
    let covariance = back * point.fixed_covariance() * back.transpose();
    let vcov: Vec<Vec<f64>> = (0..terms.p)
        .map(|i| {
            let symmetric = |j| 0.5 * (covariance[(i, j)] + covariance[(j, i)]);
            (0..terms.p).map(|j| variance * symmetric(j)).collect()
        })
        .collect();
    let fixed = (terms.fixed_names.iter().enumerate())
        .map(|(i, name)| {
            let moved: f64 = (0..terms.p).map(|j| back[(i, j)] * point.coefficients[j]).sum();
            let estimate = terms.offset[i] + moved;
            Fixed { name: name.clone(), estimate, se: vcov[i][i].sqrt() }
        })
        .collect();
    (fixed, vcov)
}

/// Variances, correlations, and the residual.
pub(super) fn components(
    point: &Point,
    variance: f64,
) -> (Vec<Component>, Vec<Correlation>, Component) {
    let terms = point.terms;
    let unit = terms.y_scale * terms.y_scale * variance;
    let covariances: Vec<Vec<f64>> = (0..terms.blocks.len())
        .map(|block| {
            let (factor, k) =
                (given(terms, block, &point.factors[block]), terms.blocks[block].width);
            relative::times(&factor, &relative::transposed(&factor, k), k)
        })
        .collect();
    let part = |block: usize, a: usize, b: usize| {
        let at = a * terms.blocks[block].width + b;
        (covariances[block][at], covariances[block][at] * terms.blocks[block].moments[at])
    };
    let all = terms.effects();
    let mut total = 1.0;
    for &(block, a) in &all {
        total += part(block, a, a).1;
        total += (partners(terms, block, a).map(|b| 2.0 * part(block, a, b).1)).sum::<f64>();
    }
    let components = all.iter().map(|&(block, a)| {
        let (relative, share) = part(block, a, a);
        Component {
            factor: terms.blocks[block].factor.clone(),
            term: terms.blocks[block].columns[a].name.clone(),
            levels: terms.blocks[block].levels.len(),
            variance: relative * unit,
            sd: (relative * unit).sqrt(),
            share: share / total,
            at_boundary: relative == 0.0,
        }
    });
    let components: Vec<Component> = components.collect();
    let mut correlations = Vec::new();
    for (first, &(block, a)) in all.iter().enumerate() {
        for b in partners(terms, block, a) {
            let second = all.iter().position(|at| *at == (block, b)).unwrap_or(first);
            let sds = components[first].sd * components[second].sd;
            let (covariance, share) = part(block, a, b);
            correlations.push(Correlation {
                factor: terms.blocks[block].factor.clone(),
                terms: [first, second].map(|at| components[at].term.clone()),
                components: [first, second],
                covariance: covariance * unit,
                correlation: (sds > 0.0).then(|| (covariance * unit / sds).clamp(-1.0, 1.0)),
                share: 2.0 * share / total,
            });
        }
    }
    let residual = Component {
        factor: "Residual".to_owned(),
        term: String::new(),
        levels: terms.n,
        variance: unit,
        sd: unit.sqrt(),
        share: 1.0 / total,
        at_boundary: false,
    };
    (components, correlations, residual)
}

/// lme4's theta.
pub(super) fn theta(point: &Point) -> Vec<f64> {
    let terms = point.terms;
    let mut by_place: Vec<(usize, Vec<f64>)> = Vec::new();
    for (place, block) in terms.blocks.iter().enumerate() {
        let root = relative::lower_root(&given(terms, place, &point.factors[place]), block.width);
        for term in &block.terms {
            let columns = term.first..term.first + term.width;
            let entries = columns
                .clone()
                .flat_map(|column| (column..columns.end).map(move |row| (row, column)));
            let entries = entries.map(|(row, column)| root[row * block.width + column]).collect();
            by_place.push((term.place, entries));
        }
    }
    by_place.sort_by_key(|(place, _)| *place);
    by_place.into_iter().flat_map(|(_, entries)| entries).collect()
}

/// Predicted effects, one list a component.
pub(super) fn blups(point: &Point, variance: f64) -> Vec<Vec<Blup>> {
    let terms = point.terms;
    let effects = point.effects();
    let covariances = point.conditional_covariances();
    let factors: Vec<Vec<f64>> =
        (0..terms.blocks.len()).map(|block| given(terms, block, &point.factors[block])).collect();
    let of_effect = |&(place, column): &(usize, usize)| -> Vec<Blup> {
        let block = &terms.blocks[place];
        let k = block.width;
        let row = &factors[place][column * k..(column + 1) * k];
        let of_level = |&level: &u32| {
            let level = level as usize;
            let spherical = &effects[block.at(level)..][..k];
            let mean: f64 = row.iter().zip(spherical).map(|(a, u)| a * u).sum();
            let covariance = &covariances[place][level * k * k..(level + 1) * k * k];
            let spread: f64 = (0..k * k).map(|at| row[at / k] * covariance[at] * row[at % k]).sum();
            Blup {
                level: block.levels[level].clone(),
                mean: terms.y_scale * mean,
                sd: terms.y_scale * (variance * spread.max(0.0)).sqrt(),
            }
        };
        block.by_name.iter().map(of_level).collect()
    };
    terms.effects().iter().map(of_effect).collect()
}

impl Terms {
    /// Block and column of each random effect, in the order of the formula.
    pub fn effects(&self) -> Vec<(usize, usize)> {
        let mut all: Vec<(usize, usize, usize)> = Vec::new();
        for (place, block) in self.blocks.iter().enumerate() {
            for term in &block.terms {
                let columns = term.first..term.first + term.width;
                all.extend(columns.map(|column| (term.place, place, column)));
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, block, column)| (block, column)).collect()
    }
}

/// A block's factor in units of the data.
pub(super) fn given(terms: &Terms, block: usize, factor: &[f64]) -> Vec<f64> {
    let known = &terms.blocks[block];
    if known.width == 1 && known.columns[0].name == INTERCEPT {
        return factor.to_vec();
    }
    relative::times(&known.units, factor, known.width)
}

/// Later columns of the same term.
fn partners(terms: &Terms, block: usize, column: usize) -> std::ops::Range<usize> {
    let term = terms.blocks[block].terms.iter().find(|term| column < term.first + term.width);
    column + 1..term.map_or(column + 1, |term| term.first + term.width)
}
