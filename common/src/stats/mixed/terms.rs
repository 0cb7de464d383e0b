//! The cross-products a mixed model needs, and nothing else of its rows.
//!
//! X is brought to orthonormal columns Q, y to its residual from them at unit variance, and the
//! covariates of slopes to unit size about their mean where an intercept can take the mean up; so
//! the criterion is computed from numbers near one whatever the units. The ways back are kept
//! beside. Everything after this costs the same for a hundred rows and for a million.
//! Deliberately absent: variances.
//!
//! Floor: common.

use faer::Mat;

use super::blocks::Block;
use super::design::{self, DesignColumn, INTERCEPT};
use super::fit::FitError;
use super::formula::Formula;
use super::gather::Gathered;
use super::orthonormal::Orthonormal;
use super::rows::Variable;
use super::stream::Products;

/// Cross-products of the random terms' matrices Z, of Q and of y.
///
/// The columns of Z are stacked: block by block, level by level, the columns of one level side by
/// side. The block with most columns (`blocks[0]`) comes first: of `q` columns in all, `q1` belong
/// to it and `qr = q - q1` to the others. Where every term is a random intercept, columns are
/// levels.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Rows.
    pub n: usize,
    /// Fixed effects.
    pub p: usize,
    pub blocks: Vec<Block>,
    /// The entries of theta, in the order of the blocks.
    pub parameters: Vec<Parameter>,
    /// `Z'Z` within each level of the largest block, [levels, width, width]; for random
    /// intercepts its rows.
    pub counts: Vec<f64>,
    /// `Z'Z` of the largest block and the others, [q1, qr] sparse. All columns of a level of the
    /// largest block, and all of a level of another, have their places together.
    pub cells: Cells,
    /// `Z'Z` of the other blocks, [qr, qr].
    pub gram: Mat<f64>,
    /// `Z' [Q y]`, [q, p + 1].
    pub border: Mat<f64>,
    /// `[Q y]' [Q y]`, [p + 1, p + 1].
    pub corner: Mat<f64>,
    /// `log |X'X|`, which the restricted likelihood owes to the scaling of X.
    pub log_det_x: f64,
    /// Standard deviation of the response about its least-squares fit: one unit of y here.
    pub y_scale: f64,
    /// Coefficients of X are `back · (those of Q) + offset`; [p, p] and [p].
    pub back: Mat<f64>,
    pub offset: Vec<f64>,
    pub fixed_names: Vec<String>,
    pub columns: Vec<DesignColumn>,
    /// The response first, with the names of their levels.
    pub variables: Vec<Variable>,
}

/// One entry of a relative covariance factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub block: usize,
    pub row: usize,
    pub column: usize,
    /// Only its square enters the criterion: it is alone in its column. It is not negative.
    pub square: bool,
}

/// A sparse matrix by rows; columns ascend within a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    /// [rows + 1]: where each row begins in `columns` and `values`.
    pub starts: Vec<usize>,
    pub columns: Vec<u32>,
    pub values: Vec<f64>,
}

impl Cells {
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + Clone + '_ {
        let range = self.starts[row]..self.starts[row + 1];
        let columns = self.columns[range.clone()].iter().map(|&column| column as usize);
        columns.zip(self.values[range].iter().copied())
    }

    /// The columns of some rows that have their places together, and one row's values.
    pub fn slices(&self, row: usize) -> (&[u32], &[f64]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }
}

