//! Plain summaries of a list of numbers, and the quantiles that intervals need.
//!
//! Numbers are summed in ascending order, so a summary does not depend on the order they came in.
//! An empty list has no summary: functions say `None` or panic, never NaN. Deliberately absent:
//! models.
//!
//! Floor: common.

use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

/// What a list of numbers looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub n: usize,
    pub mean: f64,
    /// Divisor n - 1; `None` for a single number.
    pub sd: Option<f64>,
    pub median: f64,
    pub iqm: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    /// `None` when there are no values. Values must be finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Self {
            n: sorted.len(),
            mean: mean_of_sorted(&sorted),
            sd: (sorted.len() > 1).then(|| sd_of_sorted(&sorted)),
            median: quantile_of_sorted(&sorted, 0.5),
            iqm: iqm_of_sorted(&sorted),
            min,
            max,
        })
    }
}

/// Arithmetic mean. Panics without values.
pub fn mean(values: &[f64]) -> f64 {
    mean_of_sorted(&sorted(values))
}

/// Standard deviation with divisor n - 1; `None` below two values. Exactly 0 for equal values.
pub fn sd(values: &[f64]) -> Option<f64> {
    (values.len() > 1).then(|| sd_of_sorted(&sorted(values)))
}

/// Middle value, or the mean of the two middle ones. Panics without values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Quantile of type 7 (R's and numpy's default): linear between order statistics.
///
/// Panics without values, or when `probability` is not in [0, 1].
pub fn quantile(values: &[f64], probability: f64) -> f64 {
    quantile_of_sorted(&sorted(values), probability)
}

/// Interquartile mean: a quarter of the values, rounded down, is left out at each end.
///
/// Panics without values. Source: Agarwal et al. (2021), whose rliable takes it as scipy's
/// `trim_mean` at 25 %.
pub fn iqm(values: &[f64]) -> f64 {
    iqm_of_sorted(&sorted(values))
}

/// Student interval of the mean of independent values; `None` below two values.
pub fn mean_interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    let n = sorted.len() as f64;
    let (mean, sd) = ((n > 1.0).then(|| mean_of_sorted(&sorted))?, sd_of_sorted(&sorted));
    let half = student_quantile(0.5 + 0.5 * level, n - 1.0) * sd / n.sqrt();
    Some((mean - half, mean + half))
}

/// Wilson's score interval of a share, `successes` out of `trials`.
///
/// Panics without trials, with more successes than trials, or when `level` is not in (0, 1).
/// Source: Wilson (1927), J. Am. Stat. Assoc. 22.
pub fn wilson_interval(successes: u64, trials: u64, level: f64) -> (f64, f64) {
    assert!(trials > 0 && successes <= trials, "a share needs trials, and no more successes");
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    let n = trials as f64;
    let share = successes as f64 / n;
    let z = normal_quantile(0.5 + 0.5 * level);
    let weight = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / weight;
    let half = z / weight * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == trials { 1.0 } else { centre + half };
    (low, high)
}

/// Quantile of the standard normal distribution, `probability` in (0, 1).
pub fn normal_quantile(probability: f64) -> f64 {
    inside(probability);
    polished(&Normal::standard(), probability)
}

/// Standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// Quantile of Student's t with `df` > 0 degrees of freedom, `probability` in (0, 1).
pub fn student_quantile(probability: f64, df: f64) -> f64 {
    inside(probability);
    if probability == 0.5 {
        return 0.0;
    }
    polished(&student(df), probability)
}

/// Chance that Student's t with `df` > 0 degrees of freedom is above `x`.
pub fn student_upper(x: f64, df: f64) -> f64 {
    student(df).sf(x)
}

/// Density of Student's t with `df` > 0 degrees of freedom.
pub fn student_density(x: f64, df: f64) -> f64 {
    student(df).pdf(x)
}

