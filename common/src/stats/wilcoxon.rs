//! Wilcoxon's signed-rank test, and a t test that shares its work.
//!
//! Differences are put in order of size once; ranks and sums are taken in that order, so a result
//! does not depend on the order of the pairs. Deliberately absent: one-sided tests.
//!
//! Floor: common.

use super::compare::CompareError;
use super::resample::normal_two_sided;
use super::summary::student_two_sided;

/// A signed-rank test of paired differences against zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedRank {
    /// Pairs that differ; only these are ranked.
    pub pairs: usize,
    /// Sum of the ranks of positive and of negative differences; ties share their mean rank.
    pub plus: f64,
    pub minus: f64,
    /// Two-sided.
    pub p: f64,
    pub mode: RankMode,
}

/// Where the p-value of a signed-rank test comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RankMode {
    /// All assignments of signs were counted: at most 25 pairs, none tied.
    Exact,
    /// The normal approximation, corrected for ties and for continuity.
    Normal,
    /// No pair differs, and p is 1.
    NoDifference,
}

/// The signed-rank test; pairs without difference are left out, as Wilcoxon did.
///
/// Equals `scipy.stats.wilcoxon` with `method="exact"` or `"asymptotic"` and `correction=True`, as
/// the mode says. Source: Wilcoxon (1945), Biometrics Bulletin 1. Checked by
/// `tests/comparisons.rs`.
pub fn signed_rank(differences: &[f64]) -> Result<SignedRank, CompareError> {
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(CompareError::NotFinite { index });
    }
    if differences.is_empty() {
        return Err(CompareError::TooFew { count: 0 });
    }
    let mut ordered = Ordered::default();
    ordered.fill(differences.iter().copied());
    Ok(ordered.signed_rank(&ExactRanks::new()))
}

/// Finite differences in order of size; kept between uses for its memory.
#[derive(Default)]
pub(super) struct Ordered(Vec<u64>);

impl Ordered {
    /// A key is the size's bits, which sort as the size does, and below them the sign.
    pub(super) fn fill(&mut self, differences: impl Iterator<Item = f64>) {
        self.0.clear();
        self.0.extend(differences.map(|value| {
            let negative = u64::from(value < 0.0);
            (value.abs().to_bits() << 1) | negative
        }));
        self.0.sort_unstable();
    }

    pub(super) fn signed_rank(&self, exact: &ExactRanks) -> SignedRank {
        let nonzero = &self.0[self.0.partition_point(|key| key >> 1 == 0)..];
        let pairs = nonzero.len();
        if pairs == 0 {
            let mode = RankMode::NoDifference;
            return SignedRank { pairs, plus: 0.0, minus: 0.0, p: 1.0, mode };
        }
        let (mut minus, mut ties, mut before) = (0.0, 0.0, 0.0);
        for tied in nonzero.chunk_by(|one, other| one >> 1 == other >> 1) {
            let count = tied.len() as f64;
            let negative = tied.iter().map(|key| key & 1).sum::<u64>() as f64;
            minus += negative * (before + 0.5 * (count + 1.0));
            ties += count * (count * count - 1.0);
            before += count;
        }
        let n = pairs as f64;
        let plus = 0.5 * n * (n + 1.0) - minus;
        if pairs <= EXACT_PAIRS_MAX && ties == 0.0 {
            let p = exact.two_sided(pairs, plus.min(minus) as usize);
            return SignedRank { pairs, plus, minus, p, mode: RankMode::Exact };
        }
        let sd = ((n * (n + 1.0) * (2.0 * n + 1.0) - 0.5 * ties) / 24.0).sqrt();
        let apart = plus - 0.25 * n * (n + 1.0);
        // The correction for continuity: half a rank towards the mean, and no further.
        let p = normal_two_sided((apart.abs() - 0.5).max(0.0) / sd);
        SignedRank { pairs, plus, minus, p, mode: RankMode::Normal }
    }

    /// Two-sided p of the plain paired t test; 1 where no pair differs. At least 2 differences.
    pub(super) fn t_p(&self) -> f64 {
        let n = self.0.len() as f64;
        let values = || self.0.iter().map(|key| value(*key));
        // Distances from one of the values: equal differences have no spread by rounding.
        let middle = value(self.0[self.0.len() / 2]);
        let offset = values().map(|v| v - middle).sum::<f64>() / n;
        let squares: f64 = values().map(|v| (v - middle - offset).powi(2)).sum();
        let (mean, se) = (middle + offset, (squares / (n - 1.0) / n).sqrt());
        match (se == 0.0, mean == 0.0) {
            (true, true) => 1.0,
            (true, false) => 0.0,
            (false, _) => student_two_sided(mean / se, n - 1.0),
        }
    }
}

/// How many assignments of signs give each sum of ranks, for every number of pairs counted exactly.
pub(super) struct ExactRanks(Vec<Vec<f64>>);

impl ExactRanks {
    pub(super) fn new() -> Self {
        let mut tables = vec![vec![1.0]];
        for rank in 1..=EXACT_PAIRS_MAX {
            let last = &tables[rank - 1];
            let mut table = last.clone();
            table.resize(last.len() + rank, 0.0);
            last.iter().enumerate().for_each(|(sum, ways)| table[sum + rank] += ways);
            tables.push(table);
        }
        Self(tables)
    }

    fn two_sided(&self, pairs: usize, smaller_sum: usize) -> f64 {
        let ways: f64 = self.0[pairs][..=smaller_sum].iter().sum();
        (2.0 * ways / 2f64.powi(pairs as i32)).min(1.0)
    }
}

fn value(key: u64) -> f64 {
    let size = f64::from_bits(key >> 1);
    if key & 1 == 1 { -size } else { size }
}

/// Scipy counts to 50; from 25 on the approximation is good to three digits.
const EXACT_PAIRS_MAX: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_pairs_of_one_sign_have_one_chance_in_four() {
        let test = signed_rank(&[0.1, 0.2, 0.4]).unwrap();

        assert_eq!((test.plus, test.minus, test.p), (6.0, 0.0, 0.25));
        assert_eq!(test.mode, RankMode::Exact);
    }

    #[test]
    fn pairs_without_difference_say_nothing() {
        let none = signed_rank(&[0.0, -0.0]).unwrap();
        let some = signed_rank(&[0.0, 0.1, 0.2, 0.4, -0.0]).unwrap();

        assert_eq!((none.p, none.mode), (1.0, RankMode::NoDifference));
        assert_eq!(some, signed_rank(&[0.1, 0.2, 0.4]).unwrap());
    }

    #[test]
    fn order_of_the_pairs_changes_nothing() {
        let differences = [0.3, -0.3, 0.1, 1e9, -0.2, 1e-9];
        let mut reversed = differences;
        reversed.reverse();
        let (mut one, mut other) = (Ordered::default(), Ordered::default());
        one.fill(differences.into_iter());
        other.fill(reversed.into_iter());

        assert_eq!(signed_rank(&differences), signed_rank(&reversed));
        assert_eq!(one.t_p(), other.t_p());
    }

    #[test]
    fn ties_at_the_mean_are_no_evidence() {
        let test = signed_rank(&[0.5, -0.5, 0.5, -0.5]).unwrap();

        assert_eq!((test.p, test.mode), (1.0, RankMode::Normal));
    }

    #[test]
    fn what_cannot_be_ranked_is_refused() {
        assert_eq!(signed_rank(&[]), Err(CompareError::TooFew { count: 0 }));
        assert_eq!(signed_rank(&[0.1, f64::NAN]), Err(CompareError::NotFinite { index: 1 }));
    }
}
