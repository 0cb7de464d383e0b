//! What the rule claims, when it stops, and what it refuses.
//!
//! Floor: common.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::super::monitor::{Sequence, confidence_sequence};
use super::*;

#[test]
fn limits_are_those_of_the_confidence_sequence() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let scores = arms(&mut rng, &[0.0, 0.0], 12, 3);
    let differences: Vec<f64> = scores[0]
        .iter()
        .zip(&scores[1])
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).sum::<f64>() / 3.0)
        .collect();
    let looks = confidence_sequence(&differences, 0.05, 10, Sequence::Student).unwrap();
    let expected = looks.last().unwrap();

    let decision = decide(&Rule { difference: false, ..RULE }, &scores).unwrap();

    let found = decision.comparisons[0].look.unwrap();
    let (low, high) = found.bounds.unwrap();
    let (expected_low, expected_high) = expected.bounds.unwrap();
    assert_eq!(found.blocks, expected.blocks);
    assert!((low - expected_low).abs() < 1e-12 && (high - expected_high).abs() < 1e-12);
}

#[test]
fn a_difference_that_is_settled_stops_and_stays_so() {
    let rule = Rule { larger_is_better: false, ..RULE };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let scores = arms(&mut rng, &[3.0, 0.0], 40, 2);
    let decision = decide(&rule, &scores).unwrap();
    let stopped = decision.blocks as usize;

    assert_eq!(decision.next, Next::Stop);
    assert_eq!(decision.comparisons[0].end, Some(End::Differ));
    assert!(stopped < 40);
    // Later blocks, were they against it, are not read.
    let mut surplus = scores.clone();
    surplus[0][stopped..].iter_mut().flatten().for_each(|score| *score = -50.0);
    assert_eq!(decide(&rule, &surplus).unwrap(), decision);
    let before: Vec<_> = scores.iter().map(|blocks| blocks[..stopped - 1].to_vec()).collect();
    assert_eq!(decide(&rule, &before).unwrap().next, Next::GoOn(vec![0, 1]));
}

#[test]
fn limits_within_the_range_of_equivalence_stop() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(3), &[0.0, 0.0], 200, 1);
    let rule = Rule { rope: Some(1.0), blocks_max: 200, ..RULE };
    let decision = decide(&rule, &scores).unwrap();

    assert_eq!(decision.comparisons[0].end, Some(End::Equal));
    let (low, high) = decision.comparisons[0].look.unwrap().bounds.unwrap();
    assert!(low > -1.0 && high < 1.0);
}

#[test]
fn a_half_width_that_is_reached_stops() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(4), &[0.0, 0.0], 200, 1);
    let rule = Rule { half_width: Some(0.8), difference: false, blocks_max: 200, ..RULE };
    let decision = decide(&rule, &scores).unwrap();

    assert_eq!(decision.comparisons[0].end, Some(End::Narrow));
    let before: Vec<_> =
        scores.iter().map(|arm| arm[..decision.blocks as usize - 1].to_vec()).collect();
    let look = decide(&rule, &before).unwrap().comparisons[0].look.unwrap();
    assert!(look.bounds.unwrap().1 - look.mean > 0.8);
}

#[test]
fn a_block_that_costs_more_than_it_brings_is_not_bought() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(5), &[0.0, 0.0], 10, 1);
    let priced = |price_per_hour| {
        let stakes = Stakes { value_per_unit: 1.0, uses: 1.0, price_per_hour };
        let worth = Some(Worth { stakes, hours_per_block: 1.0 });
        decide(&Rule { worth, ..RULE }, &scores).unwrap()
    };

    let dear = priced(10.0);
    assert_eq!(dear.blocks, RULE.blocks_min);
    assert!(
        matches!(dear.comparisons[0].end, Some(End::NotWorth(expected)) if expected.net() < 0.0)
    );
    assert_eq!(priced(1e-6).next, Next::GoOn(vec![0, 1]));
}

#[test]
fn what_the_blocks_left_cannot_settle_is_hopeless() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(6), &[0.0, 0.0], 30, 1);
    let rule = Rule { hopeless_below: Some(0.1), blocks_max: 30, ..RULE };
    let decision = decide(&rule, &scores).unwrap();

    assert!(decision.blocks < 30, "{decision:?}");
    assert!(matches!(decision.comparisons[0].end, Some(End::Hopeless { chance }) if chance < 0.1));
    // A width comes nearer with every block.
    let wide = Rule { half_width: Some(1e-9), ..rule };
    assert_eq!(decide(&wide, &scores).unwrap().comparisons[0].end, Some(End::Planned));
}

