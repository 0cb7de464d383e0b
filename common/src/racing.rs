//! Which configs of a choice stay in its race: all but those that cannot be chosen.
//!
//! What was dropped stands in the log; who stays is found from the scores of those that are left alone. So
//! whoever looks finds the same, in whatever order the scores of a block came. Deliberately absent: which
//! block is complete, and who trains it.
//!
//! Floor: common.

use crate::choosing::Scores;
use crate::stats::stopping::{Rule, behind};

/// Whether each of the configs that are left stays in the race; one always does.
///
/// `scores` [left][tuning seeds][inner folds], NaN where a training failed; `of`: configs that there were at
/// first. Dropped are those that are settled to be behind the leader, and, from `rule.blocks_min` tuning
/// seeds on, those that failed somewhere while another did not: a choice puts these behind all that are
/// whole, whatever they score. While none is whole nobody is dropped: a choice then goes by how often they
/// failed.
pub fn stay(rule: &Rule, of: usize, scores: &[Scores]) -> Vec<bool> {
    let seeds = scores.iter().map(Vec::len).min().unwrap_or(0);
    if seeds < rule.blocks_min as usize {
        return vec![true; scores.len()];
    }
    let is_whole = |scores: &Scores| scores.iter().flatten().all(|score| score.is_finite());
    let mut stays: Vec<bool> = scores.iter().map(is_whole).collect();
    if !stays.contains(&true) {
        return vec![true; scores.len()];
    }
    let left: Vec<usize> = (0..scores.len()).filter(|at| stays[*at]).collect();
    let of_config = |at: &usize| scores[*at][..seeds].to_vec();
    let blocks: Vec<Vec<Vec<f64>>> = left.iter().map(of_config).collect();
    // The rule was checked when the study came in: where nothing is known, nothing is dropped.
    let behind = behind(rule, of, &blocks).unwrap_or_default();
    left.iter().zip(behind).for_each(|(at, behind)| stays[*at] = !behind);
    stays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::{Stream, StreamRng};
    use crate::study::Race;

    const TUNE: u32 = 20;
    const FOLDS: usize = 3;

    fn rule() -> Rule {
        Race::default().rule(TUNE, true)
    }

    /// What became of one race.
    struct Run {
        left: Vec<usize>,
        /// Tuning seeds trained, over all configs.
        trained: usize,
    }

    /// Races configs with these means, each block's scores with a seed's part, a fold's and their own.
    fn race(means: &[f64], number: u64) -> Run {
        let mut rng = StreamRng::new(&Digest::of(b"race"), Stream::Noise, number, 0);
        let folds: Vec<f64> = (0..FOLDS).map(|_| rng.normal()).collect();
        let mut block = |mean: f64| -> Vec<Vec<f64>> {
            let mut of_seed = || {
                let seed = 0.5 * rng.normal();
                folds.iter().map(|fold| mean + fold + seed + rng.normal()).collect()
            };
            (0..TUNE).map(|_| of_seed()).collect()
        };
        let scores: Vec<Scores> = means.iter().map(|mean| block(*mean)).collect();
        let mut run = Run { left: (0..means.len()).collect(), trained: 0 };
        for seeds in 1..=TUNE as usize {
            run.trained += run.left.len();
            let so_far: Vec<Scores> =
                run.left.iter().map(|at| scores[*at][..seeds].to_vec()).collect();
            let mut stays = stay(&rule(), means.len(), &so_far).into_iter();
            run.left.retain(|_| stays.next() == Some(true));
            if run.left.len() == 1 {
                break;
            }
        }
        run
    }

    fn lost(means: &[f64], races: u64) -> f64 {
        let lost = (0..races).filter(|number| !race(means, *number).left.contains(&0));
        lost.count() as f64 / races as f64
    }

    #[test]
    fn the_best_of_equal_configs_is_dropped_no_more_often_than_promised() {
        for configs in [2, 12] {
            let share = lost(&vec![0.0; configs], 1_000);
            assert!(share <= 0.05 + 3.0 * (0.05f64 * 0.95 / 1_000.0).sqrt(), "{configs}: {share}");
            assert!(configs > 2 || share > 0.002, "{share}: limits that never err are too wide");
        }
    }

    #[test]
    fn the_best_of_a_ladder_is_kept_and_most_others_are_not_trained_whole() {
        let means: Vec<f64> = (0..16).map(|place| -0.4 * f64::from(place)).collect();
        assert!(lost(&means, 300) <= 0.05);
        let runs: Vec<Run> = (0..50).map(|number| race(&means, number)).collect();
        let trained: usize = runs.iter().map(|run| run.trained).sum();
        let share = trained as f64 / (50 * 16 * TUNE) as f64;
        assert!(share < 0.6, "{share} of all trainings");
        assert!(runs.iter().all(|run| run.left.len() < 8));
    }

    #[test]
    fn nobody_is_dropped_before_the_first_look() {
        let far = |mean: f64, seed: u32| vec![mean + 0.01 * f64::from(seed % 3); 2];
        let scores = |seeds: u32| -> Vec<Scores> {
            [9.0, 0.0]
                .map(|mean| (0..seeds).map(|s| far(mean * f64::from(s + 9), s)).collect())
                .into()
        };
        assert_eq!(stay(&rule(), 2, &scores(4)), [true, true]);
        assert_eq!(stay(&rule(), 2, &scores(8)), [true, false]);
        let smaller = Race::default().rule(TUNE, false);
        assert_eq!(stay(&smaller, 2, &scores(8)), [false, true]);
    }

    #[test]
    fn who_failed_is_out_where_another_did_not_and_else_all_stay() {
        let good = |seed: u32| vec![0.5 + 0.01 * f64::from(seed % 4); 2];
        let whole: Scores = (0..6).map(good).collect();
        let mut failed = whole.clone();
        failed[2][1] = f64::NAN;
        assert_eq!(stay(&rule(), 3, &[failed.clone(), whole.clone()]), [false, true]);
        assert_eq!(stay(&rule(), 3, &[failed.clone(), failed.clone()]), [true, true]);
        assert_eq!(stay(&rule(), 3, &[failed[..4].to_vec(), whole[..4].to_vec()]), [true, true]);
        // One is far behind where both are whole.
        let behind: Scores =
            (0..6u32).map(|seed| vec![0.1 - 0.02 * f64::from(seed * seed % 5); 2]).collect();
        let mut both = [whole, behind];
        let rule = Race { first: 5, alpha: 0.3 }.rule(8, true);
        assert_eq!(stay(&rule, 2, &both), [true, false]);
        both.iter_mut().for_each(|scores| scores[2][0] = f64::NAN);
        assert_eq!(stay(&rule, 2, &both), [true, true]);
    }
}
