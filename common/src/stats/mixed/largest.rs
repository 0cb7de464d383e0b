//! The part of the equations that belongs to the largest block: one small matrix a level.
//!
//! For level l with cross-products `P = Z_l'Z_l` and relative covariance `G = F F'`:
//! `D = F'P F + I`, and nothing couples two levels. For a random intercept all are numbers.
//! Deliberately absent: the other blocks, which are dense.
//!
//! Floor: common.

use faer::Mat;

use super::objective::apply;
use super::relative;
use super::terms::Terms;

/// What each level of the largest block needs, [levels, k, k] each.
pub(super) struct Largest {
    k: usize,
    levels: usize,
    /// `F D^-1 F'`.
    weights: Vec<f64>,
    /// `D^-1 F'`.
    solving: Vec<f64>,
    /// `(I + P G)^-1`: what the block leaves of a product with its own columns.
    left: Vec<f64>,
    /// `D^-1`.
    inverse: Vec<f64>,
    /// Sum of `log |D|`.
    pub log_det: f64,
    /// Least and largest diagonal of any D, and 1.
    pub extremes: (f64, f64),
}

impl Largest {
    /// `None` where some D is not positive definite.
    pub fn of(terms: &Terms, factor: &[f64]) -> Option<Self> {
        let k = terms.blocks.first().map_or(1, |block| block.width);
        let levels = terms.counts.len() / (k * k);
        let size = terms.counts.len();
        let mut largest = Self {
            k,
            levels,
            weights: Vec::with_capacity(size),
            solving: Vec::with_capacity(size),
            left: Vec::with_capacity(size),
            inverse: Vec::with_capacity(size),
            log_det: 0.0,
            extremes: (1.0, 1.0),
        };
        for products in terms.counts.chunks(k * k) {
            if k == 1 {
                largest.push_number(factor[0], products[0]);
            } else {
                largest.push_matrix(factor, products)?;
            }
        }
        Some(largest)
    }

    fn push_number(&mut self, theta: f64, count: f64) {
        let d = theta * theta * count + 1.0;
        self.weights.push(theta * theta / d);
        self.solving.push(theta / d);
        self.left.push(1.0 / d);
        self.inverse.push(1.0 / d);
        self.log_det += d.ln();
        self.extremes = (self.extremes.0.min(d), self.extremes.1.max(d));
    }

    fn push_matrix(&mut self, factor: &[f64], products: &[f64]) -> Option<()> {
        let k = self.k;
        let mut d = relative::sandwiched(factor, products, k);
        let mut left = relative::times(
            products,
            &relative::times(factor, &relative::transposed(factor, k), k),
            k,
        );
        for i in 0..k {
            d[i * k + i] += 1.0;
            left[i * k + i] += 1.0;
            let value = d[i * k + i];
            self.extremes = (self.extremes.0.min(value), self.extremes.1.max(value));
        }
        let (inverse, log_det) = relative::inverse(&d, k)?;
        if !log_det.is_finite() || log_det < -1e-6 {
            return None;
        }
        let (left, _) = relative::inverse(&left, k)?;
        let solving = relative::times(&inverse, &relative::transposed(factor, k), k);
        self.weights.extend(relative::times(factor, &solving, k));
        self.solving.extend(solving);
        self.left.extend(left);
        self.inverse.extend(inverse);
        self.log_det += log_det;
        Some(())
    }

    /// Columns of the block, q1.
    pub fn columns(&self) -> usize {
        self.levels * self.k
    }

    /// `Zr'Zr` less what this block explains of it, lower half.
    pub fn reduced(&self, terms: &Terms) -> Mat<f64> {
        let mut reduced = terms.gram.clone();
        let k = self.k;
        let mut weighted = Vec::new();
        for level in 0..self.levels {
            let weights = &self.weights[level * k * k..(level + 1) * k * k];
            if weights.iter().all(|weight| *weight == 0.0) {
                continue;
            }
            for row in 0..k {
                let (columns, _) = terms.cells.slices(level * k + row);
                weighted.clear();
                weighted.resize(columns.len(), 0.0);
                for (other, &weight) in weights[row * k..(row + 1) * k].iter().enumerate() {
                    let (_, values) = terms.cells.slices(level * k + other);
                    weighted.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                }
                let (_, values) = terms.cells.slices(level * k + row);
                for (at, &j) in columns.iter().enumerate() {
                    let weighted = weighted[at];
                    let below = reduced.col_as_slice_mut(j as usize);
                    for (&i, value) in columns[at..].iter().zip(&values[at..]) {
                        below[i as usize] -= weighted * value;
                    }
                }
            }
        }
        reduced
    }

