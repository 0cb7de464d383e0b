//! How stable a ranking is: the chance of each rank for each arm.
//!
//! Means with their covariance are drawn again from the fitted model, and ranked. Deliberately
//! absent: the model; means and covariance are all that is used of it.
//!
//! Floor: common.

use thiserror::Error;

use super::resample::Resampling;

/// The chance of each rank.
#[derive(Clone, Debug, PartialEq)]
pub struct RankStability {
    /// `[arm][rank - 1]`; rank 1 is best. Rows and columns sum to 1.
    pub chances: Vec<Vec<f64>>,
    /// Mean rank of each arm.
    pub mean_ranks: Vec<f64>,
    /// The ranks, from 1, between which each arm lies at the level.
    pub intervals: Vec<(usize, usize)>,
}

/// Why means cannot be ranked again.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RankError {
    #[error("a ranking needs at least 2 arms; there are {arms}")]
    TooFewArms { arms: usize },
    #[error("the covariance of {arms} means has {arms} rows and columns; row {row} has {columns}")]
    Shape { arms: usize, row: usize, columns: usize },
    #[error("the mean or covariance of arm {arm}, counted from 0, is not a finite number")]
    NotFinite { arm: usize },
    #[error(
        "the covariance matrix is not symmetric in row {row} and column {column}, counted \
             from 0"
    )]
    NotSymmetric { row: usize, column: usize },
    #[error("the covariance matrix has a negative eigenvalue, so no means can have it")]
    Indefinite,
}

/// Ranks draws of a normal distribution with `means` `[arm]` and `covariance` `[arm][arm]`.
///
/// The covariance may be singular: arms that move together keep their order. Draws that tie share
/// their ranks. Deterministic; Monte Carlo error sqrt(P (1 - P) / draws).
pub fn rank_stability(
    means: &[f64],
    covariance: &[Vec<f64>],
    larger_is_better: bool,
    resampling: &Resampling,
) -> Result<RankStability, RankError> {
    check(means, covariance)?;
    let columns = root(covariance)?;
    let arms = means.len();
    let sign = if larger_is_better { -1.0 } else { 1.0 };
    let mut counts = vec![vec![0.0; arms]; arms];
    let mut order: Vec<usize> = (0..arms).collect();
    let mut drawn = vec![0.0; arms];
    for mut generator in resampling.generators("rank stability") {
        drawn.copy_from_slice(means);
        for column in &columns {
            let z = generator.normal();
            drawn.iter_mut().zip(column).for_each(|(value, weight)| *value += weight * z);
        }
        order.sort_unstable_by(|x, y| (sign * drawn[*x]).total_cmp(&(sign * drawn[*y])));
        let mut first = 0;
        for tied in order.chunk_by(|x, y| drawn[*x] == drawn[*y]) {
            let ranks = first..first + tied.len();
            let part = 1.0 / tied.len() as f64;
            for arm in tied {
                counts[*arm][ranks.clone()].iter_mut().for_each(|count| *count += part);
            }
            first = ranks.end;
        }
    }
    let draws = f64::from(resampling.draws());
    let chances: Vec<Vec<f64>> =
        counts.iter().map(|row| row.iter().map(|count| count / draws).collect()).collect();
    Ok(RankStability {
        mean_ranks: chances
            .iter()
            .map(|row| row.iter().enumerate().map(|(place, p)| (place + 1) as f64 * p).sum())
            .collect(),
        intervals: chances.iter().map(|row| interval(row, resampling.level())).collect(),
        chances,
    })
}

/// The ranks left when no more than half of what is outside the level is cut at either end.
fn interval(chances: &[f64], level: f64) -> (usize, usize) {
    // A little more, for the rounding of sums that are equal on paper.
    let tail = 0.5 * (1.0 - level) + 1e-12;
    let cut = |chances: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        chances
            .take_while(|p| {
                sum += **p;
                sum <= tail
            })
            .count()
    };
    (1 + cut(&mut chances.iter()), chances.len() - cut(&mut chances.iter().rev()))
}

