//! The seed lottery: how often one seed of an arm "significantly" beats another.
//!
//! All seeds train the same arm, so whatever the tests find between them is luck with a p-value.
//! Per-case tests see the test cases as the only chance there is, which is why they find it.
//! Deliberately absent: a judgement.
//!
//! Source: Åkesson, Töger & Heiberg (2024), Comput. Biol. Med. 180, 108944.
//!
//! Floor: common.

use std::collections::BTreeSet;

use thiserror::Error;

use super::summary::mean;
use super::wilcoxon::{ExactRanks, Ordered, RankMode};
use crate::id::Digest;
use crate::seed::{Stream, StreamRng};

/// What per-case tests say of seeds against each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Lottery {
    /// Mean score of each seed over the cases.
    pub means: Vec<f64>,
    /// The seed with the best mean; the first of equals.
    pub best: usize,
    /// The best seed against each other, in the seeds' order.
    pub against: Vec<Beaten>,
    /// Share of the other seeds that the best one beats with p below the threshold.
    pub beats_t: f64,
    pub beats_rank: f64,
    /// Share of all pairs of seeds that differ with p below the threshold, either way.
    pub all_pairs_t: f64,
    pub all_pairs_rank: f64,
    /// Pairs that these shares are of: all there are, or as many as were drawn.
    pub pairs: u64,
}

/// The best seed against one other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beaten {
    pub other: usize,
    /// Mean of best minus other over the cases.
    pub difference: f64,
    /// Paired t test over cases, two-sided.
    pub p_t: f64,
    /// Wilcoxon's signed-rank test over cases, two-sided.
    pub p_rank: f64,
    pub mode: RankMode,
    /// Whether the signed ranks favour the best seed, as its mean does.
    pub ranks_agree: bool,
}

/// Why there is no lottery.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LotteryError {
    #[error("seeds are compared with each other, and there is only {seeds}; train at least 2")]
    TooFewSeeds { seeds: usize },
    #[error("a test over cases needs at least 2 cases; there are {cases}")]
    TooFewCases { cases: usize },
    #[error(
        "seed {seed}, counted from 0, has {cases} cases and seed 0 has {expected}; compare \
             seeds on the same cases"
    )]
    Uneven { seed: usize, cases: usize, expected: usize },
    #[error("the score of seed {seed} in case {case}, counted from 0, is not a finite number")]
    NotFinite { seed: usize, case: usize },
    #[error("the threshold of p is {threshold}; it must lie between 0 and 1")]
    Threshold { threshold: f64 },
}

/// Plays the lottery with per-case scores `[seed][case]`, the same cases in the same order.
///
/// A seed is beaten when p is below `threshold`, 0.05 as a rule, and the difference favours the
/// best. Costs one sort of the cases for each pair of seeds.
pub fn seed_lottery(
    scores: &[Vec<f64>],
    larger_is_better: bool,
    threshold: f64,
) -> Result<Lottery, LotteryError> {
    seed_lottery_within(scores, larger_is_better, threshold, u64::MAX)
}