    /// `Zr' (I + Z_1 G_1 Z_1')^-1 [Q y]`, [qr, p + 1].
    pub fn below(&self, terms: &Terms) -> Mat<f64> {
        let q1 = self.columns();
        let mut right =
            Mat::from_fn(terms.gram.nrows(), terms.p + 1, |i, j| terms.border[(q1 + i, j)]);
        for column in 0..=terms.p {
            let border = terms.border.col_as_slice(column);
            let below = right.col_as_slice_mut(column);
            for row in 0..q1 {
                let own = self.row_of(&self.weights, row, border);
                terms.cells.row(row).for_each(|(j, n)| below[j] -= n * own);
            }
        }
        right
    }

    /// Takes off the corner what this block explains of `[Q y]' [Q y]`.
    pub fn subtract_explained(&self, terms: &Terms, corner: &mut Mat<f64>) {
        for i in 0..=terms.p {
            let weighted: Vec<f64> = (0..self.columns())
                .map(|row| self.row_of(&self.weights, row, terms.border.col_as_slice(i)))
                .collect();
            for j in 0..=i {
                let border = terms.border.col_as_slice(j);
                let explained: f64 = weighted.iter().zip(border).map(|(a, b)| a * b).sum();
                corner[(i, j)] -= explained;
                if i != j {
                    corner[(j, i)] -= explained;
                }
            }
        }
    }

    /// `Omega^-1 A' [Q y]`, [q, p + 1], given its part below this block.
    pub fn solved(&self, terms: &Terms, factors: &[Vec<f64>], rest: &Mat<f64>) -> Mat<f64> {
        let q1 = self.columns();
        let mut solved = Mat::zeros(q1 + rest.nrows(), terms.p + 1);
        let mut left = vec![0.0; q1];
        for column in 0..=terms.p {
            let mut effects = rest.col_as_slice(column).to_vec();
            apply(terms, factors, &mut effects, false);
            self.remaining(terms, &effects, column, &mut left);
            for row in 0..q1 {
                solved[(row, column)] = self.row_of(&self.solving, row, &left);
            }
            for (j, value) in rest.col_as_slice(column).iter().enumerate() {
                solved[(q1 + j, column)] = *value;
            }
        }
        solved
    }

    /// `Z_1' V0^-1` of one column of [Q y], given the effects below, into `scores`.
    pub fn scores(&self, terms: &Terms, effects: &[f64], column: usize, scores: &mut Mat<f64>) {
        let mut left = vec![0.0; self.columns()];
        self.remaining(terms, effects, column, &mut left);
        for row in 0..left.len() {
            scores[(row, column)] = self.row_of(&self.left, row, &left);
        }
    }

    /// Multiplies the block's columns, [q1], by its factor.
    pub fn apply(&self, factor: &[f64], column: &mut [f64]) {
        let k = self.k;
        let mut old = vec![0.0; k];
        for level in column.chunks_mut(k) {
            old.copy_from_slice(level);
            for (i, entry) in level.iter_mut().enumerate() {
                *entry = (0..k).map(|j| factor[i * k + j] * old[j]).sum();
            }
        }
    }

    /// Sum over the levels of `Z_l' V0^-1 Z_l`, [k, k], given `S^-1`.
    pub fn traces(&self, terms: &Terms, factors: &[Vec<f64>], inverse: &Mat<f64>) -> Vec<f64> {
        let k = self.k;
        let mut sums = vec![0.0; k * k];
        self.each_quadratic(terms, factors, inverse, |level, quadratic| {
            let at = level * k * k..(level + 1) * k * k;
            let (left, products) = (&self.left[at.clone()], &terms.counts[at]);
            let own = relative::times(left, products, k);
            let lost = relative::times(
                &relative::times(left, quadratic, k),
                &relative::transposed(left, k),
                k,
            );
            sums.iter_mut()
                .zip(own.iter().zip(lost))
                .for_each(|(sum, (own, lost))| *sum += own - lost);
        });
        sums
    }

