//! Several arms on several studies or data sets, by their ranks.
//!
//! Scores of different data sets have no common scale, but their order has. Friedman's test asks
//! whether arms differ at all, Nemenyi's critical difference which do. Deliberately absent: what
//! counts as better; larger scores do.
//!
//! Source: Demšar (2006), J. Mach. Learn. Res. 7. Checked by `tests/comparisons.rs`.
//!
//! Floor: common.

use thiserror::Error;

use super::distribution::{chi_square_upper, f_upper, normal_range_quantile};

/// Friedman's test and Nemenyi's comparison of all pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Friedman {
    pub studies: usize,
    /// Mean rank of each arm; 1 is best, ties share their mean rank.
    pub ranks: Vec<f64>,
    /// Corrected for ties; degrees of freedom are arms - 1.
    pub chi_square: f64,
    pub p_chi_square: f64,
    /// Iman and Davenport's less conservative form; infinite when all studies rank alike.
    pub f: f64,
    pub df: (f64, f64),
    pub p_f: f64,
    /// Arms whose mean ranks are apart by this much or more differ.
    pub critical_difference: f64,
    /// Largest sets of two or more arms that do not differ, from the best rank on; arms within a
    /// set in the order of their ranks.
    pub alike: Vec<Vec<usize>>,
}

/// Why arms cannot be compared by ranks.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FriedmanError {
    #[error("ranks need at least 2 studies; there are {studies}")]
    TooFewStudies { studies: usize },
    #[error("ranks need 2 to {ARMS_MAX} arms; there are {arms}")]
    Arms { arms: usize },
    #[error(
        "study {study}, counted from 0, has {arms} arms and study 0 has {expected}; leave out \
             studies that lack an arm"
    )]
    Uneven { study: usize, arms: usize, expected: usize },
    #[error("the score of arm {arm} in study {study}, counted from 0, is not a finite number")]
    NotFinite { study: usize, arm: usize },
    #[error("the error rate is {alpha}; it must lie between 0 and 1")]
    Alpha { alpha: f64 },
}

/// Compares arms by `scores` `[study][arm]`, larger better, at the error rate `alpha`.
///
/// With N studies, k arms and mean ranks R: `χ² = 12 N / (k (k + 1)) Σ (R - (k + 1)/2)²` over the
/// share that ties leave (as `scipy.stats.friedmanchisquare`), `F = (N - 1) χ² / (N (k - 1) - χ²)`
/// with k - 1 and (k - 1)(N - 1) degrees of freedom, `CD = q_alpha sqrt(k (k + 1) / (6 N))`, q_alpha
/// the studentized range's quantile over √2. Where every study ties all arms, nothing differs.
pub fn friedman(scores: &[Vec<f64>], alpha: f64) -> Result<Friedman, FriedmanError> {
    check(scores, alpha)?;
    let (studies, arms) = (scores.len() as f64, scores[0].len() as f64);
    let mut sums = vec![0.0; scores[0].len()];
    let mut ties = 0.0;
    for row in scores {
        let (ranks, tied) = ranked(row);
        sums.iter_mut().zip(&ranks).for_each(|(sum, rank)| *sum += rank);
        ties += tied;
    }
    let ranks: Vec<f64> = sums.iter().map(|sum| sum / studies).collect();
    // Sums of ranks are multiples of one half, so this is exact and has no order.
    let squares: f64 = sums.iter().map(|sum| (sum - 0.5 * studies * (arms + 1.0)).powi(2)).sum();
    let untied = 1.0 - ties / (studies * arms * (arms * arms - 1.0));
    let chi_square = if squares == 0.0 {
        0.0
    } else {
        12.0 / (studies * arms * (arms + 1.0)) * squares / untied
    };
    let df = (arms - 1.0, (arms - 1.0) * (studies - 1.0));
    let left = studies * (arms - 1.0) - chi_square;
    // All studies alike leave nothing but rounding.
    let alike_everywhere = left <= 1e-12 * studies * arms;
    let f = if alike_everywhere { f64::INFINITY } else { (studies - 1.0) * chi_square / left };
    let critical_difference = critical_difference(scores[0].len(), scores.len(), alpha)?;
    Ok(Friedman {
        studies: scores.len(),
        alike: alike(&ranks, critical_difference),
        ranks,
        chi_square,
        p_chi_square: chi_square_upper(chi_square, df.0),
        f,
        df,
        p_f: f_upper(f, df),
        critical_difference,
    })
}

/// Nemenyi's critical difference of mean ranks, of `arms` in `studies` at the error rate `alpha`.
pub fn critical_difference(arms: usize, studies: usize, alpha: f64) -> Result<f64, FriedmanError> {
    check_size(arms, studies, alpha)?;
    let (k, n) = (arms as f64, studies as f64);
    let q = normal_range_quantile(1.0 - alpha, arms as u32) / 2f64.sqrt();
    Ok(q * (k * (k + 1.0) / (6.0 * n)).sqrt())
}

