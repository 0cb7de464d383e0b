//! Designs: indices, keys, and choices.
//!
//! Floor: common.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Limits = Vec<Option<u32>>;

/// Designs with what they were made with; some arms have fewer seeds than others.
fn limited() -> impl Strategy<Value = (Design, Limits)> {
    let configs = proptest::collection::vec(1u32..20, 1..5);
    let limits = proptest::collection::vec(proptest::option::of(1u32..60), 4);
    let seeds = proptest::collection::vec(1u32..50, 1..4);
    let tune = proptest::option::of(1u32..4);
    let inner = proptest::option::of((1u32..5, tune));
    let design = |(configs, limits, seeds, blocks, inner): (_, Limits, _, _, _)| {
        let inner = Option::map(inner, |(folds, tune)| InnerFolds { folds, tune });
        (Design::new(configs, &limits, seeds, blocks, inner), limits)
    };
    (configs, limits, seeds, (1u32..30, 1u32..30), inner).prop_map(design)
}

/// Few enough trials to be listed.
fn small() -> impl Strategy<Value = Design> {
    let configs = proptest::collection::vec(1u32..4, 1..4);
    let limits = proptest::collection::vec(proptest::option::of(1u32..4), 3);
    let seeds = proptest::collection::vec(1u32..4, 1..3);
    let inner = proptest::option::of((1u32..4, proptest::option::of(1u32..4)));
    let design = |(configs, limits, seeds, blocks, inner): (_, Limits, _, _, _)| {
        let inner = Option::map(inner, |(folds, tune)| InnerFolds { folds, tune });
        Design::new(configs, &limits, seeds, blocks, inner)
    };
    (configs, limits, seeds, (1u32..3, 1u32..4), inner).prop_map(design)
}

fn designs() -> impl Strategy<Value = Design> {
    limited().prop_map(|(design, _)| design)
}

proptest! {
    #[test]
    fn index_to_key_and_back_is_the_identity(design in designs(), pick in any::<u64>()) {
        let trials = design.trials().expect("small");
        let index = TrialIndex(pick % trials);
        let key = design.key(index).expect("inside");
        prop_assert_eq!(design.index(&key), Some(index));
    }

    #[test]
    fn key_to_index_and_back_is_the_identity(design in designs(), picks in any::<[u32; 7]>()) {
        let arm = picks[0] % design.configs.len() as u32;
        let key = TrialKey {
            arm,
            config: picks[1] % design.configs[arm as usize],
            seeds: design.seeds.iter().zip(&picks[2..5]).map(|(count, pick)| pick % count).collect(),
            partition: picks[5] % design.partitions,
            fold: picks[6] % design.folds,
            inner: None,
        };
        match design.index(&key) {
            Some(index) => prop_assert_eq!(design.key(index), Some(key)),
            None => prop_assert!(design.cells_of(arm) < design.cells_of_all()),
        }
    }

    #[test]
    fn beyond_the_last_trial_there_is_no_key(design in designs()) {
        prop_assert_eq!(design.key(TrialIndex(design.trials().expect("small"))), None);
    }

    #[test]
    fn more_seeds_move_no_trial((design, limits) in limited(), pick in any::<u64>()) {
        let index = TrialIndex(pick % design.trials().expect("small"));
        let mut seeds = design.seeds.clone();
        seeds[0] += 10;
        let (configs, folds) = (design.configs.clone(), design.folds);
        let grown = Design::new(configs, &limits, seeds, (design.partitions, folds), design.inner);
        prop_assert_eq!(grown.key(index), design.key(index));
    }

    #[test]
    fn every_choice_has_its_scores_and_its_refits(design in small()) {
        let mut met: BTreeMap<TrialIndex, Choice> = BTreeMap::new();
        let mut refused = 0;
        for choice in design.choices() {
            prop_assert!(design.has(choice));
            for trial in design.scores_of(choice).into_iter().flatten().flatten() {
                prop_assert_eq!(met.insert(trial, choice), None);
                prop_assert!(design.key(trial).expect("inside").inner.is_some());
            }
            for config in 0..design.configs[choice.arm as usize] {
                let refits = design.refits(choice, config);
                refused += if config > 0 { refits.len() as u64 } else { 0 };
                for trial in refits {
                    prop_assert_eq!(met.insert(trial, choice), None);
                    prop_assert!(design.key(trial).expect("inside").inner.is_none());
                }
            }
        }
        let trials = design.trials().expect("small");
        for trial in (0..trials).map(TrialIndex) {
            let key = design.key(trial).expect("inside");
            prop_assert_eq!(design.choice_of(&key), met.get(&trial).copied());
        }
        prop_assert_eq!(design.trained(), Some(trials - refused));
        let is_refit = |trial: &u64| {
            let key = design.key(TrialIndex(*trial)).expect("inside");
            key.inner.is_none() && design.is_searched(key.arm)
        };
        let from = trials / 3;
        let held: Vec<u64> = design.unchosen(TrialIndex(from)).into_iter().flatten().collect();
        prop_assert_eq!(held, (from..trials).filter(is_refit).collect::<Vec<_>>());
    }

    #[test]
    fn every_arm_has_its_cells((design, limits) in limited()) {
        let mut sum = 0;
        for (arm, &configs) in design.configs.iter().enumerate() {
            let seeds = design.cells_of(arm as u32) / design.blocks();
            let all = design.cells_of_all() / design.blocks();
            prop_assert_eq!(seeds, limits[arm].map_or(all, |most| all.min(most.into())));
            let inner = design.tuning_cells_of(arm as u32) * design.inner_folds();
            sum += (design.cells_of(arm as u32) + inner) * u64::from(configs);
        }
        prop_assert_eq!(design.trials(), Some(sum));
    }
}