    /// `Omega_11^-1 Omega_12`, [q1, qr]: what couples this block to the others.
    pub fn coupling(&self, terms: &Terms, factors: &[Vec<f64>]) -> Mat<f64> {
        let (q1, width) = (self.columns(), terms.gram.nrows());
        let mut coupling = Mat::zeros(q1, width);
        let mut rows = vec![vec![0.0; width]; self.k];
        for level in 0..self.levels {
            for (row, shared) in rows.iter_mut().enumerate() {
                shared.fill(0.0);
                terms.cells.row(level * self.k + row).for_each(|(j, n)| shared[j] = n);
                apply(terms, factors, shared, true);
            }
            let solving = &self.solving[level * self.k * self.k..][..self.k * self.k];
            for (at, &weight) in solving.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let (row, other) = (level * self.k + at / self.k, &rows[at % self.k]);
                other.iter().enumerate().for_each(|(j, n)| coupling[(row, j)] += weight * n);
            }
        }
        coupling
    }

    /// Adds `Omega_11^-1` to the first of a matrix's rows and columns.
    pub fn add_inverse(&self, matrix: &mut Mat<f64>) {
        for (at, value) in self.inverse.iter().enumerate() {
            let (level, entry) = (at / (self.k * self.k), at % (self.k * self.k));
            matrix[(level * self.k + entry / self.k, level * self.k + entry % self.k)] += value;
        }
    }

    /// Each level's part of `Omega^-1`, [levels, k, k].
    pub fn conditional(&self, terms: &Terms, factors: &[Vec<f64>], inverse: &Mat<f64>) -> Vec<f64> {
        let k = self.k;
        let mut parts = self.inverse.clone();
        self.each_quadratic(terms, factors, inverse, |level, quadratic| {
            let at = level * k * k..(level + 1) * k * k;
            let solving = &self.solving[at.clone()];
            let more = relative::times(
                &relative::times(solving, quadratic, k),
                &relative::transposed(solving, k),
                k,
            );
            parts[at].iter_mut().zip(more).for_each(|(part, more)| *part += more);
        });
        parts
    }

    /// Calls `visit(level, N Lr S^-1 Lr' N')`, N the level's cells, for each level.
    fn each_quadratic(
        &self,
        terms: &Terms,
        factors: &[Vec<f64>],
        inverse: &Mat<f64>,
        mut visit: impl FnMut(usize, &[f64]),
    ) {
        let k = self.k;
        let scalar = k == 1 && terms.blocks.iter().skip(1).all(|block| block.width == 1);
        // Random intercepts need no second pass: their factors are numbers.
        let mut spread = inverse.clone();
        for pass in 0..2 {
            if scalar && pass == 1 {
                break;
            }
            (0..spread.ncols())
                .for_each(|j| apply(terms, factors, spread.col_as_slice_mut(j), false));
            if !scalar {
                spread = spread.transpose().to_owned();
            }
        }
        let mut weights = Vec::new();
        if scalar {
            weights.resize(inverse.ncols(), 1.0);
            apply(terms, factors, &mut weights, false);
        }
        let mut quadratic = vec![0.0; k * k];
        for level in 0..self.levels {
            for (entry, sum) in quadratic.iter_mut().enumerate() {
                let (columns, first) = terms.cells.slices(level * k + entry / k);
                let (_, second) = terms.cells.slices(level * k + entry % k);
                *sum = 0.0;
                for (&j, a) in columns.iter().zip(first) {
                    let of_column = spread.col_as_slice(j as usize);
                    let inner: f64 =
                        columns.iter().zip(second).map(|(&i, b)| b * of_column[i as usize]).sum();
                    *sum += inner * if scalar { a * weights[j as usize] } else { *a };
                }
            }
            visit(level, &quadratic);
        }
    }

    /// `Z_1' (y - Z_r b_r)` of one column of [Q y], [q1].
    fn remaining(&self, terms: &Terms, effects: &[f64], column: usize, left: &mut [f64]) {
        for (row, left) in left.iter_mut().enumerate() {
            let shared: f64 = terms.cells.row(row).map(|(j, n)| n * effects[j]).sum();
            *left = terms.border[(row, column)] - shared;
        }
    }

    /// One row of a block-diagonal matrix times a vector over the block's columns.
    fn row_of(&self, matrix: &[f64], row: usize, vector: &[f64]) -> f64 {
        let k = self.k;
        if k == 1 {
            return matrix[row] * vector[row];
        }
        let (level, within) = (row / k, row % k);
        let entries = &matrix[(level * k + within) * k..][..k];
        entries.iter().zip(&vector[level * k..]).map(|(a, b)| a * b).sum()
    }
}
