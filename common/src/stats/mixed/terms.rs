//! The cross-products a mixed model needs, and nothing else of its rows.
//!
//! X is brought to orthonormal columns Q, and y to its residual from them at unit variance, so the
//! criterion is computed from numbers near one whatever the units of the response. The way back is
//! kept beside. Everything after this costs the same for a hundred rows and for a million.
//! Deliberately absent: variances.
//!
//! Floor: common.

use faer::Mat;

use super::fit::FitError;
use super::rows::{FixedDesign, Rows, Values};

/// Cross-products of the factors' indicator matrices Z, of Q and of y.
///
/// The levels of all factors are stacked, the largest factor (`blocks[0]`) first: `q` in all, of
/// which `q1` belong to the largest and `qr = q - q1` to the others.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Rows.
    pub n: usize,
    /// Fixed effects.
    pub p: usize,
    pub blocks: Vec<Block>,
    /// Rows of each level of the largest factor, [q1].
    pub counts: Vec<f64>,
    /// Rows shared by a level of the largest factor and a level of another, [q1, qr] sparse.
    pub cells: Cells,
    /// Rows shared by two levels of the other factors, [qr, qr].
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
}

/// One grouping factor's place among the stacked levels.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub factor: String,
    /// Its place in the formula.
    pub place: usize,
    pub levels: Vec<String>,
    pub by_name: Vec<u32>,
    /// First of its levels in the stack.
    pub begin: usize,
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
}

impl Block {
    pub fn range(&self) -> std::ops::Range<usize> {
        self.begin..self.begin + self.levels.len()
    }
}

impl Terms {
    pub fn of(rows: Rows) -> Result<Self, FitError> {
        let blocks = blocks(&rows);
        let q = blocks.last().map_or(0, |block| block.range().end);
        let x = StandardX::of(&rows.fixed, rows.response.len())?;
        let y = x.residual(&rows)?;
        let (cells, counts) = cells(&rows, &blocks);
        let mut terms = Self {
            n: rows.response.len(),
            p: rows.fixed.names.len(),
            gram: gram(&rows, &blocks, q - counts.len()),
            border: Mat::zeros(q, rows.fixed.names.len() + 1),
            corner: Mat::zeros(0, 0),
            log_det_x: x.log_det(),
            y_scale: y.scale,
            back: x.back(y.scale),
            offset: x.unstandardised(&y.coefficients),
            fixed_names: rows.fixed.names.clone(),
            blocks,
            counts,
            cells,
        };
        terms.fill_border(&rows, &x, &y.values);
        terms.check_not_aliased()?;
        Ok(terms)
    }

    fn fill_border(&mut self, rows: &Rows, x: &StandardX, y: &[f64]) {
        let p = self.p;
        let mut with_y = Mat::zeros(p, 1);
        let mut y_y = 0.0;
        for (row, &value) in y.iter().enumerate() {
            x.for_row(row, |column, entry| with_y[(column, 0)] += entry * value);
            y_y += value * value;
            for (block, factor) in self.blocks.iter().zip(&rows.factors) {
                let level = block.begin + factor.codes[row] as usize;
                x.for_row(row, |column, entry| self.border[(level, column)] += entry);
                self.border[(level, p)] += value;
            }
        }
        for level in 0..self.border.nrows() {
            let mut products: Vec<f64> = (0..p).map(|j| self.border[(level, j)]).collect();
            x.products_with_q(&mut products);
            products.iter().enumerate().for_each(|(j, &value)| self.border[(level, j)] = value);
        }
        let mut with_y: Vec<f64> = (0..p).map(|j| with_y[(j, 0)]).collect();
        x.products_with_q(&mut with_y);
        self.corner = Mat::identity(p + 1, p + 1);
        for (j, &value) in with_y.iter().enumerate() {
            self.corner[(j, p)] = value;
            self.corner[(p, j)] = value;
        }
        self.corner[(p, p)] = y_y;
    }

    /// A factor inside the column space of X leaves the restricted likelihood flat.
    fn check_not_aliased(&self) -> Result<(), FitError> {
        for block in &self.blocks {
            let explained: f64 = block
                .range()
                .flat_map(|level| (0..self.p).map(move |j| (level, j)))
                .map(|at| self.border[at] * self.border[at])
                .sum();
            if self.n as f64 - explained <= ALIASED * self.n as f64 {
                return Err(FitError::Aliased { factor: block.factor.clone() });
            }
        }
        Ok(())
    }
}

/// X with numbers centred and scaled, and the Cholesky factor of its Gram matrix.
struct StandardX<'a> {
    design: &'a FixedDesign,
    /// One a covariate; 0 and 1 for levels.
    centres: Vec<f64>,
    scales: Vec<f64>,
    /// Lower factor of the Gram matrix: Q = X L^-T.
    factor: Mat<f64>,
}