/// As [`seed_lottery`], with the shares of all pairs from `pairs_max` of them where there are more.
///
/// Those are drawn without replacement and without regard to the scores, so the shares stay
/// unbiased; the best seed still meets every other one. At least one pair is drawn.
pub fn seed_lottery_within(
    scores: &[Vec<f64>],
    larger_is_better: bool,
    threshold: f64,
    pairs_max: u64,
) -> Result<Lottery, LotteryError> {
    check(scores, threshold)?;
    let means: Vec<f64> = scores.iter().map(|cases| mean(cases)).collect();
    let sign = if larger_is_better { 1.0 } else { -1.0 };
    let best = (1..means.len())
        .fold(0, |best, seed| if sign * means[seed] > sign * means[best] { seed } else { best });
    let exact = ExactRanks::new();
    let mut ordered = Ordered::default();
    let mut tested = |one: usize, other: usize| {
        ordered.fill(scores[one].iter().zip(&scores[other]).map(|(x, y)| x - y));
        (ordered.t_p(), ordered.signed_rank(&exact))
    };
    let others = (0..scores.len()).filter(|other| *other != best);
    let against: Vec<Beaten> = others
        .map(|other| {
            let (p_t, ranks) = tested(best, other);
            Beaten {
                other,
                difference: means[best] - means[other],
                p_t,
                p_rank: ranks.p,
                mode: ranks.mode,
                ranks_agree: sign * (ranks.plus - ranks.minus) > 0.0,
            }
        })
        .collect();
    let (mut apart_t, mut apart_rank) = (0u64, 0u64);
    let pairs = drawn_pairs(scores.len(), pairs_max);
    for (one, other) in &pairs {
        let loser = match (*one == best, *other == best) {
            (true, _) => Some(*other),
            (_, true) => Some(*one),
            _ => None,
        };
        // `against` leaves out the best one alone.
        let known = loser.map(|loser| against[loser - usize::from(loser > best)]);
        let (p_t, p_rank) = match known {
            Some(pair) => (pair.p_t, pair.p_rank),
            None => {
                let (p_t, ranks) = tested(*one, *other);
                (p_t, ranks.p)
            }
        };
        apart_t += u64::from(p_t < threshold);
        apart_rank += u64::from(p_rank < threshold);
    }
    let pairs = pairs.len() as u64;
    let share = |count: u64, of: u64| count as f64 / of as f64;
    let beaten = |test: &dyn Fn(&Beaten) -> bool| {
        share(against.iter().filter(|pair| test(pair)).count() as u64, against.len() as u64)
    };
    Ok(Lottery {
        beats_t: beaten(&|pair| pair.p_t < threshold && pair.difference != 0.0),
        beats_rank: beaten(&|pair| pair.p_rank < threshold && pair.ranks_agree),
        all_pairs_t: share(apart_t, pairs),
        all_pairs_rank: share(apart_rank, pairs),
        pairs,
        means,
        best,
        against,
    })
}

/// Pairs of seeds, the smaller first: all of them, or `pairs_max` drawn ones.
///
/// Robert Floyd's sampling: the work is that of the pairs taken, however many there are.
fn drawn_pairs(seeds: usize, pairs_max: u64) -> Vec<(usize, usize)> {
    let all = seeds as u64 * (seeds as u64 - 1) / 2;
    let wanted = all.min(pairs_max.max(1));
    if wanted == all {
        return (0..seeds).flat_map(|one| (one + 1..seeds).map(move |two| (one, two))).collect();
    }
    let mut rng = StreamRng::new(&Digest::of(b"lottery pairs"), Stream::Split, 0, 0);
    let mut taken = BTreeSet::new();
    for last in all - wanted..all {
        let drawn = rng.below(last + 1);
        if !taken.insert(drawn) {
            taken.insert(last);
        }
    }
    // The pairs of seed `two` with smaller ones begin at two (two - 1) / 2.
    let mut two = 1;
    let pair = |number: u64| {
        while (two + 1) * two / 2 <= number {
            two += 1;
        }
        ((number - two * (two - 1) / 2) as usize, two as usize)
    };
    taken.into_iter().map(pair).collect()
}

