//! Shuffled labels: what a permuted control is trained with.
//!
//! The labels of the training rows change places among themselves; test rows keep theirs, and so do
//! training rows that are copies of a test row. Such a copy carries a test row's label: shuffled, it
//! would hide that the arm has met the test rows, and kept, it lets the control show it. Without
//! copies a control can only guess. Deliberately absent: copies that are not exact.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::table::Dataset;

/// Which rows are copies of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Of each row, a number that its copies share and no other row has.
    number: Vec<u32>,
}

impl Copies {
    /// Rows that agree in every feature, where a table like this has none by chance.
    ///
    /// Were columns independent, `n (n − 1) / 2 · Π_columns Σ_values share²` pairs of rows would agree.
    /// From one such pair on (a table of few categories), agreeing says nothing about whose rows
    /// they are, and none is called a copy.
    pub fn of(dataset: &Dataset) -> Self {
        let rows = dataset.rows();
        // Equal numbers are equal here, whatever the sign of a zero; an empty cell equals another.
        let bits = |row: u32, column: usize| {
            (dataset.features[row as usize * dataset.width + column] + 0.0).to_bits()
        };
        let each: Vec<u32> = (0..rows as u32).collect();
        if pairs_by_chance(rows, dataset.width, |column| {
            each.iter().map(|&row| bits(row, column)).collect()
        }) >= 1.0
        {
            return Self { number: each };
        }
        let columns = || 0..dataset.width;
        let mut sorted = each.clone();
        sorted.sort_by(|&a, &b| {
            let of = |row: u32| columns().map(move |column| bits(row, column));
            of(a).cmp(of(b)).then(a.cmp(&b))
        });
        let mut number = each;
        for pair in sorted.windows(2) {
            if columns().all(|column| bits(pair[0], column) == bits(pair[1], column)) {
                number[pair[1] as usize] = number[pair[0] as usize];
            }
        }
        Self { number }
    }

    /// Of each row of the data set, the row whose label it is trained with.
    ///
    /// Both lists of rows are ascending.
    pub fn shuffled(&self, train_rows: &[u32], test_rows: &[u32], rng: &mut StreamRng) -> Vec<u32> {
        let mut tested = vec![false; self.number.len()];
        test_rows.iter().for_each(|&row| tested[self.number[row as usize] as usize] = true);
        let free: Vec<u32> = train_rows
            .iter()
            .copied()
            .filter(|&row| !tested[self.number[row as usize] as usize])
            .collect();
        let mut givers = free.clone();
        rng.shuffle(&mut givers);
        let mut labels: Vec<u32> = (0..self.number.len() as u32).collect();
        for (row, giver) in free.into_iter().zip(givers) {
            labels[row as usize] = giver;
        }
        labels
    }
}

/// Expected number of pairs of rows that agree in every column, were the columns independent.
fn pairs_by_chance(rows: usize, width: usize, column: impl Fn(usize) -> Vec<u32>) -> f64 {
    let count = rows as f64;
    let mut pairs = count * (count - 1.0) / 2.0;
    for place in 0..width {
        let mut values = column(place);
        values.sort_unstable();
        let squares: f64 =
            values.chunk_by(u32::eq).map(|alike| (alike.len() as f64 / count).powi(2)).sum();
        pairs *= squares;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use common::id::Digest;
    use common::seed::Stream;

    use super::super::tests::{blobs, dataset};
    use super::*;

    fn rng(seed: u64) -> StreamRng {
        StreamRng::new(&Digest::of(b"labels"), Stream::Labels, seed, 0)
    }

    #[test]
    fn training_rows_exchange_their_labels_and_test_rows_keep_theirs() {
        let data = blobs(40, 2);
        let (test, train): (Vec<u32>, Vec<u32>) = (0..40).partition(|row| row % 4 == 1);
        let labels = Copies::of(&data).shuffled(&train, &test, &mut rng(3));
        assert!(test.iter().all(|&row| labels[row as usize] == row));
        let mut given: Vec<u32> = train.iter().map(|&row| labels[row as usize]).collect();
        assert!(given.iter().zip(&train).filter(|(a, b)| a == b).count() < 10, "{given:?}");
        given.sort_unstable();
        assert_eq!(given, train);
        let again = Copies::of(&data).shuffled(&train, &test, &mut rng(3));
        let other = Copies::of(&data).shuffled(&train, &test, &mut rng(4));
        assert_eq!(labels, again);
        assert_ne!(labels, other);
    }

    #[test]
    fn copies_of_test_rows_keep_their_labels() {
        let mut data = blobs(40, 2);
        // Row 20 + n is a copy of row n.
        let half = data.features.len() / 2;
        let (first, second) = data.features.split_at_mut(half);
        second.copy_from_slice(first);
        let (test, train): (Vec<u32>, Vec<u32>) = (0..40).partition(|row| *row < 5);
        for seed in 0..9 {
            let labels = Copies::of(&data).shuffled(&train, &test, &mut rng(seed));
            assert!((20..25).all(|row| labels[row] == row as u32), "{labels:?}");
            assert!((5..20).any(|row| labels[row] != row as u32), "{labels:?}");
        }
    }

    #[test]
    fn rows_of_few_categories_are_no_copies() {
        let mut data = blobs(40, 2);
        data.features.iter_mut().for_each(|cell| *cell = f32::from(*cell > 1.0));
        let number: Vec<u32> = (0..40).collect();
        assert_eq!(Copies::of(&data), Copies { number: number.clone() });
        let alike = dataset(vec![1.5; 40 * 3], 3, data.target.clone());
        assert_eq!(Copies::of(&alike), Copies { number });
    }
}
