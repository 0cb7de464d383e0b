//! The linear algebra that searches need: a Cholesky factor that grows, and eigenvectors.
//!
//! Sums run in one order, eight at a time, so that bits depend on nothing but the numbers. faer is
//! not used: it factors in blocks that are fastest for large matrices, while a search adds one row a
//! time to a factor of a few hundred. Deliberately absent: matrices that are not symmetric.
//!
//! Floor: common.

/// A lower triangle L with `L Lᵀ` = the matrix, row by row.
#[derive(Clone, Debug, Default)]
pub(super) struct Factor {
    /// Row `i` has `i + 1` numbers.
    packed: Vec<f64>,
    size: usize,
}

impl Factor {
    /// The factor of the symmetric matrix whose lower triangle `entry(row, column)` gives.
    ///
    /// `None` where it is not positive definite. O(size³).
    pub fn of(size: usize, entry: impl Fn(usize, usize) -> f64) -> Option<Self> {
        let mut factor = Self { packed: Vec::with_capacity(size * (size + 1) / 2), size: 0 };
        for row in 0..size {
            let line: Vec<f64> = (0..row).map(|column| entry(row, column)).collect();
            factor.grow(line, entry(row, row)).then_some(())?;
        }
        Some(factor)
    }

    /// Adds the matrix's next row: `line` [size] left of the diagonal. `false`, and unchanged, where
    /// the larger matrix is not positive definite. O(size²).
    pub fn grow(&mut self, line: Vec<f64>, diagonal: f64) -> bool {
        let solved = self.forward(line);
        let rest = diagonal - dot(&solved, &solved);
        if rest.is_nan() || rest <= diagonal * REST_MIN {
            return false;
        }
        self.packed.extend_from_slice(&solved);
        self.packed.push(rest.sqrt());
        self.size += 1;
        true
    }

    /// `L⁻¹ b`, b [size].
    pub fn forward(&self, mut b: Vec<f64>) -> Vec<f64> {
        assert_eq!(b.len(), self.size, "one number a row");
        for row in 0..self.size {
            let line = self.row(row);
            let (before, rest) = b.split_at_mut(row);
            rest[0] = (rest[0] - dot(&line[..row], before)) / line[row];
        }
        b
    }

    /// `L⁻ᵀ b`, b [size].
    pub fn backward(&self, mut b: Vec<f64>) -> Vec<f64> {
        assert_eq!(b.len(), self.size, "one number a row");
        for row in (0..self.size).rev() {
            let line = self.row(row);
            let (before, rest) = b.split_at_mut(row);
            rest[0] /= line[row];
            let value = rest[0];
            before.iter_mut().zip(line).for_each(|(b, l)| *b -= l * value);
        }
        b
    }

    /// `Σ log L_ii`: half the logarithm of the matrix's determinant.
    pub fn half_log_determinant(&self) -> f64 {
        (0..self.size).map(|row| self.row(row)[row].ln()).sum()
    }

    /// The matrix's inverse, lower triangle packed as the factor is. O(size³).
    pub fn inverse(&self) -> Vec<f64> {
        let size = self.size;
        // Row `i` of `rows` is column `i` of L⁻¹ from its diagonal on: what the products below read.
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
        for column in 0..size {
            let mut solved = vec![0.0; size - column];
            solved[0] = 1.0 / self.row(column)[column];
            for row in column + 1..size {
                let line = self.row(row);
                let sum = dot(&line[column..row], &solved[..row - column]);
                solved[row - column] = -sum / line[row];
            }
            rows.push(solved);
        }
        let mut packed = Vec::with_capacity(size * (size + 1) / 2);
        for row in 0..size {
            for column in 0..=row {
                packed.push(dot(&rows[row], &rows[column][row - column..]));
            }
        }
        packed
    }

    fn row(&self, row: usize) -> &[f64] {
        let start = row * (row + 1) / 2;
        &self.packed[start..=start + row]
    }
}