impl Terms {
    pub fn of(formula: &Formula, products: &Products) -> Result<Self, FitError> {
        let columns = design::columns(&formula.fixed, &products.variables)?;
        let (n, p) = (products.rows, columns.len());
        if p == 0 {
            return Err(FitError::NothingFixed);
        }
        if n <= p {
            return Err(FitError::TooFewRows { rows: n, coefficients: p });
        }
        let mut blocks = Block::all(formula, products)?;
        let mut gathered = Gathered::of(products, &columns, &blocks);
        gathered.standardise(&mut blocks, n)?;
        let x = Orthonormal::of(&gathered.fixed, &scales(products, &columns, formula))
            .map_err(|column| FitError::RankDeficient { column: columns[column].name.clone() })?;
        let y = x.project(&gathered.fixed, n);
        if y.scale <= CONSTANT * products.largest_response() || y.scale == 0.0 {
            return Err(FitError::NoSpread);
        }
        let border = x.border(&gathered.border, &y);
        let mut corner = Mat::identity(p + 1, p + 1);
        corner[(p, p)] = n as f64;
        let terms = Self {
            n,
            p,
            parameters: parameters(&blocks),
            blocks,
            counts: gathered.own.iter().map(|value| value.number()).collect(),
            gram: Mat::from_fn(gathered.rest, gathered.rest, |i, j| {
                gathered.gram[i * gathered.rest + j].number()
            }),
            cells: gathered.cells(),
            border,
            corner,
            log_det_x: x.log_det(),
            back: x.back(y.scale),
            offset: y.offset,
            y_scale: y.scale,
            fixed_names: columns.iter().map(|column| column.name.clone()).collect(),
            columns,
            variables: products.variables.clone(),
        };
        terms.check_not_aliased()?;
        Ok(terms)
    }

    /// The blocks' relative covariance factors at theta, [width, width] each.
    pub fn factors(&self, theta: &[f64]) -> Vec<Vec<f64>> {
        let mut factors: Vec<Vec<f64>> =
            self.blocks.iter().map(|block| vec![0.0; block.width * block.width]).collect();
        for (at, &value) in self.parameters.iter().zip(theta) {
            factors[at.block][at.row * self.blocks[at.block].width + at.column] = value;
        }
        factors
    }

    /// Whether every random term is an intercept of a factor of its own.
    pub fn intercepts_alone(&self) -> bool {
        self.blocks.iter().all(|block| block.width == 1 && block.columns[0].name == INTERCEPT)
    }

    /// A term inside the column space of X leaves the restricted likelihood flat.
    fn check_not_aliased(&self) -> Result<(), FitError> {
        for (place, block) in self.blocks.iter().enumerate() {
            for column in 0..block.width {
                let stacked = (0..block.levels.len()).map(|level| block.at(level) + column);
                let explained: f64 = stacked
                    .clone()
                    .flat_map(|row| (0..self.p).map(move |j| (row, j)))
                    .map(|at| self.border[at] * self.border[at])
                    .sum();
                let whole: f64 = match place {
                    0 => (0..block.levels.len())
                        .map(|level| {
                            self.counts[(level * block.width + column) * block.width + column]
                        })
                        .sum(),
                    _ => {
                        let first = self.blocks[0].range().len();
                        stacked.map(|row| self.gram[(row - first, row - first)]).sum()
                    }
                };
                if whole - explained <= ALIASED * whole {
                    return Err(FitError::Aliased { factor: block.factor.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Squares against which what the columns before leave of one is judged: about its mean, where
/// the model has means.
fn scales(products: &Products, columns: &[DesignColumn], formula: &Formula) -> Vec<Option<f64>> {
    let means = formula.fixed.intercept
        || columns
            .iter()
            .any(|column| column.product.numbers.is_empty() && column.product.levels.len() == 1);
    columns
        .iter()
        .map(|column| {
            let (squares, mean) = products.spread(column, means)?;
            let constant = squares <= (CONSTANT * mean).powi(2) * products.rows as f64;
            (squares > 0.0 && !constant).then_some(squares)
        })
        .collect()
}

fn parameters(blocks: &[Block]) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for (block, known) in blocks.iter().enumerate() {
        for term in &known.terms {
            let end = term.first + term.width;
            for column in term.first..end {
                for row in column..end {
                    let square = row == column && row + 1 == end;
                    parameters.push(Parameter { block, row, column, square });
                }
            }
        }
    }
    parameters
}

/// A factor is aliased when X leaves less than this share of it.
const ALIASED: f64 = 1e-9;
/// Spread below this share of the size of the numbers is rounding.
pub(super) const CONSTANT: f64 = 1e-12;