#[test]
fn more_seeds_are_not_bought_where_folds_are_what_is_left() {
    let rule = Rule { reach: Reach::Samples { test_over_train: 0.25 }, blocks_max: 100, ..RULE };
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let lean = [-3.0, 2.0, 4.0, -5.0, 2.0];
    let leaning = |rng: &mut ChaCha8Rng, size: f64| {
        let mut scores = arms(rng, &[0.0, 0.0], 100, 5);
        let blocks = scores[0].iter_mut();
        blocks.for_each(|block| {
            block.iter_mut().zip(lean).for_each(|(score, lean)| *score += size * lean);
        });
        decide(&rule, &scores).unwrap()
    };

    let folds = leaning(&mut rng, 1.0);
    let end = folds.comparisons[0].end;
    assert!(folds.blocks < 20, "{folds:?}");
    assert!(matches!(end, Some(End::Floor { se, se_floor }) if se_floor > 0.9 * se), "{end:?}");
    assert!(leaning(&mut rng, 0.05).blocks > 20);
}

#[test]
fn limits_for_new_samples_are_wider_than_for_new_seeds() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(8), &[0.0, 0.0], 20, 4);
    let half = |reach| {
        let rule = Rule { difference: false, reach, ..RULE };
        let look = decide(&rule, &scores).unwrap().comparisons[0].look.unwrap();
        look.bounds.unwrap().1 - look.mean
    };
    let samples = half(Reach::Samples { test_over_train: 1.0 / 3.0 });

    assert!(half(Reach::Seeds) < half(Reach::Folds) && half(Reach::Folds) < samples);
}

#[test]
fn an_arm_that_cannot_be_the_best_gets_no_further_blocks() {
    let rule = Rule { aim: Aim::Best, blocks_max: 60, ..RULE };
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(9), &[0.0, 0.2, -4.0], 25, 2);
    let decision = decide(&rule, &scores).unwrap();

    assert_eq!(decision.next, Next::GoOn(vec![0, 1]));
    assert!(decision.arms[2].lost_to.is_some() && decision.arms[2].blocks < 25);
    assert_eq!(decision.left().collect::<Vec<_>>(), [0, 1]);
    // The one that goes on no more may have fewer blocks.
    let mut fewer = scores.clone();
    fewer[2].truncate(decision.arms[2].blocks as usize);
    assert_eq!(decide(&rule, &fewer).unwrap(), decision);
}

#[test]
fn where_small_is_better_the_larger_arm_is_dropped() {
    let rule = Rule { aim: Aim::Best, larger_is_better: false, ..RULE };
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(10), &[0.0, 5.0], 30, 2);
    let decision = decide(&rule, &scores).unwrap();

    assert_eq!((decision.next, decision.arms[1].lost_to), (Next::Stop, Some(0)));
}

#[test]
fn the_best_of_equal_arms_is_dropped_seldom() {
    let rule = Rule { aim: Aim::Best, blocks_max: 60, ..RULE };
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let dropped = (0..1000).filter(|_| {
        let scores = arms(&mut rng, &[0.0; 4], 60, 1);
        decide(&rule, &scores).unwrap().arms[0].lost_to.is_some()
    });
    let share = dropped.count() as f64 / 1000.0;

    assert!(share <= 0.05 + 3.0 * (0.05f64 * 0.95 / 1000.0).sqrt(), "{share}");
}

#[test]
fn looking_after_every_block_calls_chance_a_difference_seldom() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let rule = Rule { blocks_max: 100, ..RULE };
    let spoke = (0..2000).filter(|_| {
        let scores = arms(&mut rng, &[0.0, 0.0], 100, 1);
        decide(&rule, &scores).unwrap().comparisons[0].end == Some(End::Differ)
    });
    let share = spoke.count() as f64 / 2000.0;

    assert!(share <= 0.05 + 3.0 * (0.05f64 * 0.95 / 2000.0).sqrt(), "{share}");
    assert!(share > 0.005, "{share}: limits that never err are too wide");
}

