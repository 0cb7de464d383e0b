//! An arm over several studies or tasks, each run several times.
//!
//! All runs of all studies count alike, as rliable takes them, so scores must be on one scale and a
//! study with more runs weighs more; only the probability of improvement weighs studies alike.
//! Larger scores are better: losses are negated first. Intervals resample runs within each study,
//! since the studies would stay in a repetition. Deliberately absent: bringing scores to one scale.
//!
//! Source: Agarwal et al. (2021), NeurIPS 34. Point estimates equal rliable's, intervals agree
//! within the error of the draws; checked by `tests/comparisons.rs`.
//!
//! Floor: common.

use thiserror::Error;

use super::resample::Resampling;
use super::summary;
use crate::seed::StreamRng;

/// A number with its percentile interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub interval: (f64, f64),
}

/// One point of a performance profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProfilePoint {
    pub threshold: f64,
    /// Share of runs with a score above the threshold; its band holds point by point.
    pub above: Estimate,
}

/// Why studies cannot be summarised.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StudiesError {
    #[error("there are no studies to summarise")]
    NoStudies,
    #[error("study {study}, counted from 0, has no runs; leave it out")]
    NoRuns { study: usize },
    #[error("run {run} of study {study}, counted from 0, has a score that is not a finite number")]
    NotFinite { study: usize, run: usize },
    #[error("one arm has {a} studies and the other {b}; compare them on the same")]
    Uneven { a: usize, b: usize },
    #[error("the {what} is {value}; it must be a finite number")]
    Setting { what: &'static str, value: f64 },
}

/// Interquartile mean of all runs, `studies` `[study][run]`.
pub fn interquartile_mean(
    studies: &[Vec<f64>],
    resampling: &Resampling,
) -> Result<Estimate, StudiesError> {
    check(studies)?;
    Ok(pooled(studies, resampling, "interquartile mean", summary::iqm))
}

/// How far runs fall short of `target` on average; better ones count as having reached it.
pub fn optimality_gap(
    studies: &[Vec<f64>],
    target: f64,
    resampling: &Resampling,
) -> Result<Estimate, StudiesError> {
    check(studies)?;
    finite("target", target)?;
    Ok(pooled(studies, resampling, "optimality gap", |runs| {
        let short: Vec<f64> = runs.iter().map(|score| (target - score).max(0.0)).collect();
        summary::mean(&short)
    }))
}

/// Chance that a run of `a` beats one of `b` in the same study, ties half, averaged over studies.
///
/// `a` and `b` `[study][run]`, studies in the same order; runs are not paired, so their numbers may
/// differ. Source: Agarwal et al. (2021), as the Mann-Whitney U of each study over its pairs.
pub fn probability_of_improvement(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    resampling: &Resampling,
) -> Result<Estimate, StudiesError> {
    check(a)?;
    check(b)?;
    if a.len() != b.len() {
        return Err(StudiesError::Uneven { a: a.len(), b: b.len() });
    }
    let (a, b) = (in_order(a), in_order(b));
    // A run of `a` is all where it stands among those of `b`: how many it beats and does not lose to.
    let stands: Vec<Vec<(usize, usize)>> = a.iter().zip(&b).map(|(a, b)| standing(a, b)).collect();
    let own = |runs: &[Vec<f64>]| -> Vec<Vec<usize>> {
        runs.iter().map(|runs| (0..runs.len()).collect()).collect()
    };
    let (mut of_a, mut of_b) = (own(&a), own(&b));
    let value = average_share(&stands, &of_a, &of_b);
    let drawn = resampling.sorted("probability of improvement", |mut generator| {
        redraw(&mut of_a, &mut generator);
        redraw(&mut of_b, &mut generator);
        average_share(&stands, &of_a, &of_b)
    });
    Ok(Estimate { value, interval: resampling.percentile(&drawn) })
}

