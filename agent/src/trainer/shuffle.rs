//! Shuffled labels: what a permuted control is trained with.
//!
//! The labels of the training rows change places among themselves; test rows keep theirs, and so do
//! training rows that are copies of a test row. Such a copy carries a test row's label: shuffled, it
//! would hide that the arm has met the test rows, and kept, it lets the control show it. Without
//! copies a control can only guess. Deliberately absent: copies that are not exact.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::table::Copies;

/// Of each row of the data set, the row whose label it is trained with.
///
/// Both lists of rows are ascending. Rows in neither keep their labels.
pub fn shuffled(
    copies: &Copies,
    train_rows: &[u32],
    test_rows: &[u32],
    rng: &mut StreamRng,
) -> Vec<u32> {
    let rows = copies.rows();
    let number = |row: u32| copies.number(row) as usize;
    let mut tested = vec![false; rows];
    test_rows.iter().for_each(|&row| tested[number(row)] = true);
    let free: Vec<u32> = train_rows.iter().copied().filter(|&row| !tested[number(row)]).collect();
    let mut givers = free.clone();
    rng.shuffle(&mut givers);
    let mut labels: Vec<u32> = (0..rows as u32).collect();
    for (row, giver) in free.into_iter().zip(givers) {
        labels[row as usize] = giver;
    }
    labels
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
        let copies = Copies::of(&data);
        let labels = shuffled(&copies, &train, &test, &mut rng(3));
        assert!(test.iter().all(|&row| labels[row as usize] == row));
        let mut given: Vec<u32> = train.iter().map(|&row| labels[row as usize]).collect();
        assert!(given.iter().zip(&train).filter(|(a, b)| a == b).count() < 10, "{given:?}");
        given.sort_unstable();
        assert_eq!(given, train);
        let again = shuffled(&copies, &train, &test, &mut rng(3));
        let other = shuffled(&copies, &train, &test, &mut rng(4));
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
            let labels = shuffled(&Copies::of(&data), &train, &test, &mut rng(seed));
            assert!((20..25).all(|row| labels[row] == row as u32), "{labels:?}");
            assert!((5..20).any(|row| labels[row] != row as u32), "{labels:?}");
        }
    }

    #[test]
    fn rows_of_few_categories_are_no_copies() {
        let mut data = blobs(40, 2);
        data.features.iter_mut().for_each(|cell| *cell = f32::from(*cell > 1.0));
        let alike = dataset(vec![1.5; 40 * 3], 3, data.target.clone());
        for data in [&data, &alike] {
            let copies = Copies::of(data);
            assert!((0..40).all(|row| copies.number(row) == row) && !copies.are_told());
        }
    }
}