fn check(scores: &[Vec<f64>], threshold: f64) -> Result<(), LotteryError> {
    if threshold.is_nan() || threshold <= 0.0 || threshold >= 1.0 {
        return Err(LotteryError::Threshold { threshold });
    }
    if scores.len() < 2 {
        return Err(LotteryError::TooFewSeeds { seeds: scores.len() });
    }
    let expected = scores[0].len();
    if expected < 2 {
        return Err(LotteryError::TooFewCases { cases: expected });
    }
    for (seed, cases) in scores.iter().enumerate() {
        if cases.len() != expected {
            return Err(LotteryError::Uneven { seed, cases: cases.len(), expected });
        }
        if let Some(case) = cases.iter().position(|score| !score.is_finite()) {
            return Err(LotteryError::NotFinite { seed, case });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::{Stream, StreamRng};

    fn drawn(seeds: usize, cases: usize, luck: f64) -> Vec<Vec<f64>> {
        let mut rng = StreamRng::new(&Digest::of(b"lottery"), Stream::Noise, 5, 0);
        let ease: Vec<f64> = (0..cases).map(|_| rng.normal()).collect();
        (0..seeds)
            .map(|_| {
                let own = luck * rng.normal();
                ease.iter().map(|ease| ease + own + 0.3 * rng.normal()).collect()
            })
            .collect()
    }

    #[test]
    fn equal_seeds_differ_in_one_pair_of_twenty() {
        let lottery = seed_lottery(&drawn(40, 400, 0.0), true, 0.05).unwrap();

        assert!((lottery.all_pairs_t - 0.05).abs() < 0.03, "{}", lottery.all_pairs_t);
        assert!((lottery.all_pairs_rank - 0.05).abs() < 0.03, "{}", lottery.all_pairs_rank);
        assert!(lottery.beats_t > lottery.all_pairs_t, "the best of 40 is lucky");
    }

    #[test]
    fn lucky_seeds_beat_the_others_with_many_cases() {
        let lottery = seed_lottery(&drawn(10, 5000, 0.1), true, 0.05).unwrap();

        assert!(lottery.all_pairs_t > 0.7, "{}", lottery.all_pairs_t);
        assert!(lottery.against.iter().all(|pair| pair.difference > 0.0));
        assert_eq!(lottery.against.len(), 9);
    }

    #[test]
    fn smaller_scores_win_where_smaller_is_better() {
        let scores = drawn(6, 300, 0.1);
        let negated: Vec<Vec<f64>> =
            scores.iter().map(|cases| cases.iter().map(|score| -score).collect()).collect();
        let (up, down) = (
            seed_lottery(&scores, true, 0.05).unwrap(),
            seed_lottery(&negated, false, 0.05).unwrap(),
        );

        assert_eq!(
            (up.best, up.beats_t, up.beats_rank),
            (down.best, down.beats_t, down.beats_rank)
        );
        assert_eq!(up.all_pairs_rank, down.all_pairs_rank);
    }

    #[test]
    fn order_of_the_cases_changes_nothing() {
        let scores = drawn(5, 200, 0.1);
        let reversed: Vec<Vec<f64>> =
            scores.iter().map(|cases| cases.iter().rev().copied().collect()).collect();

        assert_eq!(seed_lottery(&scores, true, 0.05), seed_lottery(&reversed, true, 0.05));
    }

    #[test]
    fn seeds_that_score_the_same_beat_nobody() {
        let lottery = seed_lottery(&[vec![0.5, 0.7], vec![0.5, 0.7]], true, 0.05).unwrap();

        assert_eq!((lottery.best, lottery.beats_t, lottery.all_pairs_rank), (0, 0.0, 0.0));
        assert_eq!((lottery.against[0].p_t, lottery.against[0].p_rank), (1.0, 1.0));
    }

    #[test]
    fn drawn_pairs_are_pairs_and_their_share_is_near_that_of_all() {
        for (seeds, wanted) in [(2, 1), (5, 3), (5, 10), (5, 99), (40, 200)] {
            let pairs = drawn_pairs(seeds, wanted);
            let all = (seeds * (seeds - 1) / 2) as u64;
            assert_eq!(pairs.len() as u64, wanted.min(all));
            let distinct: BTreeSet<_> = pairs.iter().collect();
            assert_eq!(distinct.len(), pairs.len());
            assert!(pairs.iter().all(|(one, two)| one < two && *two < seeds), "{pairs:?}");
        }
        let scores = drawn(40, 200, 0.03);
        let all = seed_lottery(&scores, true, 0.05).unwrap();
        let some = seed_lottery_within(&scores, true, 0.05, 300).unwrap();

        assert_eq!((all.pairs, some.pairs), (780, 300));
        assert_eq!((&some.against, some.beats_t), (&all.against, all.beats_t));
        // 300 of 780 pairs: three standard errors of a share of about a quarter.
        assert!((all.all_pairs_t - some.all_pairs_t).abs() < 0.06, "{all:?} {some:?}");
        assert!(all.all_pairs_t > 0.1, "{}", all.all_pairs_t);
    }

    #[test]
    fn what_is_no_lottery_is_refused() {
        let play = |scores: &[Vec<f64>]| seed_lottery(scores, true, 0.05).unwrap_err();

        assert_eq!(play(&[vec![0.1, 0.2]]), LotteryError::TooFewSeeds { seeds: 1 });
        assert_eq!(play(&[vec![0.1], vec![0.2]]), LotteryError::TooFewCases { cases: 1 });
        let uneven = LotteryError::Uneven { seed: 1, cases: 1, expected: 2 };
        assert_eq!(play(&[vec![0.1, 0.2], vec![0.1]]), uneven);
        let broken = LotteryError::NotFinite { seed: 1, case: 0 };
        assert_eq!(play(&[vec![0.1, 0.2], vec![f64::NAN, 0.1]]), broken);
    }
}