/// The response less its least-squares fit, in units of its spread.
struct Residual {
    values: Vec<f64>,
    scale: f64,
    /// Of the standardised X.
    coefficients: Vec<f64>,
}

impl<'a> StandardX<'a> {
    fn of(design: &'a FixedDesign, n: usize) -> Result<Self, FitError> {
        let p = design.names.len();
        let mut x = Self { design, centres: vec![], scales: vec![], factor: Mat::zeros(p, p) };
        for covariate in &design.covariates {
            let Values::Numbers(values) = &covariate.values else {
                x.centres.push(0.0);
                x.scales.push(1.0);
                continue;
            };
            let mean = values.iter().sum::<f64>() / n as f64;
            let centre = if design.ones.is_empty() { 0.0 } else { mean };
            let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
            let scale = (squares / n as f64).sqrt();
            if scale <= CONSTANT * mean.abs() || scale == 0.0 {
                let name = design.names[covariate.column].clone();
                return Err(FitError::RankDeficient { column: name });
            }
            x.centres.push(centre);
            x.scales.push(scale);
        }
        let mut gram = Mat::<f64>::zeros(p, p);
        let mut entries = Vec::with_capacity(p);
        for row in 0..n {
            entries.clear();
            x.for_row(row, |column, entry| entries.push((column, entry)));
            for &(i, a) in &entries {
                entries.iter().for_each(|&(j, b)| gram[(i, j)] += a * b);
            }
        }
        x.factor = cholesky_or_column(&gram)
            .map_err(|column| FitError::RankDeficient { column: design.names[column].clone() })?;
        Ok(x)
    }

    /// Calls `visit(column, entry)` for the entries of one row that are not zero.
    fn for_row(&self, row: usize, mut visit: impl FnMut(usize, f64)) {
        if self.design.intercept {
            visit(0, 1.0);
        }
        for (index, covariate) in self.design.covariates.iter().enumerate() {
            match &covariate.values {
                Values::Numbers(values) => {
                    let entry = (values[row] - self.centres[index]) / self.scales[index];
                    visit(covariate.column, entry);
                }
                Values::Levels { codes, reference: false } => {
                    visit(covariate.column + codes[row] as usize, 1.0);
                }
                Values::Levels { codes, reference: true } if codes[row] > 0 => {
                    visit(covariate.column + codes[row] as usize - 1, 1.0);
                }
                Values::Levels { .. } => {}
            }
        }
    }

    /// Least squares, twice, since the second pass works on small numbers and mends the first.
    fn residual(&self, rows: &Rows) -> Result<Residual, FitError> {
        let p = self.design.names.len();
        let mut values = rows.response.clone();
        let mut coefficients = vec![0.0; p];
        for _ in 0..2 {
            let mut step = vec![0.0; p];
            for (row, &value) in values.iter().enumerate() {
                self.for_row(row, |column, entry| step[column] += entry * value);
            }
            self.products_with_q(&mut step);
            self.coefficients_of_x(&mut step);
            for (row, value) in values.iter_mut().enumerate() {
                self.for_row(row, |column, entry| *value -= entry * step[column]);
            }
            coefficients.iter_mut().zip(&step).for_each(|(sum, step)| *sum += step);
        }
        let squares: f64 = values.iter().map(|value| value * value).sum();
        let scale = (squares / values.len() as f64).sqrt();
        let largest = rows.response.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        if scale <= CONSTANT * largest || scale == 0.0 {
            return Err(FitError::NoSpread);
        }
        values.iter_mut().for_each(|value| *value /= scale);
        Ok(Residual { values, scale, coefficients })
    }

    /// `L^-1 v`: products with X become products with Q.
    fn products_with_q(&self, products: &mut [f64]) {
        for i in 0..products.len() {
            let known: f64 = (0..i).map(|j| self.factor[(i, j)] * products[j]).sum();
            products[i] = (products[i] - known) / self.factor[(i, i)];
        }
    }

    /// `L^-T v`: coefficients of Q become coefficients of the standardised X.
    fn coefficients_of_x(&self, coefficients: &mut [f64]) {
        for i in (0..coefficients.len()).rev() {
            let known: f64 =
                (i + 1..coefficients.len()).map(|j| self.factor[(j, i)] * coefficients[j]).sum();
            coefficients[i] = (coefficients[i] - known) / self.factor[(i, i)];
        }
    }

