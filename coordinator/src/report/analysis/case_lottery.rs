//! The seed lottery over rows: how often a test between two seeds of one arm finds a "difference".
//!
//! Played on each partition, with all its rows at once, and on each fold taken for a hold-out set.
//! Seeds of one config play, the first of the arm that has them: to choose the best config for it
//! would be another lottery. The best seed meets every other one; of all pairs as many are drawn as
//! fit a fixed number of rows, so that the work is bounded. Deliberately absent: words.
//!
//! Source: Åkesson, Töger & Heiberg (2024).
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::lottery::{self, Lottery};
use common::study::Study;

use super::super::content::{CaseLottery, LotteryShares, SeedDrawn};
use super::cases::{CaseRun, CaseScore, Cases};
use super::{grouped, seed_label};

/// The lottery of one arm.
///
/// Errors: in words, why it cannot be played.
pub fn of_arm(study: &Study, cases: &Cases<'_>, arm: usize) -> Result<CaseLottery, String> {
    let case = CaseScore::of(study);
    let configs = grouped(&cases.arms[arm], |run| run.config);
    let work = PAIR_ROWS_MAX / cases.arms.len() as u64;
    let mut why = "no run of it has a score of each row".to_string();
    for (config, runs) in configs {
        let by_seed = grouped(runs, |run| run.seeds.clone());
        match of_config(study, case, &by_seed, work) {
            Ok(mut found) => {
                let written = &study.arms[arm].configs;
                let named = (written.len() > 1).then(|| written[config as usize].point.to_string());
                found.case_config = named;
                return Ok(found);
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}

type BySeed<'r, 'a> = BTreeMap<Vec<u32>, Vec<&'r CaseRun<'a>>>;

fn of_config(
    study: &Study,
    case: CaseScore,
    by_seed: &BySeed<'_, '_>,
    work: u64,
) -> Result<CaseLottery, String> {
    let folds = study.outer.folds;
    let several = folds > 1;
    let sets = |each: u32| -> Vec<Vec<u32>> {
        let blocks: Vec<u32> = (0..study.outer.partitions * folds).collect();
        blocks.chunks(each as usize).map(<[u32]>::to_vec).collect()
    };
    // Half of the work for each of the two ways to play.
    let half = if several { work / 2 } else { work };
    let (whole, first) = play(case, by_seed, &sets(folds), half)?;
    let hold_out = several.then(|| play(case, by_seed, &sets(1), half).ok()).flatten();
    let (seeds, lottery) = &first;
    let drawn = seeds.iter().enumerate().map(|(place, seeds)| {
        let met = lottery.against.iter().find(|pair| pair.other == place);
        SeedDrawn {
            seed: seed_label(seeds),
            mean: lottery.means[place],
            is_best: place == lottery.best,
            beaten: met.is_some_and(|pair| pair.p_t < THRESHOLD && pair.difference != 0.0),
        }
    });
    Ok(CaseLottery {
        case_score: case.in_words(),
        case_score_is_the_metrics: case.is_the_metrics(),
        case_config: None,
        case_best_seed: seed_label(&seeds[lottery.best]),
        played_on: if several { "cross-validation" } else { "hold-out" },
        shares: whole,
        hold_out: hold_out.map(|(shares, _)| shares),
        drawn: drawn.collect(),
    })
}

/// Seeds with their lottery on one test set.
type Played = (Vec<Vec<u32>>, Lottery);

/// Plays on each set of blocks; the mean shares, and the first play.
fn play(
    case: CaseScore,
    by_seed: &BySeed<'_, '_>,
    sets: &[Vec<u32>],
    work: u64,
) -> Result<(LotteryShares, Played), String> {
    let mut why = "no two of its seeds were tested on all of the same rows".to_string();
    let mut played: Vec<Played> = Vec::new();
    let (mut rows, mut most, mut pairs, mut drawn) = (0, 0, 0, false);
    for blocks in sets {
        let (seeds, scores) = scored(case, by_seed, blocks);
        let Some(cases) = scores.first().map(Vec::len).filter(|_| scores.len() > 1) else {
            continue;
        };
        let pairs_max = work / sets.len() as u64 / cases.max(1) as u64;
        let larger = case.larger_is_better();
        match lottery::seed_lottery_within(&scores, larger, THRESHOLD, pairs_max) {
            Ok(lottery) => {
                let all = (seeds.len() * (seeds.len() - 1) / 2) as u64;
                drawn |= lottery.pairs < all;
                (rows, most) = (rows.max(cases as u64), most.max(seeds.len() as u64));
                pairs += lottery.pairs;
                played.push((seeds, lottery));
            }
            Err(error) => why = error.to_string(),
        }
    }
    let plays = played.len() as u64;
    let mean = |share: &dyn Fn(&Lottery) -> f64| {
        played.iter().map(|(_, lottery)| share(lottery)).sum::<f64>() / plays as f64
    };
    let shares = LotteryShares {
        beats_share_t: mean(&|lottery| lottery.beats_t),
        beats_share_wilcoxon: mean(&|lottery| lottery.beats_rank),
        all_pairs_share: mean(&|lottery| lottery.all_pairs_t),
        all_pairs_share_wilcoxon: mean(&|lottery| lottery.all_pairs_rank),
        plays,
        rows,
        seeds_played: most,
        pairs,
        pairs_drawn: drawn,
    };
    let first = played.into_iter().next().ok_or(why)?;
    Ok((shares, first))
}

/// Seeds that were tested on all of `blocks`, with the scores of their rows, block after block.
fn scored(
    case: CaseScore,
    by_seed: &BySeed<'_, '_>,
    blocks: &[u32],
) -> (Vec<Vec<u32>>, Vec<Vec<f64>>) {
    let wanted: BTreeSet<u32> = blocks.iter().copied().collect();
    let of_seed = |(seeds, runs): (&Vec<u32>, &Vec<&CaseRun<'_>>)| {
        // Runs lie in trial order: of one seed and config, by block.
        let mine = || runs.iter().filter(|run| wanted.contains(&run.block));
        let whole = mine().count() == wanted.len();
        let rows = || mine().flat_map(|run| run.rows).map(|row| case.value(*row)).collect();
        whole.then(|| (seeds.clone(), rows()))
    };
    by_seed.iter().filter_map(of_seed).unzip()
}

const THRESHOLD: f64 = 0.05;

/// Differences of two seeds on one row that the shares of all pairs may cost, over all arms: some
/// seconds.
const PAIR_ROWS_MAX: u64 = 40_000_000;
