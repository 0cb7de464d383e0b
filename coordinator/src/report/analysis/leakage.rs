//! Checks for leaks that a table allows: groups, copies, labels and names among the features, and
//! classes of each fold.
//!
//! What is found is a fact about rows and columns; whether it is a leak the reader must say, since a
//! measurement may tell the target by right. Deliberately absent: copies that are not exact, and
//! whatever only outcomes show.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::table::{Copies, Dataset, Target};

/// Rows that test while a row of the same number trains, over all blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Straddling {
    /// Numbers that lie on both sides of some block.
    pub names: u64,
    /// Most test rows of one block that have such a number.
    pub rows_most: u64,
    /// Blocks with at least one.
    pub blocks: u64,
}

/// Numbers, one a row, that lie on both sides of a split.
///
/// `blocks` holds the test rows of each, and `training` gives the rows that train for them.
pub fn straddling(
    numbers: &[u32],
    blocks: &[Vec<u32>],
    training: impl Fn(&[u32]) -> Vec<u32>,
) -> Straddling {
    let size = numbers.iter().max().map_or(0, |most| *most as usize + 1);
    let mut found = Straddling::default();
    let mut named = BTreeSet::new();
    for test in blocks {
        let number = |row: &u32| numbers[*row as usize] as usize;
        let (mut tested, mut trained) = (vec![false; size], vec![false; size]);
        test.iter().for_each(|row| tested[number(row)] = true);
        training(test).iter().for_each(|row| trained[number(row)] = true);
        let torn = |number: usize| tested[number] && trained[number];
        let rows = test.iter().filter(|row| torn(number(row))).count() as u64;
        named.extend((0..size).filter(|number| torn(*number)));
        found.rows_most = found.rows_most.max(rows);
        found.blocks += u64::from(rows > 0);
    }
    found.names = named.len() as u64;
    found
}

/// Rows with the very same features, numbered; `None` where rows agree by chance, as in a table of
/// few categories.
pub fn copies(data: &Dataset) -> Option<Vec<u32>> {
    let copies = Copies::of(data);
    copies.are_told().then(|| (0..data.rows() as u32).map(|row| copies.number(row)).collect())
}

/// Features that alone tell the target of every row.
///
/// Of a classification: sorted by the feature, each class is one stretch of rows, no value has two
/// classes, and chance would do that in one of a million such tables at most. Of a regression: the
/// feature is the target moved or stretched. A feature with an empty cell tells nothing here.
pub fn telling(data: &Dataset) -> Vec<String> {
    let tells = |place: usize| {
        let values = column(data, place);
        match &data.target {
            _ if values.iter().any(|value| value.is_nan()) => false,
            Target::Classes { labels, .. } => {
                in_stretches(&values, labels) && !by_chance(labels, data.width)
            }
            Target::Values(targets) => is_stretched(&values, targets),
            Target::Masks { .. } => false,
        }
    };
    (0..data.width).filter(|place| tells(*place)).map(|place| data.name(place)).collect()
}

/// Features that seem to name rows: whole numbers, nearly each row another one.
pub fn naming(data: &Dataset) -> Vec<String> {
    let names = |place: usize| {
        let mut values = column(data, place);
        let rows = values.len();
        if rows < NAMED_ROWS_MIN || values.iter().any(|value| value.fract() != 0.0) {
            return false;
        }
        values.sort_by(f32::total_cmp);
        values.dedup();
        values.len() as f64 >= NAMED_SHARE * rows as f64
    };
    (0..data.width).filter(|place| names(*place)).map(|place| data.name(place)).collect()
}

/// Least and largest share of each class in a block's test rows, and whether every class is in the
/// test and the training rows of every block.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    pub shares: Vec<(f64, f64)>,
    pub everywhere: bool,
}

