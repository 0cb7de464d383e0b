//! Drawing partitions: which rows test in each outer fold.
//!
//! A partition depends on the `split` stream, the rows' labels and the study's split alone: every
//! arm, config and seed meets the same folds. Rows of one group never straddle a fold. Arithmetic
//! is whole numbers and IEEE basic operations, so a partition is the same on every machine. Where rows
//! have an order in time, nothing is drawn and no row trains that is later than one that tests.
//! Deliberately absent: any check that a division is possible; `study::check` has made it.
//!
//! Floor: common.

mod ordered;

use std::collections::BTreeMap;

use crate::id::Digest;
use crate::seed::{Stream, StreamRng};
use crate::study::{Inner, Outer, OuterKind};

pub use ordered::latest;

/// What a division of the rows may depend on. Each slice has one entry a row, or is absent.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub rows: u32,
    /// Class index; for stratifying.
    pub strata: Option<&'a [u32]>,
    /// Rows with equal numbers stay together.
    pub groups: Option<&'a [u32]>,
    /// Value of the leave-out column.
    pub leave_out: Option<&'a [u32]>,
    /// Place in time; rows of one moment have the same.
    pub order: Option<&'a [u32]>,
}

/// The test rows of every outer fold of partition number `partition`, each ascending.
///
/// - k-fold: every row tests once. The shuffled rows, class after class where stratified, are dealt
///   to the folds in turn: fold sizes differ by at most one, and so does each class's count a fold.
/// - k-fold with groups: groups are shuffled, then taken largest first, each to the fold where it
///   adds least to the unevenness of the classes' shares (of the rows' shares without strata);
///   ties go to the smallest fold, then the first. No fold stays empty.
/// - Holdout: one fold of `share` of the rows, rounded; stratified, that share of each class, at
///   least one row and never all. With groups, shuffled groups are taken as long as each brings
///   the test rows nearer to their share; at least one group tests and one trains.
/// - Leave-out: one fold a value, in value order; the partition's number changes nothing.
/// - Ordered: successive parts of the rows in order of time, without the first one; or the latest
///   `share` of the rows. The partition's number changes nothing. All folds are empty where there are
///   not more times than folds.
///
/// Shapes: `labels` [rows]. At least as many rows (groups, where given) as folds.
/// Source: the greedy rule is that of scikit-learn's `StratifiedGroupKFold`, on variances.
pub fn partition(
    outer: &Outer,
    labels: &Labels<'_>,
    data: &Digest,
    partition: u32,
) -> Vec<Vec<u32>> {
    let mut rng = StreamRng::new(data, Stream::Split, u64::from(partition), 0);
    let mut tests = drawn(&outer.kind, outer.folds as usize, labels, &mut rng);
    tests.iter_mut().for_each(|rows| rows.sort_unstable());
    tests
}

/// The rows of `among` that train where `test` tests, in their order: all that do not test, or, where rows
/// have an order in time, all that are earlier than every row that tests.
///
/// For an outer fold `among` is all rows and `kind` the outer one's; for an inner fold it is the training
/// rows of the outer fold, and `kind` the inner one's.
///
/// Shapes: `labels` of all rows; `test` ascending.
pub fn training_rows(
    kind: &OuterKind,
    labels: &Labels<'_>,
    among: impl IntoIterator<Item = u32>,
    test: &[u32],
) -> Vec<u32> {
    let among = among.into_iter();
    match kind {
        OuterKind::Ordered { .. } => {
            let order = labels.order.unwrap_or_default();
            let time = |row: u32| order.get(row as usize);
            let Some(first) = test.iter().filter_map(|&row| time(row)).min() else {
                return Vec::new();
            };
            among.filter(|&row| time(row) < Some(first)).collect()
        }
        OuterKind::KFold | OuterKind::Holdout { .. } | OuterKind::LeaveOut => {
            among.filter(|row| test.binary_search(row).is_err()).collect()
        }
    }
}

