//! Folds in order of time: what tests is later than what trains.
//!
//! Nothing is drawn. Rows of one time stay together, and no row trains that is as late as a row that
//! tests. Deliberately absent: gaps between the two, for labels that are known only later.
//!
//! Source: `TimeSeriesSplit` of scikit-learn, with ties kept whole.
//!
//! Floor: common.

use super::held;

/// The test rows of each fold: the later parts of `folds` + 1 successive ones, or with a `share` the
/// latest rows, about so many.
///
/// Parts are as even as ties allow. All are empty where there are fewer times than parts.
/// Shapes: `order` [rows], each row's place in time.
pub(super) fn test_rows(order: &[u32], folds: usize, share: Option<f64>) -> Vec<Vec<u32>> {
    let mut sorted: Vec<u32> = (0..order.len() as u32).collect();
    sorted.sort_by_key(|&row| order[row as usize]);
    let of_one_time = sorted.chunk_by(|a, b| order[*a as usize] == order[*b as usize]);
    // Rows up to each time and with it.
    let ends: Vec<usize> = of_one_time
        .scan(0, |end, rows| {
            *end += rows.len();
            Some(*end)
        })
        .collect();
    let rows = sorted.len();
    let goals: Vec<f64> = match share {
        Some(share) => vec![(rows - held(rows, share)) as f64],
        None => (1..=folds).map(|j| j as f64 * rows as f64 / (folds + 1) as f64).collect(),
    };
    let Some(mut cuts) = cuts(&ends, &goals) else { return vec![Vec::new(); folds] };
    cuts.push(rows);
    cuts.windows(2).map(|cut| sorted[cut[0]..cut[1]].to_vec()).collect()
}

/// The ends that are nearest to each goal, the earlier of two, so that every part has a time.
fn cuts(ends: &[usize], goals: &[f64]) -> Option<Vec<usize>> {
    let parts = goals.len() + 1;
    if ends.len() < parts {
        return None;
    }
    let mut from = 0;
    let mut cuts = Vec::new();
    for (cut, goal) in goals.iter().enumerate() {
        let until = ends.len() - (parts - cut - 1);
        let far = |at: &usize| (ends[*at] as f64 - goal).abs();
        let best = (from..until).min_by(|a, b| far(a).total_cmp(&far(b)))?;
        cuts.push(ends[best]);
        from = best + 1;
    }
    Some(cuts)
}