/// Share of runs above each of `thresholds`, in their order, with a band.
pub fn performance_profile(
    studies: &[Vec<f64>],
    thresholds: &[f64],
    resampling: &Resampling,
) -> Result<Vec<ProfilePoint>, StudiesError> {
    check(studies)?;
    thresholds.iter().try_for_each(|threshold| finite("threshold", *threshold))?;
    let mut levels = thresholds.to_vec();
    levels.sort_unstable_by(f64::total_cmp);
    // A run is all that matters of it: how many thresholds it is above.
    let passed: Vec<Vec<usize>> = in_order(studies)
        .iter()
        .map(|runs| runs.iter().map(|run| levels.partition_point(|level| level < run)).collect())
        .collect();
    let runs: usize = passed.iter().map(Vec::len).sum();
    let mut columns = vec![Vec::with_capacity(resampling.draws() as usize); levels.len()];
    let mut counts = vec![0u64; levels.len() + 1];
    for mut generator in resampling.generators("performance profile") {
        counts.fill(0);
        for study in &passed {
            for _ in 0..study.len() {
                counts[study[generator.below(study.len() as u64) as usize]] += 1;
            }
        }
        let mut above = runs as u64;
        for (place, column) in columns.iter_mut().enumerate() {
            above -= counts[place];
            column.push(above as f64 / runs as f64);
        }
    }
    columns.iter_mut().for_each(|column| column.sort_unstable_by(f64::total_cmp));
    let all = passed.concat();
    let points = thresholds.iter().map(|threshold| {
        let place = levels.partition_point(|level| level.total_cmp(threshold).is_lt());
        let value = all.iter().filter(|passed| **passed > place).count() as f64 / runs as f64;
        let interval = resampling.percentile(&columns[place]);
        ProfilePoint { threshold: *threshold, above: Estimate { value, interval } }
    });
    Ok(points.collect())
}

/// A statistic of all runs together, resampled within studies.
fn pooled(
    studies: &[Vec<f64>],
    resampling: &Resampling,
    purpose: &str,
    statistic: impl Fn(&[f64]) -> f64,
) -> Estimate {
    let studies = in_order(studies);
    let mut again = studies.concat();
    let value = statistic(&again);
    let drawn = resampling.sorted(purpose, |mut generator| {
        let mut place = 0;
        for runs in &studies {
            for _ in 0..runs.len() {
                again[place] = runs[generator.below(runs.len() as u64) as usize];
                place += 1;
            }
        }
        statistic(&again)
    });
    Estimate { value, interval: resampling.percentile(&drawn) }
}

/// For each of `a`, how many of `b` lie below it, and how many do not lie above. Both ascend.
fn standing(a: &[f64], b: &[f64]) -> Vec<(usize, usize)> {
    let place = |run: &f64| (b.partition_point(|y| y < run), b.partition_point(|y| y <= run));
    a.iter().map(place).collect()
}

/// Mean over studies of the share of pairs that drawn runs of `a` win, ties half.
///
/// `a` and `b` hold the drawn runs' places `[study][draw]`.
fn average_share(stands: &[Vec<(usize, usize)>], a: &[Vec<usize>], b: &[Vec<usize>]) -> f64 {
    let share = |stands: &[(usize, usize)], a: &[usize], b: &[usize]| {
        let mut below = vec![0u64; b.len() + 1];
        b.iter().for_each(|place| below[place + 1] += 1);
        (0..b.len()).for_each(|place| below[place + 1] += below[place]);
        // Twice the wins, ties once: whole numbers, so that equal shares are equal.
        let points = |place: &usize| below[stands[*place].0] + below[stands[*place].1];
        let won: u64 = a.iter().map(points).sum();
        won as f64 / (2 * a.len() * b.len()) as f64
    };
    let shares = stands.iter().zip(a.iter().zip(b)).map(|(stands, (a, b))| share(stands, a, b));
    shares.sum::<f64>() / stands.len() as f64
}

fn redraw(places: &mut [Vec<usize>], generator: &mut StreamRng) {
    for of_study in places {
        let runs = of_study.len() as u64;
        of_study.iter_mut().for_each(|place| *place = generator.below(runs) as usize);
    }
}

/// Runs in ascending order: which number a run has means nothing, and draws go by place.
fn in_order(studies: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut studies = studies.to_vec();
    studies.iter_mut().for_each(|runs| runs.sort_unstable_by(f64::total_cmp));
    studies
}

