//! The difference of two trained models over new cases: the models stay, the patients change.
//!
//! Cases are resampled, or whole clusters of them where cases of one patient or site belong
//! together. The result does not depend on the order of the cases or on the clusters' names.
//! Deliberately absent: retraining; this interval says nothing of the algorithm.
//!
//! Floor: common.

use std::collections::BTreeMap;

use thiserror::Error;

use super::resample::Resampling;
use super::summary::{mean, sd};

/// The mean difference of two models' scores of the same cases.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseInterval {
    pub difference: f64,
    /// Standard deviation of the resampled differences.
    pub se: f64,
    pub percentile: (f64, f64),
    /// Bias-corrected and accelerated; `None` where the differences do not define it, as when all
    /// are equal.
    pub bca: Option<(f64, f64)>,
    pub cases: usize,
    /// What was resampled: clusters, or cases where there are none.
    pub units: usize,
}

/// Why there is no interval.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CasesError {
    #[error("resampling needs at least 2 {what}; there are {count}")]
    TooFew { what: &'static str, count: usize },
    #[error("{clusters} clusters are named for {cases} cases; name one for each case")]
    Uneven { clusters: usize, cases: usize },
    #[error("the difference of case {index}, counted from 0, is not a finite number")]
    NotFinite { index: usize },
}

/// Paired bootstrap over cases: the interval of the mean of `differences`, first minus second.
///
/// With `clusters`, one name a case, whole clusters are drawn and every case in them counts.
/// Source: Efron & Tibshirani (1993), chapters 13 and 14; equal to `scipy.stats.bootstrap` within
/// the error of the draws.
pub fn case_interval(
    differences: &[f64],
    clusters: Option<&[u32]>,
    resampling: &Resampling,
) -> Result<CaseInterval, CasesError> {
    if let Some(index) = differences.iter().position(|value| !value.is_finite()) {
        return Err(CasesError::NotFinite { index });
    }
    let cases = differences.len();
    if let Some(clusters) = clusters.filter(|clusters| clusters.len() != cases) {
        return Err(CasesError::Uneven { clusters: clusters.len(), cases });
    }
    if cases < 2 {
        return Err(CasesError::TooFew { what: "cases", count: cases });
    }
    let centre = mean(differences);
    let units = units(differences, clusters, centre);
    if units.len() < 2 {
        return Err(CasesError::TooFew { what: "clusters", count: units.len() });
    }
    let drawn = resampling.sorted("case interval", |mut generator| {
        let (mut sum, mut size) = (0.0, 0.0);
        for _ in 0..units.len() {
            let unit = &units[generator.below(units.len() as u64) as usize];
            sum += unit.sum;
            size += unit.size;
        }
        sum / size
    });
    let all: f64 = units.iter().map(|unit| unit.sum).sum();
    let jackknife: Vec<f64> =
        units.iter().map(|unit| (all - unit.sum) / (cases as f64 - unit.size)).collect();
    let back = |(low, high): (f64, f64)| (centre + low, centre + high);
    Ok(CaseInterval {
        difference: centre,
        se: sd(&drawn).unwrap_or(0.0),
        percentile: back(resampling.percentile(&drawn)),
        bca: resampling.bca(&drawn, all / cases as f64, &jackknife).map(back),
        cases,
        units: units.len(),
    })
}

/// What is drawn whole: its differences from the centre, summed, and how many they are.
struct Unit {
    sum: f64,
    size: f64,
}