/// The rows of every inner fold of an outer fold that trains on `train`, each ascending: they test, and
/// [`training_rows`] says which of `train` train.
///
/// Drawn as [`partition`] draws outer folds, from the rows of `train` alone. Rows of one group stay
/// together; where outer folds are the values of a column, rows of one value do.
///
/// Shapes: `labels` of all rows; `train` ascending.
pub fn inner_folds(
    outer: &Outer,
    inner: &Inner,
    labels: &Labels<'_>,
    data: &Digest,
    (partition, fold): (u32, u32),
    train: &[u32],
) -> Vec<Vec<u32>> {
    let of_train =
        |all: &[u32]| -> Vec<u32> { train.iter().map(|&row| all[row as usize]).collect() };
    let together = match outer.kind {
        OuterKind::LeaveOut => labels.leave_out,
        OuterKind::KFold | OuterKind::Holdout { .. } => labels.groups,
        OuterKind::Ordered { .. } => None,
    };
    let (strata, groups) = (labels.strata.map(of_train), together.map(of_train));
    let order = labels.order.map(of_train);
    let within = Labels {
        rows: train.len() as u32,
        strata: strata.as_deref(),
        groups: groups.as_deref(),
        leave_out: None,
        order: order.as_deref(),
    };
    let mut rng =
        StreamRng::new(data, Stream::Split, u64::from(partition), INNER + u64::from(fold));
    let mut tests = drawn(&inner.kind, inner.folds as usize, &within, &mut rng);
    for rows in &mut tests {
        rows.iter_mut().for_each(|row| *row = train[*row as usize]);
        rows.sort_unstable();
    }
    tests
}

/// The test rows of each fold, in no order.
fn drawn(
    kind: &OuterKind,
    folds: usize,
    labels: &Labels<'_>,
    rng: &mut StreamRng,
) -> Vec<Vec<u32>> {
    match (kind, labels.groups) {
        (OuterKind::KFold, None) => deal(labels, folds, rng),
        (OuterKind::KFold, Some(groups)) => {
            spread(&bundles(labels, groups, rng), folds, strata_count(labels))
        }
        (OuterKind::Holdout { share }, None) => vec![hold_rows(labels, *share, rng)],
        (OuterKind::Holdout { share }, Some(groups)) => {
            let bundles = bundles(labels, groups, rng);
            vec![hold_bundles(&bundles, *share, strata_count(labels))]
        }
        (OuterKind::LeaveOut, _) => leave_out(labels, folds),
        (OuterKind::Ordered { share }, _) => {
            ordered::test_rows(labels.order.unwrap_or_default(), folds, *share)
        }
    }
}

/// All rows in drawn order, then class after class.
fn drawn_rows(labels: &Labels<'_>, rng: &mut StreamRng) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..labels.rows).collect();
    rng.shuffle(&mut rows);
    if let Some(strata) = labels.strata {
        rows.sort_by_key(|&row| strata[row as usize]);
    }
    rows
}

fn deal(labels: &Labels<'_>, folds: usize, rng: &mut StreamRng) -> Vec<Vec<u32>> {
    let mut tests = vec![Vec::new(); folds];
    for (turn, row) in drawn_rows(labels, rng).into_iter().enumerate() {
        tests[turn % folds].push(row);
    }
    tests
}

/// Rows that stay together, and how many of them each class has.
struct Bundle {
    rows: Vec<u32>,
    counts: Vec<u32>,
}

fn strata_count(labels: &Labels<'_>) -> usize {
    labels.strata.and_then(|strata| strata.iter().max()).map_or(1, |&last| last as usize + 1)
}

/// The groups in drawn order. Without strata, all rows are of one class.
fn bundles(labels: &Labels<'_>, groups: &[u32], rng: &mut StreamRng) -> Vec<Bundle> {
    let classes = strata_count(labels);
    let mut by_group: BTreeMap<u32, Bundle> = BTreeMap::new();
    for row in 0..labels.rows {
        let bundle = by_group
            .entry(groups[row as usize])
            .or_insert_with(|| Bundle { rows: Vec::new(), counts: vec![0; classes] });
        bundle.rows.push(row);
        bundle.counts[labels.strata.map_or(0, |strata| strata[row as usize] as usize)] += 1;
    }
    let mut bundles: Vec<Bundle> = by_group.into_values().collect();
    rng.shuffle(&mut bundles);
    bundles
}