/// Columns l with `Σ l l' = matrix`, by Cholesky's method with the largest pivot first.
///
/// Stops where what is left is rounding, so a singular matrix has fewer columns than rows.
fn root(matrix: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, RankError> {
    let mut left = matrix.to_vec();
    let arms = left.len();
    let largest = (0..arms).map(|arm| left[arm][arm].abs()).fold(0.0, f64::max);
    let tolerance = 1e-12 * arms as f64 * largest;
    let mut open = vec![true; arms];
    let mut columns = Vec::new();
    loop {
        let pivots = (0..arms).filter(|arm| open[*arm]);
        let pivot = pivots.max_by(|x, y| left[*x][*x].total_cmp(&left[*y][*y]).then(y.cmp(x)));
        let Some(pivot) = pivot.filter(|arm| left[*arm][*arm] > tolerance) else { break };
        let scale = left[pivot][pivot].sqrt();
        let column: Vec<f64> =
            (0..arms).map(|arm| if open[arm] { left[arm][pivot] / scale } else { 0.0 }).collect();
        open[pivot] = false;
        for (row, weight) in left.iter_mut().zip(&column) {
            row.iter_mut().zip(&column).for_each(|(entry, other)| *entry -= weight * other);
        }
        columns.push(column);
    }
    let mut rest = (0..arms).filter(|row| open[*row]);
    let small = |row: usize| {
        left[row].iter().zip(&open).all(|(value, open)| !open || value.abs() <= tolerance)
    };
    if rest.all(small) { Ok(columns) } else { Err(RankError::Indefinite) }
}

fn check(means: &[f64], covariance: &[Vec<f64>]) -> Result<(), RankError> {
    let arms = means.len();
    if arms < 2 {
        return Err(RankError::TooFewArms { arms });
    }
    if covariance.len() != arms {
        let row = covariance.len().min(arms);
        return Err(RankError::Shape { arms, row, columns: 0 });
    }
    for (row, entries) in covariance.iter().enumerate() {
        if entries.len() != arms {
            return Err(RankError::Shape { arms, row, columns: entries.len() });
        }
        if !means[row].is_finite() || entries.iter().any(|entry| !entry.is_finite()) {
            return Err(RankError::NotFinite { arm: row });
        }
    }
    for row in 0..arms {
        for column in 0..row {
            let (one, other) = (covariance[row][column], covariance[column][row]);
            let size = covariance[row][row].abs().max(covariance[column][column].abs());
            if (one - other).abs() > 1e-9 * size {
                return Err(RankError::NotSymmetric { row, column });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::summary::normal_cdf;

    fn resampling(draws: u32) -> Resampling {
        Resampling::new(draws, 0.95, 2).unwrap()
    }

    #[test]
    fn the_better_of_two_is_first_as_often_as_the_normal_says() {
        let covariance = [vec![1.0, 0.4], vec![0.4, 0.8]];
        let found = rank_stability(&[0.5, 0.0], &covariance, true, &resampling(40_000)).unwrap();
        let expected = normal_cdf(0.5 / (1.0f64 + 0.8 - 0.8).sqrt());

        assert!((found.chances[0][0] - expected).abs() < 0.008, "{}", found.chances[0][0]);
        assert!((found.mean_ranks[0] + found.mean_ranks[1] - 3.0).abs() < 1e-12);
        let losses = rank_stability(&[-0.5, 0.0], &covariance, false, &resampling(40_000)).unwrap();
        assert!((losses.chances[0][0] - expected).abs() < 0.008);
    }

    #[test]
    fn rows_and_columns_sum_to_one() {
        let covariance = [vec![1.0, 0.2, 0.0], vec![0.2, 2.0, 0.1], vec![0.0, 0.1, 0.5]];
        let found = rank_stability(&[0.1, 0.2, 0.3], &covariance, true, &resampling(999)).unwrap();

        for place in 0..3 {
            let row: f64 = found.chances[place].iter().sum();
            let column: f64 = found.chances.iter().map(|row| row[place]).sum();
            assert!((row - 1.0).abs() < 1e-12 && (column - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn arms_that_move_together_keep_their_order() {
        let together = vec![vec![4.0; 3]; 3];
        let found = rank_stability(&[0.1, 0.3, 0.1], &together, true, &resampling(500)).unwrap();

        assert_eq!(found.chances, [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]);
        assert_eq!(found.intervals, [(2, 3), (1, 1), (2, 3)]);
        let certain = vec![vec![0.0; 2]; 2];
        let found = rank_stability(&[0.1, 0.3], &certain, true, &resampling(500)).unwrap();
        assert_eq!(found.chances, [[0.0, 1.0], [1.0, 0.0]]);
    }

    #[test]
    fn the_root_of_a_singular_matrix_gives_it_back() {
        let matrix = [vec![2.0, -1.0, -1.0], vec![-1.0, 2.0, -1.0], vec![-1.0, -1.0, 2.0]];
        let columns = root(&matrix).unwrap();

        assert_eq!(columns.len(), 2);
        for (row, entries) in matrix.iter().enumerate() {
            for (other, entry) in entries.iter().enumerate() {
                let found: f64 = columns.iter().map(|column| column[row] * column[other]).sum();
                assert!((found - entry).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let of = |covariance: &[Vec<f64>]| {
            rank_stability(&[0.1, 0.2], covariance, true, &resampling(100)).unwrap_err()
        };

        assert_eq!(of(&[vec![1.0, 2.0], vec![2.0, 1.0]]), RankError::Indefinite);
        assert_eq!(of(&[vec![1.0, 0.0], vec![0.0, -1.0]]), RankError::Indefinite);
        assert_eq!(of(&[vec![0.0, 1.0], vec![1.0, 0.0]]), RankError::Indefinite);
        let skewed = RankError::NotSymmetric { row: 1, column: 0 };
        assert_eq!(of(&[vec![1.0, 0.5], vec![0.1, 1.0]]), skewed);
        assert_eq!(of(&[vec![1.0], vec![1.0]]), RankError::Shape { arms: 2, row: 0, columns: 1 });
        let broken = RankError::NotFinite { arm: 1 };
        assert_eq!(of(&[vec![1.0, 0.0], vec![f64::NAN, 1.0]]), broken);
    }
}