/// Rank of each score, 1 for the largest, and the sum of t³ - t over its ties of t.
fn ranked(scores: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|x, y| scores[*y].total_cmp(&scores[*x]));
    let (mut ranks, mut ties, mut before) = (vec![0.0; scores.len()], 0.0, 0.0);
    // Compared as numbers, so that 0 and -0 tie; sorted, they are neighbours.
    for tied in order.chunk_by(|x, y| scores[*x] == scores[*y]) {
        let count = tied.len() as f64;
        tied.iter().for_each(|place| ranks[*place] = before + 0.5 * (count + 1.0));
        ties += count * (count * count - 1.0);
        before += count;
    }
    (ranks, ties)
}

fn alike(ranks: &[f64], critical_difference: f64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by(|x, y| ranks[*x].total_cmp(&ranks[*y]).then(x.cmp(y)));
    let mut groups = Vec::new();
    let mut covered = 0;
    for start in 0..order.len() {
        let near = |place: &usize| ranks[*place] - ranks[order[start]] < critical_difference;
        let end = start + order[start..].iter().take_while(|place| near(place)).count();
        // A set that ends where an earlier one did lies within it.
        if end > covered && end > start + 1 {
            groups.push(order[start..end].to_vec());
        }
        covered = covered.max(end);
    }
    groups
}

fn check(scores: &[Vec<f64>], alpha: f64) -> Result<(), FriedmanError> {
    let expected = scores.first().map_or(0, Vec::len);
    check_size(expected, scores.len(), alpha)?;
    for (study, row) in scores.iter().enumerate() {
        if row.len() != expected {
            return Err(FriedmanError::Uneven { study, arms: row.len(), expected });
        }
        if let Some(arm) = row.iter().position(|score| !score.is_finite()) {
            return Err(FriedmanError::NotFinite { study, arm });
        }
    }
    Ok(())
}

fn check_size(arms: usize, studies: usize, alpha: f64) -> Result<(), FriedmanError> {
    if alpha.is_nan() || alpha <= 0.0 || alpha >= 1.0 {
        return Err(FriedmanError::Alpha { alpha });
    }
    if studies < 2 {
        return Err(FriedmanError::TooFewStudies { studies });
    }
    if !(2..=ARMS_MAX).contains(&arms) {
        return Err(FriedmanError::Arms { arms });
    }
    Ok(())
}

/// Beyond this nobody reads a diagram.
const ARMS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_ranks_and_the_largest_is_first() {
        assert_eq!(ranked(&[0.2, 0.9, 0.2, 0.5]), (vec![3.5, 1.0, 3.5, 2.0], 6.0));
        assert_eq!(ranked(&[0.0, -0.0]).0, [1.5, 1.5]);
    }

    #[test]
    fn arms_that_always_tie_do_not_differ() {
        let test = friedman(&vec![vec![0.5; 3]; 4], 0.05).unwrap();

        assert_eq!((test.chi_square, test.p_chi_square, test.f, test.p_f), (0.0, 1.0, 0.0, 1.0));
        assert_eq!(test.ranks, [2.0; 3]);
        assert_eq!(test.alike, [[0, 1, 2]]);
    }

    #[test]
    fn studies_that_all_rank_alike_leave_no_doubt() {
        let test = friedman(&vec![vec![0.1, 0.3, 0.2]; 7], 0.05).unwrap();

        assert_eq!((test.ranks.as_slice(), test.chi_square), (&[3.0, 1.0, 2.0][..], 14.0));
        assert_eq!((test.f, test.p_f), (f64::INFINITY, 0.0));
    }

    #[test]
    fn sets_that_overlap_are_both_shown_and_no_set_is_within_another() {
        assert_eq!(alike(&[1.0, 2.0, 3.0, 5.0], 1.5), [[0, 1], [1, 2]]);
        assert_eq!(alike(&[3.0, 1.0, 2.0], 2.5), [[1, 2, 0]]);
        assert_eq!(alike(&[1.0, 2.0], 1.0), [[0; 0]; 0]);
    }

    #[test]
    fn critical_differences_are_those_of_the_paper() {
        // Demšar's examples: 4 and 5 classifiers, 14 and 30 data sets.
        for (arms, studies, alpha, published) in
            [(4, 14, 0.05, 1.25), (4, 14, 0.10, 1.12), (5, 30, 0.05, 1.11)]
        {
            let found = critical_difference(arms, studies, alpha).unwrap();
            assert!((found - published).abs() < 6e-3, "{arms} {studies}: {found}");
        }
    }

    #[test]
    fn what_has_no_ranks_is_refused() {
        let of = |scores: &[Vec<f64>]| friedman(scores, 0.05).unwrap_err();

        assert_eq!(of(&[vec![0.1, 0.2]]), FriedmanError::TooFewStudies { studies: 1 });
        assert_eq!(of(&[vec![0.1], vec![0.1]]), FriedmanError::Arms { arms: 1 });
        let uneven = FriedmanError::Uneven { study: 1, arms: 1, expected: 2 };
        assert_eq!(of(&[vec![0.1, 0.2], vec![0.1]]), uneven);
        let broken = FriedmanError::NotFinite { study: 1, arm: 0 };
        assert_eq!(of(&[vec![0.1, 0.2], vec![f64::NAN, 0.1]]), broken);
        assert_eq!(critical_difference(3, 5, 0.0), Err(FriedmanError::Alpha { alpha: 0.0 }));
    }
}
