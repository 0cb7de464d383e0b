//! The first two comparable arms seed after seed, as if somebody had watched.
//!
//! A block is one seed on every fold; its paired difference is one number. Seeds stand in the order
//! of the design, since no outcome decides which comes next.
//!
//! Floor: core.

use common::stats::monitor::{Sequence, are_equal, confidence_sequence, spent};
use common::study::Study;

use super::super::content::{LEVEL, Target};
use super::super::monitor::{MonitorLook, MonitorPart};
use super::comparisons::Cells;
use super::{estimate, grouped, seed_label};

/// `None` where seed factors are crossed (their blocks share levels and are not exchangeable), for
/// fewer than two complete seeds, and for arms that no seed sets apart. `complete` are the complete
/// cells of each judged arm.
pub fn of_study(study: &Study, complete: &[Cells]) -> Option<MonitorPart> {
    let [_] = study.seeds.factors.as_slice() else { return None };
    let (a, b, differences) = first_pair(study, complete)?;
    let values: Vec<f64> = differences.iter().map(|(_, difference)| *difference).collect();
    if are_equal(&values) {
        return None;
    }
    let alpha = 1.0 - LEVEL;
    let bounds = confidence_sequence(&values, alpha, NARROWEST, Sequence::Student).ok()?;
    let look = |(place, (seed, difference)): (usize, &(String, f64))| {
        let bounded = place.checked_sub(1).and_then(|at| bounds.get(at)?.bounds);
        MonitorLook {
            seed: seed.clone(),
            difference: *difference,
            mean: estimate::mean(&values[..=place]),
            low: bounded.map(|(low, _)| low),
            high: bounded.map(|(_, high)| high),
        }
    };
    let looks: Vec<MonitorLook> = differences.iter().enumerate().map(look).collect();
    let leaves_out_zero = |look: &MonitorLook| {
        look.low.is_some_and(|low| low > 0.0) || look.high.is_some_and(|high| high < 0.0)
    };
    let each: Vec<u32> = (2..=values.len() as u32).collect();
    let decided = looks.iter().position(leaves_out_zero);
    Some(MonitorPart {
        a: study.arms[a].name.clone(),
        b: study.arms[b].name.clone(),
        target: Target::T1,
        method: "confidence sequence of a t test with a normal prior (Wang and Ramdas)",
        level: LEVEL,
        narrowest: NARROWEST,
        decided_after: decided.map(|place| place as u64 + 1),
        spent_by_plain_tests: (each.len() <= LOOKS_SPENT_MAX)
            .then(|| spent(&each, alpha).ok()?.last().copied())
            .flatten(),
        looks,
    })
}

/// Seeds in the order of the design, each with its mean difference over all folds.
type Blocks = Vec<(String, f64)>;

/// The study's first pair with two complete seeds: those of every fold that both have at all.
fn first_pair(study: &Study, cells: &[Cells]) -> Option<(usize, usize, Blocks)> {
    let arms = study.judged().len();
    let pairs = (0..arms).flat_map(|a| (a + 1..arms).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| (a, b, by_seed(&cells[a], &cells[b])))
        .find(|(_, _, differences)| differences.len() > 1)
}

fn by_seed(a: &Cells, b: &Cells) -> Blocks {
    let paired: Vec<(u32, &Vec<u32>, f64)> = a
        .iter()
        .filter_map(|((fold, seeds), score)| {
            b.get(&(*fold, seeds.clone())).map(|other| (*fold, seeds, score - other))
        })
        .collect();
    let folds = grouped(&paired, |(fold, _, _)| *fold).len();
    grouped(&paired, |(_, seeds, _)| *seeds)
        .into_iter()
        .filter(|(_, group)| group.len() == folds)
        .map(|(seeds, group)| {
            let values: Vec<f64> = group.iter().map(|(_, _, difference)| *difference).collect();
            (seed_label(seeds), estimate::mean(&values))
        })
        .collect()
}

/// Seeds at which the limits are narrowest: what small studies train.
const NARROWEST: u32 = 10;

/// Looks up to which the error that plain tests spend is computed.
const LOOKS_SPENT_MAX: usize = 100;
