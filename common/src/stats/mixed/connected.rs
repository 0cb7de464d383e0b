//! Which fixed effects rest on comparing levels of random factors.
//!
//! If every level of a factor were given a mean of its own, an effect that no level holds both
//! sides of could not be told any more; its estimate rests on the factor's levels being drawn from
//! one population. Where no level is shared by design (arms whose subjects differ) that is said;
//! where levels are shared but this effect's sides are not connected, the design is broken and
//! refused. Deliberately absent: effects of numbers.
//!
//! Source: the rank of [X Z], by the limit of `X' V^-1 X` for large variances of the factors.
//!
//! Floor: common.

use faer::{Mat, Side};

use super::arrow::Arrow;
use super::design::DesignColumn;
use super::fit::{FitError, Method};
use super::objective::Point;
use super::optimise::Surface;
use super::refit::Refit;
use super::simulate::Replicate;
use super::stream::Products;
use super::terms::Terms;

/// A fixed effect that is told only between levels of random factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Between {
    /// Name of the fixed effect.
    pub fixed: String,
    /// The factors that hold it; more than one where only together they do.
    pub factors: Vec<String>,
}

/// Errors: [`FitError::Disconnected`] for an effect some of whose levels share a factor's levels,
/// but not those it compares.
pub(super) fn between(
    terms: &Terms,
    arrow: Option<&Arrow>,
    products: &Products,
) -> Result<Vec<Between>, FitError> {
    let mut found = Vec::new();
    let mut known: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (place, column) in terms.columns.iter().enumerate() {
        if column.product.levels.is_empty() || !column.product.numbers.is_empty() {
            continue;
        }
        let crossed: Vec<usize> = (0..terms.blocks.len())
            .filter(|&block| {
                let block = &terms.blocks[block];
                let inside = block.group.iter().any(|v| column.product.levels.contains(v));
                !inside && block.columns.iter().any(DesignColumn::is_intercept)
            })
            .collect();
        let mut confounds = |blocks: Vec<usize>| {
            if !known.iter().any(|(of, _)| *of == blocks) {
                let effects = confounded(terms, arrow, &blocks);
                known.push((blocks.clone(), effects));
            }
            known.iter().any(|(of, effects)| *of == blocks && effects.contains(&place))
        };
        if crossed.is_empty() || !confounds(crossed.clone()) {
            continue;
        }
        let alone: Vec<usize> =
            crossed.iter().copied().filter(|&block| confounds(vec![block])).collect();
        let nested = alone
            .iter()
            .any(|&block| !products.shares_levels(&column.product.levels, &terms.blocks[block]));
        let holding = if alone.is_empty() { &crossed } else { &alone };
        let factors: Vec<String> =
            holding.iter().map(|&block| terms.blocks[block].factor.clone()).collect();
        if !nested {
            let (column, factors) = (column.name.clone(), factors.join("` and `"));
            return Err(FitError::Disconnected { column, factors });
        }
        found.push(Between { fixed: column.name.clone(), factors });
    }
    Ok(found)
}

/// Indices of fixed effects that cannot be told if `blocks` have means of their own.
fn confounded(terms: &Terms, arrow: Option<&Arrow>, blocks: &[usize]) -> Vec<usize> {
    let mut theta = vec![0.0; terms.parameters.len()];
    for (at, parameter) in terms.parameters.iter().enumerate() {
        let block = &terms.blocks[parameter.block];
        let own = parameter.row == parameter.column;
        if own && blocks.contains(&parameter.block) && block.columns[parameter.row].is_intercept() {
            theta[at] = LARGE;
        }
    }
    let covariance = match arrow {
        None => Point::at(terms, &theta).map(|point| point.fixed_covariance()),
        Some(arrow) => {
            let replicate = Replicate::of(terms);
            let mut refit = Refit { arrow, replicate: &replicate, method: Method::Reml };
            refit.at(&theta).map(|point| point.fixed_covariance)
        }
    };
    let Some(covariance) = covariance else { return Vec::new() };
    // Directions of Q of which next to nothing is left have a covariance beyond all bounds.
    let Ok(eigen) = covariance.self_adjoint_eigen(Side::Lower) else {
        return Vec::new();
    };
    let values = eigen.S().column_vector();
    let lost: Vec<usize> = (0..terms.p).filter(|&at| values[at] > LOST).collect();
    let directions =
        &terms.back * Mat::from_fn(terms.p, lost.len(), |i, j| eigen.U()[(i, lost[j])]);
    // Without an intercept, means are confounded whatever the design; their differences count.
    let first = terms.columns.iter().position(|column| column.product.numbers.is_empty());
    let means = !terms.columns[0].is_intercept();
    (0..terms.p)
        .filter(|&row| {
            let same = |at: usize| terms.columns[at].product == terms.columns[row].product;
            let base = first.filter(|&base| means && same(base));
            let entry =
                |j: usize| directions[(row, j)] - base.map_or(0.0, |base| directions[(base, j)]);
            let size: f64 = (0..terms.p).map(|j| terms.back[(row, j)].powi(2)).sum();
            let along: f64 = (0..lost.len()).map(|j| entry(j).powi(2)).sum();
            along > ALONG * size
        })
        .collect()
}

/// A theta beside which one is nothing.
const LARGE: f64 = 1e3;
/// Variance of a direction, over that without random effects, that means it is lost: a direction
/// that levels of one row or more hold has the square of [`LARGE`] at least.
const LOST: f64 = 5e5;
/// Share of an effect's square that lies along lost directions.
const ALONG: f64 = 1e-6;