impl Design {
    fn cells_of_all(&self) -> u64 {
        self.seeds.iter().map(|&count| u64::from(count)).product::<u64>() * self.blocks()
    }
}

#[test]
fn keys_enumerate_every_cell_once() {
    let design = Design::new(vec![2, 1], &[None, None], vec![3], (2, 2), None);
    let keys: BTreeSet<TrialKey> =
        (0..36).map(|index| design.key(TrialIndex(index)).expect("inside")).collect();
    assert_eq!(design.trials(), Some(36));
    assert_eq!(keys.len(), 36);
}

#[test]
fn a_control_of_one_seed_is_in_the_first_seeds_block_alone() {
    let design = Design::new(vec![2, 1], &[None, Some(1)], vec![3], (1, 2), None);
    let arms = |index| design.key(TrialIndex(index)).map(|key| (key.arm, key.config));
    let found: Vec<_> = (0..15).map_while(arms).collect();
    let (block, later) = ([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1)]);
    let wanted = [&block[..], &block, &later, &later, &later, &later].concat();
    assert_eq!(found, wanted);
}

#[test]
fn trials_that_do_not_fit_are_none() {
    let limits = [None, Some(1)];
    let design = Design::new(vec![9, 1], &limits, vec![u32::MAX, u32::MAX, u32::MAX], (1, 1), None);
    assert_eq!((design.trials(), design.key(TrialIndex(0))), (None, None));
}

#[test]
fn seeds_that_choose_for_all_come_first_and_seeds_that_choose_for_themselves_in_their_block() {
    let design = |tune| {
        let inner = Some(InnerFolds { folds: 2, tune });
        Design::new(vec![2, 1], &[None, None], vec![2], (1, 1), inner)
    };
    let cells = |design: &Design| -> Vec<(u32, u32, u32, Option<u32>)> {
        let key = |index| design.key(TrialIndex(index));
        (0..).map_while(key).map(|k| (k.arm, k.config, k.seeds[0], k.inner)).collect()
    };
    let inner = |seed| {
        [(0, 0, seed, Some(0)), (0, 0, seed, Some(1)), (0, 1, seed, Some(0)), (0, 1, seed, Some(1))]
    };
    let outer = |seed| [(0, 0, seed, None), (0, 1, seed, None), (1, 0, seed, None)];
    let own = [&outer(0)[..], &inner(0), &outer(1), &inner(1)].concat();
    assert_eq!(cells(&design(None)), own);
    let shared = [&inner(0)[..], &outer(0), &outer(1)].concat();
    assert_eq!(cells(&design(Some(1))), shared);
    assert_eq!(design(Some(1)).refits(Choice { arm: 0, cell: 0 }, 1), [5, 8].map(TrialIndex));
}