/// Rows of each class over all bundles, never zero, so that shares can be formed.
fn totals(bundles: &[Bundle], classes: usize) -> Vec<f64> {
    let total = |class: usize| bundles.iter().map(|b| f64::from(b.counts[class])).sum::<f64>();
    (0..classes).map(|class| total(class).max(1.0)).collect()
}

/// Deals bundles to folds, those with the largest share of any class first.
///
/// With n_fc rows of class c in fold f, a bundle of g_c rows goes where Σ_c g_c·n_fc / N_c² is
/// smallest: that is where it adds least to the variance of the classes' shares over folds.
fn spread(bundles: &[Bundle], folds: usize, classes: usize) -> Vec<Vec<u32>> {
    let totals = totals(bundles, classes);
    let weight = |bundle: &Bundle| -> f64 {
        let shares = bundle.counts.iter().zip(&totals).map(|(&count, total)| {
            let share = f64::from(count) / total;
            share * share
        });
        shares.sum()
    };
    let mut order: Vec<&Bundle> = bundles.iter().collect();
    order.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let mut tests: Vec<Vec<u32>> = vec![Vec::new(); folds];
    let mut counts = vec![vec![0.0f64; classes]; folds];
    for (taken, bundle) in order.iter().enumerate() {
        let cost = |fold: usize| -> f64 {
            let terms = bundle.counts.iter().zip(&counts[fold]).zip(&totals);
            terms.map(|((&g, n), total)| f64::from(g) * n / (total * total)).sum()
        };
        // The last bundles are kept for folds that still have none.
        let empty = tests.iter().filter(|rows| rows.is_empty()).count();
        let only_empty = order.len() - taken <= empty;
        let candidates = (0..folds).filter(|&fold| !only_empty || tests[fold].is_empty());
        let best = candidates
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(tests[a].len().cmp(&tests[b].len())));
        let best = best.unwrap_or(0);
        tests[best].extend(&bundle.rows);
        for (count, &g) in counts[best].iter_mut().zip(&bundle.counts) {
            *count += f64::from(g);
        }
    }
    tests
}

fn hold_rows(labels: &Labels<'_>, share: f64, rng: &mut StreamRng) -> Vec<u32> {
    let rows = drawn_rows(labels, rng);
    let class = |row: &u32| labels.strata.map_or(0, |strata| strata[*row as usize]);
    let of_one_class = rows.chunk_by(|a, b| class(a) == class(b));
    of_one_class.flat_map(|rows| rows[..held(rows.len(), share)].to_vec()).collect()
}

/// Of `rows` rows, how many test: the rounded share, yet at least one and not all.
fn held(rows: usize, share: f64) -> usize {
    let wanted = (rows as f64 * share).round() as usize;
    wanted.max(1).min(rows.saturating_sub(1))
}

/// Takes bundles while each brings Σ_c (test rows of c / N_c − share)² down.
fn hold_bundles(bundles: &[Bundle], share: f64, classes: usize) -> Vec<u32> {
    let totals = totals(bundles, classes);
    let error_with = |held: &[f64], bundle: Option<&Bundle>| -> f64 {
        let added = |class: usize| bundle.map_or(0.0, |bundle| f64::from(bundle.counts[class]));
        let errors = (0..classes).map(|c| (held[c] + added(c)) / totals[c] - share);
        errors.map(|error| error * error).sum()
    };
    let mut held = vec![0.0; classes];
    let mut taken = Vec::new();
    let mut test = Vec::new();
    for (index, bundle) in bundles.iter().enumerate() {
        let leaves_training = taken.len() + 1 < bundles.len();
        if leaves_training && error_with(&held, Some(bundle)) < error_with(&held, None) {
            held.iter_mut().zip(&bundle.counts).for_each(|(sum, &count)| *sum += f64::from(count));
            taken.push(index);
            test.extend(&bundle.rows);
        }
    }
    if test.is_empty() {
        let smallest = bundles.iter().min_by_key(|bundle| bundle.rows.len());
        test.extend(smallest.into_iter().flat_map(|bundle| &bundle.rows));
    }
    test
}

