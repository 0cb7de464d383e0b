//! What choosing costs and gains: the best of n tries, and the bias of the chosen one's own score.
//!
//! A score by which something was chosen flatters it. No result is ever NaN. Deliberately absent: which
//! config is chosen; `choosing` decides that.
//!
//! Floor: common.

use super::summary::mean;

/// The expected best of `n` values drawn from these, without putting any back: unbiased for the best of
/// `n` new tries where the values are independent draws. `None` where there are fewer, or n is 0.
///
/// Σ_i C(i − 1, n − 1) / C(N, n) · v_(i), v_(i) the i-th worst of N. Source: Tang et al. (2020), Showing
/// your work doesn't always work, ACL.
pub fn expected_best(values: &[f64], n: usize, larger_is_better: bool) -> Option<f64> {
    let sorted = worst_first(values, larger_is_better)?;
    let count = sorted.len();
    if n == 0 || n > count {
        return None;
    }
    // The best is at place i with C(i − 1, n − 1) / C(N, n), from the top down: n / N first.
    let mut chance = n as f64 / count as f64;
    let mut sum = 0.0;
    for place in (n..=count).rev() {
        sum += chance * sorted[place - 1];
        chance *= (place - n) as f64 / (place as f64 - 1.0).max(1.0);
    }
    Some(sum)
}

/// The same with each drawn value put back: for comparison, since most papers give it; it is too low.
///
/// Σ_i v_(i) ((i/N)^n − ((i − 1)/N)^n). Source: Dodge et al. (2019), Show your work, EMNLP.
pub fn expected_best_replaced(values: &[f64], n: usize, larger_is_better: bool) -> Option<f64> {
    let sorted = worst_first(values, larger_is_better)?;
    let count = sorted.len() as f64;
    let below = |place: usize| (place as f64 / count).powf(n as f64);
    let terms = sorted.iter().enumerate();
    (n > 0).then(|| terms.map(|(at, value)| value * (below(at + 1) - below(at))).sum())
}

fn worst_first(values: &[f64], larger_is_better: bool) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if !larger_is_better {
        sorted.reverse();
    }
    Some(sorted)
}

/// How much better the config with the best mean over folds looks in these than it is: the mean over
/// folds of the lead that each fold's own best has over it. Never negative.
///
/// `scores` [configs][folds], all finite; `None` for fewer than two configs or folds. Source: Tibshirani &
/// Tibshirani (2009), A bias correction for the minimum error rate in cross-validation, Ann. Appl. Stat. 3.
pub fn tibshirani_bias(scores: &[Vec<f64>], larger_is_better: bool) -> Option<f64> {
    let folds = scores.first()?.len();
    let whole = scores.iter().all(|s| s.len() == folds && s.iter().all(|v| v.is_finite()));
    if scores.len() < 2 || folds < 2 || !whole {
        return None;
    }
    let sign = if larger_is_better { 1.0 } else { -1.0 };
    let first_best = |value: &dyn Fn(&Vec<f64>) -> f64| {
        let mut best = 0;
        for (at, config) in scores.iter().enumerate() {
            if sign * value(config) > sign * value(&scores[best]) {
                best = at;
            }
        }
        best
    };
    let chosen = first_best(&|config| mean(config));
    let lead = |fold: usize| {
        let best = first_best(&|config| config[fold]);
        sign * (scores[best][fold] - scores[chosen][fold])
    };
    Some((0..folds).map(lead).sum::<f64>() / folds as f64)
}

/// Entropy of how often each was chosen, in bits: 0 where one always is, log2 of their number where all are
/// alike.
pub fn entropy_bits(counts: &[u64]) -> f64 {
    let all: u64 = counts.iter().sum();
    let shares = counts.iter().filter(|count| **count > 0).map(|c| *c as f64 / all.max(1) as f64);
    // A sum of nothing else than 1 · log 1 is −0.
    (-shares.map(|share| share * share.log2()).sum::<f64>()).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean over all samples of n of these.
    fn over_all_samples(values: &[f64], n: usize) -> f64 {
        let (mut sum, mut samples) = (0.0, 0);
        for mask in 0u32..1 << values.len() {
            if mask.count_ones() as usize == n {
                let taken = (0..values.len()).filter(|at| mask >> at & 1 == 1);
                sum += taken.map(|at| values[at]).fold(f64::NEG_INFINITY, f64::max);
                samples += 1;
            }
        }
        sum / f64::from(samples)
    }

    #[test]
    fn the_expected_best_is_the_mean_over_all_samples() {
        let values = [0.3, 0.9, 0.1, 0.5, 0.5, 0.7];
        for n in 1..=values.len() {
            let found = expected_best(&values, n, true).unwrap();
            assert!((found - over_all_samples(&values, n)).abs() < 1e-12, "{n}: {found}");
        }
        let worst: Vec<f64> = values.iter().map(|value| -value).collect();
        let (up, down) = (expected_best(&values, 3, true), expected_best(&worst, 3, false));
        assert!((up.unwrap() + down.unwrap()).abs() < 1e-12);
        assert_eq!(expected_best(&values, 7, true), None);
        assert_eq!(expected_best(&[0.1, f64::NAN], 1, true), None);
    }

    #[test]
    fn putting_back_expects_less() {
        let values = [0.1, 0.2, 0.3, 0.4];
        assert!((expected_best_replaced(&values, 1, true).unwrap() - 0.25).abs() < 1e-12);
        // 16 pairs: the best is 0.4 in 7, 0.3 in 5, 0.2 in 3, 0.1 in 1.
        let pairs = (7.0 * 0.4 + 5.0 * 0.3 + 3.0 * 0.2 + 0.1) / 16.0;
        assert!((expected_best_replaced(&values, 2, true).unwrap() - pairs).abs() < 1e-12);
        assert!(pairs < expected_best(&values, 2, true).unwrap());
    }

    #[test]
    fn the_chosen_one_is_flattered_by_what_each_fold_would_have_chosen() {
        let scores = vec![vec![0.9, 0.5], vec![0.6, 0.6], vec![0.1, 0.7]];
        // The first is chosen; the second fold's own best leads it by 0.2.
        assert!((tibshirani_bias(&scores, true).unwrap() - 0.1).abs() < 1e-12);
        let errors: Vec<Vec<f64>> =
            scores.iter().map(|config| config.iter().map(|score| 1.0 - score).collect()).collect();
        assert!((tibshirani_bias(&errors, false).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(tibshirani_bias(&scores[..1], true), None);
        assert_eq!(tibshirani_bias(&[vec![0.1], vec![0.2]], true), None);
    }

    #[test]
    fn entropy_is_none_for_one_and_a_bit_for_two_alike() {
        assert_eq!(entropy_bits(&[7, 0]), 0.0);
        assert_eq!(entropy_bits(&[4, 4]), 1.0);
        assert_eq!(entropy_bits(&[]), 0.0);
        assert!((entropy_bits(&[1, 1, 1, 1]) - 2.0).abs() < 1e-12);
    }
}