#[test]
fn several_comparisons_share_the_error() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(13), &[0.0, 0.0, 0.0], 10, 1);
    let half = |scores: &[Vec<Vec<f64>>]| {
        let rule = Rule { difference: false, ..RULE };
        let look = decide(&rule, scores).unwrap().comparisons[0].look.unwrap();
        look.bounds.unwrap().1 - look.mean
    };
    let halved = Rule { difference: false, alpha: 0.025, ..RULE };
    let alone = decide(&halved, &scores[..2]).unwrap().comparisons[0].look.unwrap();

    assert_eq!(half(&scores), alone.bounds.unwrap().1 - alone.mean);
    assert!(half(&scores) > half(&scores[..2]));
}

#[test]
fn equal_differences_are_no_evidence() {
    let scores = [vec![vec![0.75]; 9], vec![vec![0.5]; 9]];
    let decision = decide(&RULE, &scores).unwrap();

    assert_eq!(decision.next, Next::GoOn(vec![0, 1]));
    assert_eq!(decision.comparisons[0].look.unwrap().bounds, None);
}

#[test]
fn a_missing_block_holds_back_those_after_it() {
    let mut scores = arms(&mut ChaCha8Rng::seed_from_u64(14), &[0.0, 0.0], 9, 1);
    scores[1].truncate(6);

    assert_eq!(decide(&RULE, &scores).unwrap().blocks, 6);
    assert_eq!(decide(&RULE, &[Vec::new(), Vec::new()]).unwrap().next, Next::GoOn(vec![0, 1]));
}

#[test]
fn a_decision_is_told_with_its_numbers_and_its_target() {
    let scores = arms(&mut ChaCha8Rng::seed_from_u64(2), &[3.0, 0.0], 40, 2);
    let told = decide(&RULE, &scores).unwrap().in_words(&RULE, &["deep", "flat"]);

    assert!(told.starts_with("Stop after "), "{told}");
    for part in ["deep minus flat is ", "limits ", "they differ", "95 %", "T1"] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
}

#[test]
fn what_no_study_can_follow_is_refused() {
    let two = [vec![vec![1.0]], vec![vec![1.0]]];
    let of = |rule: Rule| decide(&rule, &two).unwrap_err();
    assert_eq!(decide(&RULE, &two[..1]), Err(StoppingError::Arms { arms: 1 }));
    assert_eq!(
        of(Rule { blocks_min: 1, ..RULE }),
        StoppingError::Plan { blocks_min: 1, blocks_max: 40 }
    );
    assert!(matches!(of(Rule { rope: Some(0.0), ..RULE }), StoppingError::Width { .. }));
    assert_eq!(
        of(Rule { hopeless_below: Some(1.0), ..RULE }),
        StoppingError::Chance { chance: 1.0 }
    );
    assert_eq!(of(Rule { reach: Reach::Folds, ..RULE }), StoppingError::Folds { folds: 1 });
    assert!(matches!(of(Rule { alpha: 0.0, ..RULE }), StoppingError::Monitor(_)));
    let ragged = [vec![vec![1.0]], vec![vec![1.0, 2.0]]];
    assert_eq!(
        decide(&RULE, &ragged),
        Err(StoppingError::Ragged { arm: 1, block: 0, found: 2, folds: 1 })
    );
    let unknown = [vec![vec![1.0]], vec![vec![f64::NAN]]];
    assert_eq!(decide(&RULE, &unknown), Err(StoppingError::NotFinite { arm: 1, block: 0 }));
}

const RULE: Rule = Rule {
    alpha: 0.05,
    narrowest: 10,
    blocks_min: 5,
    blocks_max: 40,
    larger_is_better: true,
    aim: Aim::Baseline,
    reach: Reach::Seeds,
    difference: true,
    rope: None,
    half_width: None,
    hopeless_below: None,
    worth: None,
};

/// Scores with these means, all else standard normal.
fn arms(rng: &mut ChaCha8Rng, means: &[f64], blocks: usize, folds: usize) -> Vec<Vec<Vec<f64>>> {
    let mut block = |mean: f64| -> Vec<f64> { (0..folds).map(|_| mean + normal(rng)).collect() };
    means.iter().map(|mean| (0..blocks).map(|_| block(*mean)).collect()).collect()
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let mut unit = || ((rng.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()
}