/// The sum of products, in eight interleaved parts.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let mut sums = [0.0; 8];
    let (parts, rest) = a.as_chunks::<8>();
    let (others, rest_of_b) = b.as_chunks::<8>();
    for (part, other) in parts.iter().zip(others) {
        (0..8).for_each(|lane| sums[lane] += part[lane] * other[lane]);
    }
    let last: f64 = rest.iter().zip(rest_of_b).map(|(a, b)| a * b).sum();
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])) + last
}

/// Eigenvalues and, as columns, eigenvectors of a symmetric matrix [n, n], by Jacobi's rotations.
///
/// Source: Golub & Van Loan (2013), Matrix Computations, §8.5.
pub(super) fn eigen(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = a.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|row| (0..size).map(|c| f64::from(u8::from(row == c))).collect()).collect();
    for _ in 0..SWEEPS_MAX {
        let total: f64 = a.iter().flatten().map(|entry| entry * entry).sum();
        let off: f64 = (0..size).map(|p| a[p][p + 1..].iter().map(|x| x * x).sum::<f64>()).sum();
        if off <= 1e-28 * total {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    ((0..size).map(|at| a[at][at]).collect(), vectors)
}

/// Turns axes p and q so that entry (p, q) is zero.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    let s = t * c;
    let turn = |row: &mut Vec<f64>| {
        let (x, y) = (row[p], row[q]);
        (row[p], row[q]) = (c * x - s * y, s * x + c * y);
    };
    a.iter_mut().for_each(turn);
    let (above, below) = a.split_at_mut(q);
    for (of_p, of_q) in above[p].iter_mut().zip(&mut below[0]) {
        (*of_p, *of_q) = (c * *of_p - s * *of_q, s * *of_p + c * *of_q);
    }
    vectors.iter_mut().for_each(turn);
}

/// What must be left of a new row's diagonal, as a share of it.
const REST_MIN: f64 = 1e-13;
const SWEEPS_MAX: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::{Stream, StreamRng};

    /// Positive definite, [size, size].
    fn matrix(size: usize) -> Vec<Vec<f64>> {
        let mut rng = StreamRng::new(&Digest::of(b"matrix"), Stream::Search, size as u64, 0);
        let rows: Vec<Vec<f64>> =
            (0..size).map(|_| (0..size).map(|_| rng.normal()).collect()).collect();
        let product = |a: usize, b: usize| dot(&rows[a], &rows[b]) + f64::from(u8::from(a == b));
        (0..size).map(|a| (0..size).map(|b| product(a, b)).collect()).collect()
    }

    #[test]
    fn a_factor_that_grew_solves_and_inverts() {
        for size in [1, 2, 7, 30] {
            let matrix = matrix(size);
            let factor = Factor::of(size, |row, column| matrix[row][column]).expect("definite");
            let b: Vec<f64> = (0..size).map(|at| at as f64 - 3.0).collect();
            let x = factor.backward(factor.forward(b.clone()));
            let inverse = factor.inverse();
            for row in 0..size {
                assert!((dot(&matrix[row], &x) - b[row]).abs() < 1e-9);
                let entry = |column: usize| {
                    let (low, high) = (row.min(column), row.max(column));
                    inverse[high * (high + 1) / 2 + low]
                };
                let of_b: f64 = (0..size).map(|column| entry(column) * b[column]).sum();
                assert!((of_b - x[row]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_repeated_row_is_refused() {
        let mut factor = Factor::of(1, |_, _| 2.0).expect("definite");
        assert!(!factor.grow(vec![2.0], 2.0));
        assert_eq!(factor.size, 1);
    }

    #[test]
    fn eigenvectors_are_only_stretched() {
        let matrix = matrix(9);
        let (values, vectors) = eigen(matrix.clone());
        for (at, value) in values.iter().enumerate() {
            let vector: Vec<f64> = vectors.iter().map(|row| row[at]).collect();
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-12);
            for row in 0..9 {
                assert!((dot(&matrix[row], &vector) - value * vector[row]).abs() < 1e-10);
            }
        }
    }
}