fn check(studies: &[Vec<f64>]) -> Result<(), StudiesError> {
    if studies.is_empty() {
        return Err(StudiesError::NoStudies);
    }
    for (study, runs) in studies.iter().enumerate() {
        if runs.is_empty() {
            return Err(StudiesError::NoRuns { study });
        }
        if let Some(run) = runs.iter().position(|score| !score.is_finite()) {
            return Err(StudiesError::NotFinite { study, run });
        }
    }
    Ok(())
}

fn finite(what: &'static str, value: f64) -> Result<(), StudiesError> {
    if value.is_finite() { Ok(()) } else { Err(StudiesError::Setting { what, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampling() -> Resampling {
        Resampling::new(1000, 0.95, 4).unwrap()
    }

    #[test]
    fn single_runs_have_intervals_without_width() {
        let studies = [vec![0.2], vec![0.4], vec![0.6], vec![0.9]];
        let iqm = interquartile_mean(&studies, &resampling()).unwrap();
        let gap = optimality_gap(&studies, 0.6, &resampling()).unwrap();

        assert_eq!((iqm.value, iqm.interval), (0.5, (0.5, 0.5)));
        assert!((gap.value - 0.15).abs() < 1e-15 && gap.interval == (gap.value, gap.value));
    }

    #[test]
    fn order_of_the_runs_changes_nothing() {
        let (one, other) =
            ([vec![0.1, 0.5, 0.3], vec![0.7, 0.2]], [vec![0.3, 0.1, 0.5], vec![0.2, 0.7]]);

        assert_eq!(
            interquartile_mean(&one, &resampling()),
            interquartile_mean(&other, &resampling())
        );
        assert_eq!(
            performance_profile(&one, &[0.3, 0.1], &resampling()),
            performance_profile(&other, &[0.3, 0.1], &resampling())
        );
    }

    #[test]
    fn improvement_of_equals_is_one_half_and_swaps() {
        let a = [vec![0.1, 0.5, 0.3], vec![0.7, 0.2]];
        let b = [vec![0.2, 0.1], vec![0.7, 0.3]];
        let of = |a: &[Vec<f64>], b: &[Vec<f64>]| {
            probability_of_improvement(a, b, &resampling()).unwrap()
        };

        assert_eq!(of(&a, &a).value, 0.5);
        assert!((of(&a, &b).value + of(&b, &a).value - 1.0).abs() < 1e-15);
        let better = [vec![1.0; 3], vec![1.0; 2]];
        assert_eq!(of(&better, &a), Estimate { value: 1.0, interval: (1.0, 1.0) });
    }

    #[test]
    fn a_profile_falls_from_one_to_zero_and_keeps_the_callers_order() {
        let studies = [vec![0.2, 0.4, 0.4], vec![0.6, 0.8, 0.9]];
        let profile = performance_profile(&studies, &[0.9, 0.0, 0.4, 0.4], &resampling()).unwrap();
        let values: Vec<f64> = profile.iter().map(|point| point.above.value).collect();

        assert_eq!(values, [0.0, 1.0, 0.5, 0.5]);
        assert_eq!(profile[2], profile[3]);
        assert_eq!((profile[1].threshold, profile[1].above.interval), (0.0, (1.0, 1.0)));
    }

    #[test]
    fn what_cannot_be_summarised_is_refused() {
        assert_eq!(interquartile_mean(&[], &resampling()), Err(StudiesError::NoStudies));
        let empty = interquartile_mean(&[vec![0.1], vec![]], &resampling());
        assert_eq!(empty, Err(StudiesError::NoRuns { study: 1 }));
        let broken = optimality_gap(&[vec![0.1, f64::NAN]], 1.0, &resampling());
        assert_eq!(broken, Err(StudiesError::NotFinite { study: 0, run: 1 }));
        let uneven = probability_of_improvement(&[vec![0.1]], &vec![vec![0.1]; 2], &resampling());
        assert_eq!(uneven, Err(StudiesError::Uneven { a: 1, b: 2 }));
        let endless = performance_profile(&[vec![0.1]], &[f64::INFINITY], &resampling());
        assert!(matches!(endless, Err(StudiesError::Setting { what: "threshold", .. })));
    }
}