fn leave_out(labels: &Labels<'_>, folds: usize) -> Vec<Vec<u32>> {
    let mut tests = vec![Vec::new(); folds];
    for (row, &value) in labels.leave_out.unwrap_or_default().iter().enumerate() {
        tests[value as usize].push(row as u32);
    }
    tests
}

/// Where on the `split` stream inner folds are drawn: behind outer folds and programs' validation rows.
const INNER: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::study::Select;

    fn k_fold(folds: u32) -> Outer {
        Outer { kind: OuterKind::KFold, partitions: 2, folds, stratify: false, inner: None }
    }

    fn holdout(share: f64) -> Outer {
        Outer {
            kind: OuterKind::Holdout { share },
            partitions: 2,
            folds: 1,
            stratify: false,
            inner: None,
        }
    }

    fn plain_inner() -> Inner {
        Inner { kind: OuterKind::KFold, folds: 2, tune: None, select: Select::Best }
    }

    fn plain(rows: u32) -> Labels<'static> {
        Labels { rows, strata: None, groups: None, leave_out: None, order: None }
    }

    fn data() -> Digest {
        Digest::of(b"rows")
    }

    /// Rows with a class and a group each, and at most as many folds as there are groups.
    fn grouped() -> impl Strategy<Value = (Vec<u32>, Vec<u32>, u32)> {
        (2u32..12, 2u32..4).prop_flat_map(|(groups, classes)| {
            let rows = (groups as usize)..150;
            let labels = rows.prop_flat_map(move |rows| {
                let strata = proptest::collection::vec(0..classes, rows);
                let drawn = proptest::collection::vec(0..groups, rows - groups as usize);
                let all = drawn.prop_map(move |mut drawn| {
                    drawn.extend(0..groups);
                    drawn
                });
                (strata, all)
            });
            (labels, 2..=groups).prop_map(|((strata, groups), folds)| (strata, groups, folds))
        })
    }

    fn every_row_once(tests: &[Vec<u32>], rows: u32) -> bool {
        let mut all: Vec<u32> = tests.concat();
        all.sort_unstable();
        all == (0..rows).collect::<Vec<_>>()
    }

    fn sizes_within_one(counts: impl Iterator<Item = usize> + Clone) -> bool {
        counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0) <= 1
    }

    fn straddles(tests: &[Vec<u32>], groups: &[u32]) -> bool {
        let of_fold = |rows: &Vec<u32>| -> BTreeSet<u32> {
            rows.iter().map(|&row| groups[row as usize]).collect()
        };
        let kinds: usize = tests.iter().map(|rows| of_fold(rows).len()).sum();
        kinds != groups.iter().collect::<BTreeSet<_>>().len()
    }

    proptest! {
        #[test]
        fn plain_folds_test_every_row_once_in_even_sizes(folds in 2u32..20, more in 0u32..200) {
            let tests = partition(&k_fold(folds), &plain(folds + more), &data(), 0);
            prop_assert!(every_row_once(&tests, folds + more));
            prop_assert!(sizes_within_one(tests.iter().map(Vec::len)));
            prop_assert!(tests.iter().all(|rows| rows.is_sorted()));
        }

        #[test]
        fn stratified_folds_are_even_in_rows_and_in_every_class(
            strata in proptest::collection::vec(0u32..4, 10..200),
            folds in 2u32..10,
        ) {
            let labels = Labels { strata: Some(&strata), ..plain(strata.len() as u32) };
            let tests = partition(&k_fold(folds), &labels, &data(), 1);
            prop_assert!(every_row_once(&tests, labels.rows));
            prop_assert!(sizes_within_one(tests.iter().map(Vec::len)));
            for class in 0..4 {
                let of_class = |rows: &Vec<u32>| {
                    rows.iter().filter(|&&row| strata[row as usize] == class).count()
                };
                prop_assert!(sizes_within_one(tests.iter().map(of_class)));
            }
        }

        #[test]
        fn groups_never_straddle_folds((strata, groups, folds) in grouped(), stratify: bool) {
            let labels = Labels {
                strata: stratify.then_some(&strata),
                groups: Some(&groups),
                ..plain(groups.len() as u32)
            };
            let tests = partition(&k_fold(folds), &labels, &data(), 0);
            prop_assert!(every_row_once(&tests, labels.rows));
            prop_assert!(tests.iter().all(|rows| !rows.is_empty()));
            prop_assert!(!straddles(&tests, &groups));
        }

        #[test]
        fn inner_folds_are_of_the_training_rows_alone_and_keep_groups_whole(
            (strata, groups, folds) in grouped(), stratify: bool, holds_out: bool, fold in 0u32..12,
        ) {
            let labels = Labels {
                strata: stratify.then_some(&strata),
                groups: Some(&groups),
                ..plain(groups.len() as u32)
            };
            let outer = k_fold(folds);
            let tests = partition(&outer, &labels, &data(), 0);
            let test = &tests[(fold % folds) as usize];
            let train: Vec<u32> = (0..labels.rows).filter(|row| !test.contains(row)).collect();
            let of_train: BTreeSet<u32> = train.iter().map(|&row| groups[row as usize]).collect();
            prop_assume!(of_train.len() >= 2);
            let inner = match holds_out {
                true => Inner { kind: OuterKind::Holdout { share: 0.3 }, folds: 1, ..plain_inner() },
                false => plain_inner(),
            };
            let drawn = inner_folds(&outer, &inner, &labels, &data(), (0, fold % folds), &train);
            let mut all = drawn.concat();
            all.sort_unstable();
            prop_assert!(all.iter().all(|row| train.binary_search(row).is_ok()));
            prop_assert!(holds_out || all == train);
            for rows in &drawn {
                let inside: BTreeSet<u32> = rows.iter().map(|&row| groups[row as usize]).collect();
                let mut rest = train.iter().filter(|row| !rows.contains(row));
                prop_assert!(!rows.is_empty() && rows.is_sorted());
                prop_assert!(rest.all(|&row| !inside.contains(&groups[row as usize])));
            }
            // What lies in the test rows changes nothing.
            let (mut other_strata, mut other_groups) = (strata.clone(), groups.clone());
            for &row in test {
                other_strata[row as usize] = 0;
                other_groups[row as usize] = 0;
            }
            let others = Labels {
                strata: stratify.then_some(&other_strata),
                groups: Some(&other_groups),
                ..labels
            };
            let again = inner_folds(&outer, &inner, &others, &data(), (0, fold % folds), &train);
            prop_assert_eq!(again, drawn);
        }

        #[test]
        fn holdout_leaves_rows_on_both_sides_and_groups_whole(
            (strata, groups, _) in grouped(),
            share in 0.01f64..0.99,
            stratify: bool,
            group: bool,
        ) {
            let rows = groups.len() as u32;
            let labels = Labels {
                strata: stratify.then_some(&strata),
                groups: group.then_some(&groups),
                ..plain(rows)
            };
            let mut tests = partition(&holdout(share), &labels, &data(), 0);
            prop_assert_eq!(tests.len(), 1);
            let held: BTreeSet<u32> = tests[0].iter().copied().collect();
            let unstratifiable = stratify && !group && held.is_empty();
            prop_assert!(!held.is_empty() || unstratifiable);
            prop_assert!(held.len() < rows as usize);
            if group {
                tests.push((0..rows).filter(|row| !held.contains(row)).collect());
                prop_assert!(!straddles(&tests, &groups));
            }
        }

        #[test]
        fn the_same_partition_is_drawn_again(folds in 2u32..8, rows in 40u32..90, number: u32) {
            let draw = |number| partition(&k_fold(folds), &plain(rows), &data(), number);
            prop_assert_eq!(draw(number), draw(number));
            prop_assert_ne!(draw(number), draw(number.wrapping_add(1)));
        }
    }

    #[test]
    fn equal_groups_give_equal_folds() {
        let groups: Vec<u32> = (0..60).map(|row| row / 3).collect();
        let labels = Labels { groups: Some(&groups), ..plain(60) };
        let tests = partition(&k_fold(5), &labels, &data(), 0);
        assert_eq!(tests.iter().map(Vec::len).collect::<Vec<_>>(), [12; 5]);
    }

    #[test]
    fn stratified_groups_spread_a_rare_class() {
        // Twenty groups of four rows; class 1 fills the first five groups.
        let groups: Vec<u32> = (0..80).map(|row| row / 4).collect();
        let strata: Vec<u32> = groups.iter().map(|&group| u32::from(group < 5)).collect();
        let labels = Labels { strata: Some(&strata), groups: Some(&groups), ..plain(80) };
        for number in 0..20 {
            for rows in partition(&k_fold(5), &labels, &data(), number) {
                let rare = rows.iter().filter(|&&row| strata[row as usize] == 1).count();
                assert_eq!((rare, rows.len()), (4, 16));
            }
        }
    }

    #[test]
    fn holdout_takes_its_share_of_every_class() {
        let strata: Vec<u32> = (0..100).map(|row| u32::from(row % 10 == 0)).collect();
        let labels = Labels { strata: Some(&strata), ..plain(100) };
        let tests = partition(&holdout(0.2), &labels, &data(), 3);
        let rare = tests[0].iter().filter(|&&row| strata[row as usize] == 1).count();
        assert_eq!((tests[0].len(), rare), (20, 2));
    }

    #[test]
    fn grouped_holdout_comes_near_its_share() {
        let groups: Vec<u32> = (0..100).map(|row| row / 5).collect();
        let labels = Labels { groups: Some(&groups), ..plain(100) };
        let tests = partition(&holdout(0.3), &labels, &data(), 0);
        assert_eq!(tests[0].len(), 30);
    }

    #[test]
    fn where_hospitals_are_left_out_inner_folds_keep_hospitals_whole() {
        let hospitals: Vec<u32> = (0..60).map(|row| row / 10).collect();
        let labels = Labels { leave_out: Some(&hospitals), ..plain(60) };
        let outer = Outer {
            kind: OuterKind::LeaveOut,
            partitions: 1,
            folds: 6,
            stratify: false,
            inner: None,
        };
        let train: Vec<u32> = (10..60).collect();
        let drawn = inner_folds(&outer, &plain_inner(), &labels, &data(), (0, 0), &train);
        assert_eq!(drawn.iter().map(Vec::len).sum::<usize>(), 50);
        assert!(drawn.iter().all(|rows| rows.len() % 10 == 0), "{drawn:?}");
    }

    #[test]
    fn leave_out_tests_each_value_in_order() {
        let values = [1, 0, 2, 1, 0];
        let outer = Outer {
            kind: OuterKind::LeaveOut,
            partitions: 1,
            folds: 3,
            stratify: false,
            inner: None,
        };
        let labels = Labels { leave_out: Some(&values), ..plain(5) };
        let tests = partition(&outer, &labels, &data(), 0);
        assert_eq!(tests, [vec![1, 4], vec![0, 3], vec![2]]);
    }

    #[test]
    fn a_partition_is_the_same_in_every_release() {
        let tests = partition(&k_fold(3), &plain(9), &data(), 0);
        assert_eq!(tests, GOLDEN_FOLDS);
    }

    const GOLDEN_FOLDS: [[u32; 3]; 3] = [[1, 2, 4], [3, 6, 7], [0, 5, 8]];
}