    /// Coefficients of the standardised X become coefficients of X as it was given.
    fn unstandardised(&self, coefficients: &[f64]) -> Vec<f64> {
        let mut given = coefficients.to_vec();
        for (index, covariate) in self.design.covariates.iter().enumerate() {
            if matches!(covariate.values, Values::Numbers(_)) {
                let slope = coefficients[covariate.column] / self.scales[index];
                given[covariate.column] = slope;
                for &column in &self.design.ones {
                    given[column] -= slope * self.centres[index];
                }
            }
        }
        given
    }

    fn back(&self, y_scale: f64) -> Mat<f64> {
        let p = self.design.names.len();
        let mut back = Mat::zeros(p, p);
        for j in 0..p {
            let mut unit = vec![0.0; p];
            unit[j] = y_scale;
            self.coefficients_of_x(&mut unit);
            for (i, value) in self.unstandardised(&unit).into_iter().enumerate() {
                back[(i, j)] = value;
            }
        }
        back
    }

    fn log_det(&self) -> f64 {
        let factor: f64 = (0..self.factor.nrows()).map(|i| self.factor[(i, i)].ln()).sum();
        let scales: f64 = self.scales.iter().map(|scale| scale.ln()).sum();
        2.0 * (factor + scales)
    }
}

/// Lower Cholesky factor, or the first column that the columns before it explain.
fn cholesky_or_column(gram: &Mat<f64>) -> Result<Mat<f64>, usize> {
    let p = gram.nrows();
    let mut factor = Mat::<f64>::zeros(p, p);
    for j in 0..p {
        for i in j..p {
            let known: f64 = (0..j).map(|k| factor[(i, k)] * factor[(j, k)]).sum();
            let rest = gram[(i, j)] - known;
            if i == j {
                if rest <= DEPENDENT * gram[(j, j)] {
                    return Err(j);
                }
                factor[(j, j)] = rest.sqrt();
            } else {
                factor[(i, j)] = rest / factor[(j, j)];
            }
        }
    }
    Ok(factor)
}

fn blocks(rows: &Rows) -> Vec<Block> {
    let mut begin = 0;
    rows.factors
        .iter()
        .map(|factor| {
            let block = Block {
                factor: factor.name.clone(),
                place: factor.place,
                levels: factor.levels.clone(),
                by_name: factor.by_name.clone(),
                begin,
            };
            begin = block.range().end;
            block
        })
        .collect()
}

/// Rows come sorted by the largest factor, so its levels are runs.
fn cells(rows: &Rows, blocks: &[Block]) -> (Cells, Vec<f64>) {
    let Some((largest, others)) = rows.factors.split_first() else {
        return (Cells::default(), Vec::new());
    };
    let q1 = largest.levels.len();
    let width = blocks.last().map_or(0, |block| block.range().end) - q1;
    let mut counts = vec![0.0; q1];
    let mut cells = Cells { starts: vec![0], ..Cells::default() };
    let mut shared = vec![0.0; width];
    let mut touched: Vec<u32> = Vec::new();
    let mut row = 0;
    for (level, count) in counts.iter_mut().enumerate() {
        while row < rows.response.len() && largest.codes[row] as usize == level {
            *count += 1.0;
            for (factor, block) in others.iter().zip(&blocks[1..]) {
                let column = block.begin - q1 + factor.codes[row] as usize;
                if shared[column] == 0.0 {
                    touched.push(column as u32);
                }
                shared[column] += 1.0;
            }
            row += 1;
        }
        touched.sort_unstable();
        for column in touched.drain(..) {
            cells.columns.push(column);
            cells.values.push(std::mem::take(&mut shared[column as usize]));
        }
        cells.starts.push(cells.columns.len());
    }
    (cells, counts)
}

fn gram(rows: &Rows, blocks: &[Block], width: usize) -> Mat<f64> {
    let mut gram = Mat::<f64>::zeros(width, width);
    if blocks.is_empty() {
        return gram;
    }
    let q1 = blocks[0].levels.len();
    let mut levels = vec![0; blocks.len() - 1];
    for row in 0..rows.response.len() {
        for (level, (factor, block)) in
            levels.iter_mut().zip(rows.factors[1..].iter().zip(&blocks[1..]))
        {
            *level = block.begin - q1 + factor.codes[row] as usize;
        }
        for &i in &levels {
            levels.iter().for_each(|&j| gram[(i, j)] += 1.0);
        }
    }
    gram
}

/// A factor is aliased when X leaves less than this share of it.
const ALIASED: f64 = 1e-9;
/// Spread below this share of the size of the numbers is rounding.
const CONSTANT: f64 = 1e-12;
/// Squared norm left of a dependent column, as a share of its own.
const DEPENDENT: f64 = 1e-10;