/// `rows` cut in two: the earlier ones, and the latest, about `wanted`; both as they came.
///
/// Rows of one time stay together. Nothing is cut off where there is one time only, or none wanted.
pub fn latest(order: &[u32], rows: &[u32], wanted: usize) -> (Vec<u32>, Vec<u32>) {
    let mut times: Vec<u32> = rows.iter().map(|&row| order[row as usize]).collect();
    times.sort_unstable();
    let later = |time: u32| times.len() - times.partition_point(|other| *other < time);
    let mut starts = times.clone();
    starts.dedup();
    let far = |time: &u32| later(*time).abs_diff(wanted);
    let start = starts.into_iter().skip(1).rev().min_by_key(far).filter(|_| wanted > 0);
    rows.iter().partition(|&&row| start.is_none_or(|start| order[row as usize] < start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Labels, inner_folds, partition, training_rows};
    use super::*;
    use crate::id::Digest;
    use crate::study::{Inner, Outer, OuterKind, Select};

    fn outer(share: Option<f64>, folds: u32) -> Outer {
        let kind = OuterKind::Ordered { share };
        Outer { kind, partitions: 1, folds, stratify: false, inner: None }
    }

    fn inner(share: Option<f64>) -> Inner {
        let folds = if share.is_some() { 1 } else { 2 };
        Inner { kind: OuterKind::Ordered { share }, folds, tune: None, select: Select::Best }
    }

    fn labels(order: &[u32]) -> Labels<'_> {
        let rows = order.len() as u32;
        Labels { rows, strata: None, groups: None, leave_out: None, order: Some(order) }
    }

    /// Every training row is earlier than every test row, and no earlier one of `among` is missing.
    fn is_ordered(order: &[u32], among: &[u32], train: &[u32], test: &[u32]) -> bool {
        let time = |row: &u32| order[*row as usize];
        let Some(first) = test.iter().map(time).min() else { return train.is_empty() };
        train.iter().all(|row| time(row) < first)
            && among.iter().filter(|row| time(row) < first).eq(train)
    }

    fn times(order: &[u32], rows: &[u32]) -> usize {
        rows.iter().map(|row| order[*row as usize]).collect::<std::collections::BTreeSet<_>>().len()
    }

    proptest! {
        #[test]
        fn no_training_row_is_later_than_a_test_row(
            order in proptest::collection::vec(0u32..30, 1..120),
            folds in 1u32..7,
            share in proptest::option::of(0.01f64..0.99),
            within in proptest::option::of(0.01f64..0.99),
        ) {
            let (labels, data) = (labels(&order), Digest::of(b"rows"));
            let folds = if share.is_some() { 1 } else { folds };
            let (outer, inner) = (outer(share, folds), inner(within));
            let all: Vec<u32> = (0..labels.rows).collect();
            let tests = partition(&outer, &labels, &data, 0);
            prop_assert_eq!(tests.len(), folds as usize);
            for (fold, test) in (0..).zip(&tests) {
                let train = training_rows(&outer.kind, &labels, 0..labels.rows, test);
                prop_assert!(is_ordered(&order, &all, &train, test));
                prop_assert_eq!(test.is_empty(), times(&order, &all) <= folds as usize);
                prop_assert_eq!(test.is_empty(), train.is_empty());
                let drawn = inner_folds(&outer, &inner, &labels, &data, (0, fold), &train);
                for rows in drawn {
                    let earlier =
                        training_rows(&inner.kind, &labels, train.iter().copied(), &rows);
                    prop_assert!(is_ordered(&order, &train, &earlier, &rows));
                    prop_assert!(rows.iter().all(|row| train.contains(row)));
                    let few = times(&order, &train) <= inner.folds as usize;
                    prop_assert_eq!(rows.is_empty(), few);
                }
            }
        }

        #[test]
        fn rows_of_one_time_are_never_torn(
            order in proptest::collection::vec(0u32..12, 20..120), folds in 1u32..5,
        ) {
            let labels = labels(&order);
            let tests = partition(&outer(None, folds), &labels, &Digest::of(b"rows"), 0);
            for test in tests.iter().filter(|test| !test.is_empty()) {
                let whole = |row: &u32| {
                    let other = |(at, time): (usize, &u32)| {
                        *time != order[*row as usize] || test.contains(&(at as u32))
                    };
                    order.iter().enumerate().all(other)
                };
                prop_assert!(test.iter().all(whole));
            }
        }

        #[test]
        fn parts_without_ties_are_even(rows in 10u32..300, folds in 1u32..9, odd in 0u32..50) {
            // Times in an order that is not the rows'.
            let step = 7919;
            let order: Vec<u32> = (0..rows).map(|row| (row * step + odd) % 104_729).collect();
            prop_assume!(times(&order, &(0..rows).collect::<Vec<_>>()) == rows as usize);
            let tests = partition(&outer(None, folds), &labels(&order), &Digest::of(b"rows"), 0);
            let mut sizes: Vec<usize> = tests.iter().map(Vec::len).collect();
            sizes.push(rows as usize - sizes.iter().sum::<usize>());
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{sizes:?}");
        }

        #[test]
        fn what_is_held_back_is_the_latest(
            order in proptest::collection::vec(0u32..20, 2..80), wanted in 0usize..40,
        ) {
            let all: Vec<u32> = (0..order.len() as u32).collect();
            let (train, held) = latest(&order, &all, wanted);
            prop_assert!(!train.is_empty());
            prop_assert_eq!(train.len() + held.len(), order.len());
            prop_assert_eq!(held.is_empty(), wanted == 0 || times(&order, &all) == 1);
            prop_assert!(held.is_empty() || is_ordered(&order, &all, &train, &held));
        }
    }

    #[test]
    fn folds_are_those_of_time_series_split() {
        // sklearn.model_selection.TimeSeriesSplit(n_splits=3) on 8 rows tests 2-3, 4-5 and 6-7.
        let order: Vec<u32> = (0..8).rev().collect();
        let tests = partition(&outer(None, 3), &labels(&order), &Digest::of(b"rows"), 0);
        assert_eq!(tests, [vec![4, 5], vec![2, 3], vec![0, 1]]);
        let share = partition(&outer(Some(0.25), 1), &labels(&order), &Digest::of(b"rows"), 0);
        assert_eq!(share, [vec![0, 1]]);
    }
}