/// Chance that |t| is larger with `df` > 0 degrees of freedom.
pub fn student_two_sided(t: f64, df: f64) -> f64 {
    if t.is_infinite() { 0.0 } else { (2.0 * student(df).sf(t.abs())).min(1.0) }
}

fn student(df: f64) -> StudentsT {
    assert!(df > 0.0, "degrees of freedom are positive");
    StudentsT::new(0.0, 1.0, df).unwrap_or_else(|_| unreachable!("a unit scale is valid"))
}

fn inside(probability: f64) {
    assert!(probability > 0.0 && probability < 1.0, "a probability lies between 0 and 1");
}

/// The library's inverse is good to some eight digits; Newton steps bring the rest. They work in
/// the lower half, where the distribution function keeps its digits.
fn polished<D>(distribution: &D, probability: f64) -> f64
where
    D: ContinuousCDF<f64, f64> + Continuous<f64, f64>,
{
    let (tail, sign) =
        if probability > 0.5 { (1.0 - probability, -1.0) } else { (probability, 1.0) };
    let mut x = distribution.inverse_cdf(tail);
    for _ in 0..2 {
        let step = (distribution.cdf(x) - tail) / distribution.pdf(x);
        if step.is_finite() {
            x -= step;
        }
    }
    sign * x
}

fn sorted(values: &[f64]) -> Vec<f64> {
    debug_assert!(values.iter().all(|value| value.is_finite()), "values are finite");
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The mean of the values' distances from their middle, which keeps digits when they lie far
/// from zero.
pub(super) fn mean_of_sorted(sorted: &[f64]) -> f64 {
    assert!(!sorted.is_empty(), "no values have no mean");
    let middle = sorted[sorted.len() / 2];
    middle + sorted.iter().map(|value| value - middle).sum::<f64>() / sorted.len() as f64
}

fn sd_of_sorted(sorted: &[f64]) -> f64 {
    let mean = mean_of_sorted(sorted);
    let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (sorted.len() - 1) as f64).sqrt()
}

pub(super) fn quantile_of_sorted(sorted: &[f64], probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "a probability lies between 0 and 1");
    assert!(!sorted.is_empty(), "no values have no quantile");
    let place = probability * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

fn iqm_of_sorted(sorted: &[f64]) -> f64 {
    let cut = sorted.len() / 4;
    mean_of_sorted(&sorted[cut..sorted.len() - cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_does_not_depend_on_order() {
        let values = [0.1, 0.7, 1e9, -3.3, 0.2, 1e-9];
        let mut reversed = values;
        reversed.reverse();

        assert_eq!(Summary::of(&values), Summary::of(&reversed));
    }

    #[test]
    fn equal_values_have_no_spread() {
        let summary = Summary::of(&[0.1; 7]).unwrap();

        assert_eq!((summary.mean, summary.sd), (0.1, Some(0.0)));
        assert_eq!(mean_interval(&[0.1; 7], 0.95), Some((0.1, 0.1)));
    }

    #[test]
    fn one_value_has_no_sd_and_none_no_summary() {
        assert_eq!(Summary::of(&[2.5]).unwrap().sd, None);
        assert_eq!(mean_interval(&[2.5], 0.95), None);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn iqm_leaves_out_a_quarter_at_each_end() {
        assert_eq!(iqm(&[1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1000.0]), 3.5);
        assert_eq!(iqm(&[1.0, 2.0, 9.0]), 4.0);
    }

    #[test]
    fn wilson_ends_stay_in_the_unit_interval() {
        assert_eq!(wilson_interval(0, 7, 0.95).0, 0.0);
        assert_eq!(wilson_interval(7, 7, 0.95).1, 1.0);
    }

    #[test]
    fn quantiles_are_symmetric() {
        assert_eq!(normal_quantile(0.5).abs(), 0.0);
        assert_eq!(student_quantile(0.975, 4.5), -student_quantile(1.0 - 0.975, 4.5));
    }
}
