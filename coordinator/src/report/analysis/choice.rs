//! What choices cost: seconds of one training, and the cheapest config that is as good as the best.
//!
//! A config is as good as the best while it is behind by one standard error of their difference at
//! most, by the corrected resampled t-test over folds on cells that both have; or while it is behind
//! by less than counts with probability 0.95. Which one is best was seen on the test rows, so this is
//! a hint where to save and no score. Deliberately absent: words.
//!
//! Source: Breiman, Friedman, Olshen & Stone (1984), for the rule of one standard error.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::worth::{Rival, Rule, cheapest_arm};
use common::study::Study;

use super::super::content::{CheapestConfig, RopeConfig};
use super::super::table::{Run, Table};
use super::{estimate, grouped, outlook, worth};

/// Mean seconds of one complete training of an arm, over its configs; `None` where none is timed.
pub fn seconds_of_arm(table: &Table, arm: usize) -> Option<f64> {
    let of_arm = table.spent.iter().filter(|((number, _), _)| *number as usize == arm);
    let (count, seconds) =
        of_arm.fold((0, 0.0), |(n, sum), (_, (count, seconds))| (n + count, sum + seconds));
    (count > 0 && seconds > 0.0).then(|| seconds / count as f64)
}

/// Of each arm with several configs, the cheapest within one standard error of the best.
pub fn cheapest(study: &Study, table: &Table) -> Vec<CheapestConfig> {
    let arms = study.judged().iter().enumerate().filter(|(_, arm)| arm.configs.len() > 1);
    arms.filter_map(|(arm, _)| of_arm(study, table, arm)).collect()
}

fn of_arm(study: &Study, table: &Table, arm: usize) -> Option<CheapestConfig> {
    let ratio = study.test_over_train()?;
    let sign = if study.primary().larger_is_better() { 1.0 } else { -1.0 };
    let cells: BTreeMap<u32, Cells> = grouped(&table.arms[arm], |run| run.config)
        .into_iter()
        .map(|(config, runs)| (config, by_cell(study, &runs)))
        .collect();
    let whole = whole(&cells);
    let means = means(&cells, &whole);
    let (best, top) = means
        .iter()
        .copied()
        .reduce(|best, other| if sign * other.1 > sign * best.1 { other } else { best })?;
    let seconds = |config: u32| {
        let (count, seconds) = table.spent.get(&(arm as u32, config))?;
        Some(seconds / *count as f64)
    };
    let mut rivals = Vec::new();
    for (config, mean) in &means {
        let differences: Vec<(u32, f64)> = cells[&best]
            .iter()
            .filter(|(cell, _)| whole.contains(cell))
            .map(|(cell, score)| (cell.0, sign * (score - cells[config][cell])))
            .collect();
        let folds: Vec<f64> = grouped(&differences, |(fold, _)| *fold)
            .values()
            .map(|of| estimate::mean(&of.iter().map(|(_, d)| *d).collect::<Vec<f64>>()))
            .collect();
        let behind = (sign * (top - mean)).max(0.0);
        let (se, df) = match estimate::corrected_t(&folds, ratio) {
            Some(t) => (t.se, t.df),
            // The best itself, or one that is behind by the same in every fold.
            None if folds.len() > 1 => (0.0, (folds.len() - 1) as f64),
            None => return None,
        };
        rivals.push((*config, Rival { behind, se, df, cost: seconds(*config)? }));
    }
    let list: Vec<Rival> = rivals.iter().map(|(_, rival)| *rival).collect();
    let chosen = |rule: Rule| Some(rivals[cheapest_arm(&list, rule).ok()?]);
    let point = |config: u32| study.arms[arm].configs[config as usize].point.to_string();
    let width = outlook::rope_width(study).filter(|width| *width > 0.0);
    let rope = width.and_then(|width| {
        let (config, chosen) = chosen(Rule::Rope { width, probability: SURE })?;
        Some(RopeConfig {
            width,
            cheapest: point(config),
            behind: chosen.behind,
            se: chosen.se,
            seconds: chosen.cost,
        })
    });
    let (config, chosen) = chosen(Rule::OneSe)?;
    let seconds_best = seconds(best)?;
    Some(CheapestConfig {
        arm: study.arms[arm].name.clone(),
        best: point(best),
        cheapest: point(config),
        behind: chosen.behind,
        se: chosen.se,
        seconds_best,
        seconds_cheapest: chosen.cost,
        gain: worth::price(seconds_best - chosen.cost, chosen.behind, spreads(&means, &list)),
        rope,
    })
}

/// Mean of each config over the cells that all have, so that none is best by easier folds.
fn means(cells: &BTreeMap<u32, Cells>, whole: &BTreeSet<&(u32, Vec<u32>)>) -> Vec<(u32, f64)> {
    let mean = |own: &Cells| {
        let scores: Vec<f64> =
            own.iter().filter(|(cell, _)| whole.contains(cell)).map(|(_, score)| *score).collect();
        (!scores.is_empty()).then(|| estimate::mean(&scores))
    };
    cells.iter().filter_map(|(config, own)| Some((*config, mean(own)?))).collect()
}

/// The cells that every config has.
fn whole(cells: &BTreeMap<u32, Cells>) -> BTreeSet<&(u32, Vec<u32>)> {
    let mut counts: BTreeMap<&(u32, Vec<u32>), usize> = BTreeMap::new();
    cells.values().flat_map(BTreeMap::keys).for_each(|cell| *counts.entry(cell).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count == cells.len()).map(|(cell, _)| cell).collect()
}

/// Variance of the configs' means, and what errors alone would make of it: half the mean square of
/// the errors of differences from the best.
fn spreads(means: &[(u32, f64)], rivals: &[Rival]) -> (f64, f64) {
    let means: Vec<f64> = means.iter().map(|(_, mean)| *mean).collect();
    let behind: Vec<f64> =
        rivals.iter().filter(|rival| rival.se > 0.0).map(|rival| rival.se.powi(2) / 2.0).collect();
    let error = if behind.is_empty() { 0.0 } else { estimate::mean(&behind) };
    (estimate::sd(&means).map_or(0.0, |sd| sd * sd), error)
}

/// Score of each block and seed.
type Cells = BTreeMap<(u32, Vec<u32>), f64>;

fn by_cell(study: &Study, runs: &[&Run]) -> Cells {
    runs.iter().map(|run| ((run.block(study), run.seeds.clone()), run.score)).collect()
}

/// Probability that makes a config as good as the best by what counts.
const SURE: f64 = 0.95;
