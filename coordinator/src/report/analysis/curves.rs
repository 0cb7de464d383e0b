//! The band of each arm's learning curves: the median and the middle 90 % over its trainings.
//!
//! Curves that were thinned at different epochs are read in between by straight lines, and never
//! beyond their ends: what stopped early counts as long as it trained. Deliberately absent: any
//! verdict, since a loss while training is no score of test rows.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::curve::{POINTS_MAX, Quantity};
use common::design::Design;
use common::stats::summary::quantile;
use common::wire::message::RowEnd;

use super::super::Material;
use super::super::content::{CurvePart, CurvePoint, Shows};
use super::super::table::in_trial_order;

/// Of the judged arms, in the order of what is shown, then of the study.
pub fn of_all(material: &Material<'_>) -> Vec<CurvePart> {
    let study = material.study;
    let design = Design::of(study);
    let mut found: BTreeMap<(Shows, u32), Vec<Walk>> = BTreeMap::new();
    for row in in_trial_order(material.rows, &design) {
        let RowEnd::Complete(outcome) = &row.end else { continue };
        let (Some(key), Some(curve)) = (design.key(row.trial), &outcome.curve) else { continue };
        if key.arm(study).control().is_some() {
            continue;
        }
        let shows = match &curve.of {
            Quantity::Loss => Shows::TrainingLoss,
            Quantity::Named(name) => Shows::Said(name.clone()),
        };
        let values = curve.points().map(|point| (point.at, f64::from(point.value)));
        found.entry((shows, key.arm)).or_default().push(values.collect());
        let held_out = |point: common::curve::Point| Some((point.at, f64::from(point.held_out?)));
        let held_out: Walk = curve.points().filter_map(held_out).collect();
        if !held_out.is_empty() {
            found.entry((Shows::ValidationLoss, key.arm)).or_default().push(held_out);
        }
    }
    let part = |((shows, arm), walks): ((Shows, u32), Vec<Walk>)| CurvePart {
        arm: study.arms[arm as usize].name.clone(),
        by: if matches!(shows, Shows::Said(_)) { "step" } else { "epoch" },
        shows,
        trainings: walks.len() as u64,
        points: band(&walks),
    };
    found.into_iter().map(part).collect()
}

/// One curve: at and value, `at` ascending, at least one point.
type Walk = Vec<(u32, f64)>;

/// Points at which all curves have one, where they share them; else evenly from the first to the last.
fn grid(walks: &[Walk]) -> Vec<u32> {
    let places = |walk: &Walk| -> Vec<u32> { walk.iter().map(|(at, _)| *at).collect() };
    let first = walks.first().map(places).unwrap_or_default();
    if walks.iter().all(|walk| places(walk) == first) {
        return first;
    }
    let ends = walks.iter().filter_map(|walk| Some((walk.first()?.0, walk.last()?.0)));
    let (low, high) =
        ends.fold((u32::MAX, 0), |ends, (low, high)| (ends.0.min(low), ends.1.max(high)));
    let steps = (POINTS_MAX - 1) as f64;
    let at =
        |step: usize| (f64::from(low) + f64::from(high - low) * step as f64 / steps).round() as u32;
    let mut grid: Vec<u32> = (0..POINTS_MAX).map(at).collect();
    grid.dedup();
    grid
}

fn band(walks: &[Walk]) -> Vec<CurvePoint> {
    let point = |at: u32| {
        let values: Vec<f64> = walks.iter().filter_map(|walk| value_at(walk, at)).collect();
        (!values.is_empty()).then(|| CurvePoint {
            at,
            trainings: values.len() as u64,
            median: quantile(&values, 0.5),
            low: quantile(&values, OUTSIDE / 2.0),
            high: quantile(&values, 1.0 - OUTSIDE / 2.0),
        })
    };
    grid(walks).into_iter().filter_map(point).collect()
}

/// By a straight line between the points around `at`; `None` before the first and after the last.
fn value_at(walk: &Walk, at: u32) -> Option<f64> {
    let next = walk.partition_point(|(other, _)| *other < at);
    let (right, value) = *walk.get(next)?;
    if right == at {
        return Some(value);
    }
    let (left, before) = *walk.get(next.checked_sub(1)?)?;
    Some(before + (value - before) * f64::from(at - left) / f64::from(right - left))
}

/// Share of the trainings outside the band.
const OUTSIDE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_read_between_points_and_never_beyond_an_end() {
        let long: Walk = vec![(1, 8.0), (5, 4.0), (9, 0.0)];
        let short: Walk = vec![(1, 6.0), (3, 2.0)];
        assert_eq!(value_at(&long, 3), Some(6.0));
        assert_eq!((value_at(&short, 4), value_at(&short, 0)), (None, None));
        let points = band(&[long.clone(), short]);
        assert_eq!(
            points.iter().map(|point| point.at).collect::<Vec<_>>(),
            (1..=9).collect::<Vec<_>>()
        );
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(points[2].median, 4.0);
        near(points[2].low, 2.0 + 0.05 * 4.0);
        near(points[2].high, 6.0 - 0.05 * 4.0);
        assert_eq!((points[2].trainings, points[3].trainings), (2, 1));
        near(points[3].median, 5.0);
        // Curves that share their points are not read in between.
        let same = band(&[long.clone(), long]);
        assert_eq!(same.iter().map(|point| point.at).collect::<Vec<_>>(), [1, 5, 9]);
    }
}