/// `None` for a regression. Arguments as in [`straddling`].
pub fn balance(
    data: &Dataset,
    blocks: &[Vec<u32>],
    training: impl Fn(&[u32]) -> Vec<u32>,
) -> Option<Balance> {
    let Target::Classes { labels, classes } = &data.target else { return None };
    let classes = *classes as usize;
    let mut found = Balance { shares: vec![(1.0, 0.0); classes], everywhere: true };
    for test in blocks.iter().filter(|test| !test.is_empty()) {
        let mut own = vec![0usize; classes];
        test.iter().for_each(|row| own[labels[*row as usize] as usize] += 1);
        let mut trained = vec![false; classes];
        training(test).iter().for_each(|row| trained[labels[*row as usize] as usize] = true);
        for (class, count) in own.into_iter().enumerate() {
            let share = count as f64 / test.len() as f64;
            let (low, high) = &mut found.shares[class];
            (*low, *high) = (low.min(share), high.max(share));
            found.everywhere &= count > 0 && trained[class];
        }
    }
    Some(found)
}

fn column(data: &Dataset, place: usize) -> Vec<f32> {
    data.features.iter().skip(place).step_by(data.width).copied().collect()
}

fn in_stretches(values: &[f32], labels: &[u32]) -> bool {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]).then(labels[*a].cmp(&labels[*b])));
    let mut met = BTreeSet::new();
    for stretch in order.chunk_by(|a, b| labels[*a] == labels[*b]) {
        if !met.insert(labels[stretch[0]]) {
            return false;
        }
    }
    // A value that two classes share lies at the border of two stretches.
    let mut pairs = order.windows(2);
    pairs.all(|pair| labels[pair[0]] == labels[pair[1]] || values[pair[0]] != values[pair[1]])
}

/// Whether a column without any bond to the classes, or one of as many, would be in stretches in more
/// than one of a million tables: `K! Π n_k! / n!` for each.
fn by_chance(labels: &[u32], columns: usize) -> bool {
    let size = labels.iter().max().map_or(0, |most| *most as usize + 1);
    let mut counts = vec![0u64; size];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    let log_factorial = |n: u64| (2..=n).map(|i| (i as f64).ln()).sum::<f64>();
    let classes = counts.iter().filter(|count| **count > 0).count() as u64;
    let ways: f64 = counts.iter().map(|count| log_factorial(*count)).sum();
    let chance = log_factorial(classes) + ways - log_factorial(labels.len() as u64);
    chance + (columns as f64).ln() > CHANCE_MAX.ln()
}

