//! The rows that a program gets to decide by: a part of the training rows, drawn.
//!
//! The same for every arm and seed of a fold. Groups stay whole, and classes keep their shares where
//! the study stratifies. Where rows have an order in time nothing is drawn: the latest are taken.
//!
//! Floor: shell.

use std::collections::BTreeSet;

use common::seed::{Stream, StreamRng};
use common::split::latest;
use common::table::{Dataset, Target};

/// Training rows cut in two, those that train and `share` of them held out; both ascending. Nothing
/// is held out where `share` is 0, else one row at least, and one trains at least.
pub fn cut(
    dataset: &Dataset,
    train: &[u32],
    share: f64,
    (stratify, order): (bool, Option<&[u32]>),
    (partition, fold): (u32, u32),
) -> (Vec<u32>, Vec<u32>) {
    if share <= 0.0 || train.len() < 2 {
        return (train.to_vec(), Vec::new());
    }
    let wanted = ((share * train.len() as f64).round() as usize).clamp(1, train.len() - 1);
    if let Some(order) = order {
        return latest(order, train, wanted);
    }
    // Position 0 draws the partition itself.
    let position = u64::from(fold) + 1;
    let mut rng = StreamRng::new(&dataset.digest, Stream::Split, u64::from(partition), position);
    let held: BTreeSet<u32> = match &dataset.groups {
        Some(groups) => whole_groups(groups, train, wanted, &mut rng),
        None => {
            let mut drawn = train.to_vec();
            rng.shuffle(&mut drawn);
            if let (true, Target::Classes { labels, .. }) = (stratify, &dataset.target) {
                drawn.sort_by_key(|row| labels[*row as usize]);
            }
            // Evenly spread over what was drawn, class after class.
            let rows = drawn.len();
            let taken = |at: &usize| (at + 1) * wanted / rows > at * wanted / rows;
            (0..rows).filter(taken).map(|at| drawn[at]).collect()
        }
    };
    let trains = train.iter().copied().filter(|row| !held.contains(row)).collect();
    (trains, held.into_iter().collect())
}

/// Drawn groups until there are as many rows as wanted; never all.
fn whole_groups(
    groups: &[u32],
    train: &[u32],
    wanted: usize,
    rng: &mut StreamRng,
) -> BTreeSet<u32> {
    let known: BTreeSet<u32> = train.iter().map(|row| groups[*row as usize]).collect();
    let mut drawn: Vec<u32> = known.into_iter().collect();
    rng.shuffle(&mut drawn);
    drawn.pop();
    let mut held = BTreeSet::new();
    for group in drawn {
        if held.len() >= wanted {
            break;
        }
        held.extend(train.iter().copied().filter(|row| groups[*row as usize] == group));
    }
    held
}

#[cfg(test)]
mod tests {
    use common::id::Digest;

    use super::*;

    fn dataset(groups: Option<Vec<u32>>) -> Dataset {
        Dataset {
            digest: Digest([1; 32]),
            features: vec![0.0; 40],
            width: 1,
            shape: vec![1],
            tokens: None,
            levels: Vec::new(),
            names: vec!["x".into()],
            target: Target::Classes {
                labels: (0..40).map(|n| u32::from(n % 4 == 0)).collect(),
                classes: 2,
            },
            groups,
            leave_out: None,
            order: None,
            spacing: None,
        }
    }

    #[test]
    fn a_share_of_each_class_is_held_out_and_the_rest_trains() {
        let (data, train) = (dataset(None), (0..40).collect::<Vec<u32>>());
        let (trains, held) = cut(&data, &train, 0.2, (true, None), (0, 1));
        assert_eq!((trains.len(), held.len()), (32, 8));
        assert_eq!(held.iter().filter(|row| **row % 4 == 0).count(), 2);
        let mut all = [trains, held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, train);
        assert_eq!(cut(&data, &train, 0.2, (true, None), (0, 1)).1, held);
        assert_ne!(cut(&data, &train, 0.2, (true, None), (0, 2)).1, held);
        assert_eq!(cut(&data, &train, 0.0, (true, None), (0, 1)), (train.clone(), Vec::new()));
        assert_eq!(cut(&data, &train[..2], 0.01, (false, None), (0, 1)).1.len(), 1);
    }

    #[test]
    fn groups_stay_whole() {
        let data = dataset(Some((0..40).map(|row| row / 5).collect()));
        let train: Vec<u32> = (0..40).collect();
        let (trains, held) = cut(&data, &train, 0.3, (true, None), (0, 0));
        assert!((12..=16).contains(&held.len()), "{held:?}");
        let of = |rows: &[u32]| rows.iter().map(|row| row / 5).collect::<BTreeSet<u32>>();
        assert!(of(&trains).is_disjoint(&of(&held)));
    }
}