/// In ascending order of sum and size, since draws go by place.
fn units(differences: &[f64], clusters: Option<&[u32]>, centre: f64) -> Vec<Unit> {
    let mut sorted: Vec<(f64, u32)> = match clusters {
        Some(clusters) => differences.iter().copied().zip(clusters.iter().copied()).collect(),
        None => differences.iter().map(|value| (*value, 0)).collect(),
    };
    sorted.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    let mut units: Vec<Unit> = if clusters.is_some() {
        let mut by_name: BTreeMap<u32, Unit> = BTreeMap::new();
        for (value, name) in sorted {
            let unit = by_name.entry(name).or_insert(Unit { sum: 0.0, size: 0.0 });
            unit.sum += value - centre;
            unit.size += 1.0;
        }
        by_name.into_values().collect()
    } else {
        sorted.into_iter().map(|(value, _)| Unit { sum: value - centre, size: 1.0 }).collect()
    };
    units.sort_unstable_by(|x, y| x.sum.total_cmp(&y.sum).then(x.size.total_cmp(&y.size)));
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::{Stream, StreamRng};

    fn resampling() -> Resampling {
        Resampling::new(2000, 0.95, 11).unwrap()
    }

    #[test]
    fn order_of_cases_and_names_of_clusters_change_nothing() {
        let (differences, clusters) = ([0.3, -0.1, 0.2, 0.5, 0.1, 1e6], [1, 1, 2, 2, 3, 3]);
        let (mut reversed, mut renamed) = (differences, clusters.map(|name| 9 - name));
        reversed.reverse();
        renamed.reverse();

        let one = case_interval(&differences, Some(&clusters), &resampling());
        assert_eq!(one, case_interval(&reversed, Some(&renamed), &resampling()));
        let alone = case_interval(&differences, None, &resampling());
        assert_eq!(alone, case_interval(&reversed, None, &resampling()));
    }

    #[test]
    fn clusters_of_one_case_are_no_clusters() {
        let differences = [0.3, -0.1, 0.2, 0.5, 0.1, 0.35];

        assert_eq!(
            case_interval(&differences, None, &resampling()),
            case_interval(&differences, Some(&[5, 3, 1, 0, 2, 4]), &resampling())
        );
    }

    #[test]
    fn copies_of_a_case_bring_no_certainty_when_clustered() {
        let cases = [0.3, -0.1, 0.2, 0.5, 0.1, 0.35, -0.2, 0.0];
        let (copies, names): (Vec<f64>, Vec<u32>) =
            (0..80).map(|i| (cases[i % 8], (i % 8) as u32)).unzip();
        let width = |found: Result<CaseInterval, CasesError>| {
            let (low, high) = found.unwrap().percentile;
            high - low
        };

        let honest = width(case_interval(&cases, None, &resampling()));
        let clustered = width(case_interval(&copies, Some(&names), &resampling()));
        let naive = width(case_interval(&copies, None, &resampling()));

        assert!((clustered / honest - 1.0).abs() < 0.1, "{clustered} {honest}");
        assert!(naive < 0.45 * clustered, "{naive} {clustered}");
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut rng = StreamRng::new(&Digest::of(b"cases"), Stream::Noise, 0, 0);
        let few_draws = Resampling::new(400, 0.9, 1).unwrap();
        let (mut percentile, mut bca) = (0, 0);
        for _ in 0..400 {
            let differences: Vec<f64> = (0..60).map(|_| 0.2 + rng.normal()).collect();
            let found = case_interval(&differences, None, &few_draws).unwrap();
            let covers = |(low, high): (f64, f64)| u32::from(low <= 0.2 && 0.2 <= high);
            percentile += covers(found.percentile);
            bca += covers(found.bca.unwrap());
        }

        // 90 % of 400, within three standard errors of a proportion and the bootstrap's own bias.
        assert!((340..=378).contains(&percentile), "{percentile}");
        assert!((340..=378).contains(&bca), "{bca}");
    }

    #[test]
    fn equal_differences_are_certain() {
        let found = case_interval(&[0.1; 5], None, &resampling()).unwrap();

        assert_eq!((found.difference, found.se, found.percentile), (0.1, 0.0, (0.1, 0.1)));
        assert_eq!(found.bca, None);
    }

    #[test]
    fn what_cannot_be_resampled_is_refused() {
        let of = |differences: &[f64], clusters: Option<&[u32]>| {
            case_interval(differences, clusters, &resampling()).unwrap_err()
        };

        assert_eq!(of(&[0.1], None), CasesError::TooFew { what: "cases", count: 1 });
        let one = CasesError::TooFew { what: "clusters", count: 1 };
        assert_eq!(of(&[0.1, 0.2], Some(&[4, 4])), one);
        assert_eq!(of(&[0.1, 0.2], Some(&[4])), CasesError::Uneven { clusters: 1, cases: 2 });
        assert_eq!(of(&[0.1, f64::INFINITY], None), CasesError::NotFinite { index: 1 });
    }
}