/// Whether one is the other, moved and stretched: a correlation of 1 but for rounding.
fn is_stretched(values: &[f32], targets: &[f32]) -> bool {
    let count = values.len() as f64;
    let mean = |all: &[f32]| all.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let (of_x, of_y) = (mean(values), mean(targets));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in values.iter().zip(targets) {
        let (x, y) = (f64::from(*x) - of_x, f64::from(*y) - of_y);
        (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
    }
    let squared = xy * xy / (xx * yy);
    values.len() > STRETCHED_ROWS_MIN && squared > 1.0 - 1e-9
}

const CHANCE_MAX: f64 = 1e-6;
/// Through fewer points there is always nearly a line.
const STRETCHED_ROWS_MIN: usize = 5;
const NAMED_ROWS_MIN: usize = 20;
const NAMED_SHARE: f64 = 0.98;

#[cfg(test)]
mod tests {
    use common::id::Digest;

    use super::*;

    fn data(columns: &[Vec<f32>], target: Target) -> Dataset {
        let rows = target.len();
        Dataset {
            digest: Digest::of(b"x"),
            features: (0..rows).flat_map(|row| columns.iter().map(move |c| c[row])).collect(),
            width: columns.len(),
            shape: vec![columns.len()],
            tokens: None,
            levels: Vec::new(),
            names: (0..columns.len()).map(|place| format!("c{place}")).collect(),
            target,
            groups: None,
            leave_out: None,
            order: None,
            spacing: None,
        }
    }

    fn classes(labels: Vec<u32>) -> Target {
        let classes = labels.iter().max().map_or(0, |most| most + 1);
        Target::Classes { labels, classes }
    }

    /// Of six rows those that do not test.
    fn others(test: &[u32]) -> Vec<u32> {
        (0..6).filter(|row| !test.contains(row)).collect()
    }

    #[test]
    fn what_lies_on_both_sides_is_counted() {
        // Rows 0 and 1 are one, rows 2 and 3 too; the second block tests both of the latter.
        let numbers = [0, 0, 2, 2, 4, 5];
        let blocks = [vec![0, 4], vec![2, 3], vec![1, 3]];

        let found = straddling(&numbers, &blocks, others);

        assert_eq!(found, Straddling { names: 2, rows_most: 2, blocks: 2 });
        assert_eq!(straddling(&[0, 1, 2], &blocks[..0], others), Straddling::default());
    }

    #[test]
    fn a_column_that_is_the_label_is_named_and_a_good_one_is_not() {
        let labels: Vec<u32> = (0..40).map(|row| row % 2).collect();
        let label: Vec<f32> = labels.iter().map(|l| *l as f32 * 3.0 - 1.0).collect();
        let cut: Vec<f32> = (0..40).map(|row| (row % 2 * 100 + row) as f32).collect();
        let mut good = cut.clone();
        good[7] = 4.0;
        let mut torn = label.clone();
        torn[3] = f32::NAN;
        let table = data(&[label, cut, good, torn, vec![1.0; 40]], classes(labels));

        assert_eq!(telling(&table), ["c0", "c1"]);
    }

    #[test]
    fn few_rows_are_told_by_chance() {
        let labels = vec![0, 0, 0, 1, 1, 1];
        let column: Vec<f32> = (0..6).map(|row| row as f32).collect();

        assert_eq!(telling(&data(&[column], classes(labels))), [""; 0]);
    }

    #[test]
    fn a_stretched_target_is_named() {
        let target: Vec<f32> = (0..30).map(|row| (row as f32 * 0.7).sin()).collect();
        let stretched: Vec<f32> = target.iter().map(|y| 4.0 - 2.0 * y).collect();
        let near: Vec<f32> =
            target.iter().enumerate().map(|(i, y)| y + 0.01 * (i % 3) as f32).collect();
        let table = data(&[stretched, near], Target::Values(target));

        assert_eq!(telling(&table), ["c0"]);
    }

    #[test]
    fn whole_numbers_that_differ_in_every_row_name_rows() {
        let number: Vec<f32> = (0..50).map(|row| (row * 37 % 50 + 1_000) as f32).collect();
        let age: Vec<f32> = (0..50).map(|row| (row % 30 + 40) as f32).collect();
        let weight: Vec<f32> = (0..50).map(|row| row as f32 + 0.5).collect();
        let table = data(&[number, age, weight], classes((0..50).map(|r| r % 2).collect()));

        assert_eq!(naming(&table), ["c0"]);
    }

    #[test]
    fn shares_of_classes_are_those_of_the_folds() {
        let table = data(&[vec![0.0; 6]], classes(vec![0, 0, 0, 1, 1, 1]));

        let even = balance(&table, &[vec![0, 3], vec![1, 2, 4, 5]], others).expect("classes");
        assert_eq!((even.shares, even.everywhere), (vec![(0.5, 0.5), (0.5, 0.5)], true));
        let torn = balance(&table, &[vec![0, 1, 3], vec![2, 4, 5]], others).expect("classes");
        assert!((torn.shares[1].0 - 1.0 / 3.0).abs() < 1e-12 && torn.everywhere);
        let empty = balance(&table, &[vec![0, 1, 2], vec![3, 4, 5]], others).expect("classes");
        assert!(!empty.everywhere);
        assert_eq!(
            balance(&data(&[vec![0.0; 2]], Target::Values(vec![1.0, 2.0])), &[], others),
            None
        );
    }
}
