//! Small dense matrices, by rows: the relative covariance factors of vector-valued terms.
//!
//! A factor F stands for the covariance `sigma^2 F F'` of the effects of one level; which of its
//! roots it is does not matter here. Deliberately absent: what they are for.
//!
//! Floor: common.

/// `a b`, all [k, k].
pub(super) fn times(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let mut product = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..k {
            product[i * k + j] = (0..k).map(|l| a[i * k + l] * b[l * k + j]).sum();
        }
    }
    product
}

pub(super) fn transposed(a: &[f64], k: usize) -> Vec<f64> {
    (0..k * k).map(|at| a[at % k * k + at / k]).collect()
}

/// `a'  b a`, all [k, k].
pub(super) fn sandwiched(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    times(&transposed(a, k), &times(b, a, k), k)
}

/// The inverse and the logarithm of the determinant's size, by Gauss and Jordan with pivots;
/// `None` for a singular matrix.
pub(super) fn inverse(a: &[f64], k: usize) -> Option<(Vec<f64>, f64)> {
    let mut a = a.to_vec();
    let mut inverse: Vec<f64> =
        (0..k * k).map(|at| f64::from(u8::from(at / k == at % k))).collect();
    let mut log_det = 0.0;
    for column in 0..k {
        let size = |row: &usize| a[row * k + column].abs();
        let pivot = (column..k).max_by(|i, j| size(i).total_cmp(&size(j)))?;
        let value = a[pivot * k + column];
        if value == 0.0 || !value.is_finite() {
            return None;
        }
        log_det += value.abs().ln();
        for j in 0..k {
            a.swap(pivot * k + j, column * k + j);
            inverse.swap(pivot * k + j, column * k + j);
            a[column * k + j] /= value;
            inverse[column * k + j] /= value;
        }
        for row in (0..k).filter(|&row| row != column) {
            let factor = a[row * k + column];
            for j in 0..k {
                a[row * k + j] -= factor * a[column * k + j];
                inverse[row * k + j] -= factor * inverse[column * k + j];
            }
        }
    }
    Some((inverse, log_det))
}

/// The lower triangular root of `f f'` with no negative diagonal, by reflections of f's rows.
///
/// Where nothing is left for a diagonal, its column is zero.
pub(super) fn lower_root(f: &[f64], k: usize) -> Vec<f64> {
    let mut reduced = f.to_vec();
    let mut root = vec![0.0; k * k];
    let mut pivot = 0;
    for row in 0..k {
        // A reflection of the columns from `pivot` on that leaves one entry in this row.
        let tail = reduced[row * k + pivot..(row + 1) * k].to_vec();
        let norm = tail.iter().map(|value| value * value).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let mut normal = tail.clone();
        normal[0] += norm.copysign(tail[0]);
        let squares: f64 = normal.iter().map(|value| value * value).sum();
        for i in row..k {
            let entries = &mut reduced[i * k + pivot..(i + 1) * k];
            let along: f64 = entries.iter().zip(&normal).map(|(a, b)| a * b).sum();
            let step = 2.0 * along / squares;
            entries.iter_mut().zip(&normal).for_each(|(entry, n)| *entry -= step * n);
        }
        // The reflected entry is -norm with the sign of the old one.
        let sign = -1f64.copysign(tail[0]);
        root[row * k + row] = norm;
        for i in row + 1..k {
            root[i * k + row] = sign * reduced[i * k + pivot];
        }
        pivot += 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: [f64; 9] = [0.5, -2.0, 0.1, 1.0, 3.0, -0.7, 0.2, 0.4, 0.9];

    #[test]
    fn the_lower_root_has_the_same_square() {
        let singular = [1.0, 2.0, 0.0, 2.0, 4.0, 0.0, 3.0, 6.0, 1.0];
        let late = [0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 1.0, 1.0, 2.0];
        for f in [&F, &[0.0; 9], &singular, &late] {
            let root = lower_root(f, 3);
            let squares = [&f[..], &root].map(|f| times(f, &transposed(f, 3), 3));
            for (a, b) in squares[0].iter().zip(&squares[1]) {
                assert!((a - b).abs() < 1e-12, "{a} {b}");
            }
            assert!(root[1] == 0.0 && root[2] == 0.0 && root[5] == 0.0);
            assert!(root[0] >= 0.0 && root[4] >= 0.0 && root[8] >= 0.0);
        }
    }

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let (inverted, log_det) = inverse(&F, 3).unwrap();
        for (at, value) in times(&F, &inverted, 3).into_iter().enumerate() {
            let expected = if at % 4 == 0 { 1.0 } else { 0.0 };
            assert!((value - expected).abs() < 1e-14, "{value}");
        }
        let det: f64 = 0.5 * (3.0 * 0.9 + 0.7 * 0.4) + 2.0 * (0.9 + 0.7 * 0.2) + 0.1 * (0.4 - 0.6);
        assert!((log_det - det.abs().ln()).abs() < 1e-14, "{log_det} {det}");
        assert!(inverse(&[0.0; 4], 2).is_none());
    }
}
