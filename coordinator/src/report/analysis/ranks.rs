//! The chance of each rank, by drawing the arms' means again from the fitted model.
//!
//! What all arms share on a fold or a seed moves no rank and is left out. What is left is each arm's
//! own: its leaning to folds, which new samples would redraw (T2, with the variance over folds
//! corrected as that of Nadeau and Bengio's test), its leaning to seeds, and the residual. Deliberately
//! absent: configs; an arm stands for a typical one of its space.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::rank::rank_stability;
use common::stats::resample::Resampling;
use common::study::Study;

use super::super::content::{ArmRanks, ComponentPart, LEVEL, RanksPart, Target};
use super::super::table::Table;
use super::comparisons::{Cells, complete_cells};
use super::{estimate, grouped};

/// `None` for a study of one arm. `components` are those of the model over all arms, beside others.
pub fn of_all(study: &Study, table: &Table, components: &[ComponentPart]) -> Option<RanksPart> {
    if study.judged().len() < 2 {
        return None;
    }
    Some(ranked(study, table, components).unwrap_or_else(|why| RanksPart {
        arms: Vec::new(),
        target: None,
        method: None,
        missing: Some(why),
    }))
}

fn ranked(study: &Study, table: &Table, components: &[ComponentPart]) -> Result<RanksPart, String> {
    let all: Vec<(usize, Cells)> = table
        .judged(study)
        .iter()
        .enumerate()
        .map(|(arm, runs)| (arm, complete_cells(study, runs)))
        .filter(|(_, cells)| !cells.is_empty())
        .collect();
    let common: BTreeSet<&(u32, Vec<u32>)> = match all.split_first() {
        Some(((_, first), others)) if !others.is_empty() => {
            let met = |cell: &&(u32, Vec<u32>)| others.iter().all(|(_, c)| c.contains_key(*cell));
            first.keys().filter(met).collect()
        }
        _ => return Err("fewer than two arms have scores".to_string()),
    };
    if common.is_empty() {
        return Err("no seed and fold has a score of every arm".to_string());
    }
    let by_fold = grouped(common.iter(), |cell| cell.0);
    let mean = |cells: &Cells| {
        let of_fold = |cells_of: &Vec<&&(u32, Vec<u32>)>| {
            estimate::mean(&cells_of.iter().map(|cell| cells[**cell]).collect::<Vec<f64>>())
        };
        estimate::mean(&by_fold.values().map(of_fold).collect::<Vec<f64>>())
    };
    let means: Vec<f64> = all.iter().map(|(_, cells)| mean(cells)).collect();
    let seeds: BTreeSet<&Vec<u32>> = common.iter().map(|cell| &cell.1).collect();
    let sizes = Sizes {
        folds: by_fold.len() as f64,
        cells: common.len() as f64,
        ratio: study.test_over_train().ok_or("the split leaves no rows to test or to train")?,
    };
    let variances = all.iter().map(|(arm, _)| {
        let configs = study.arms[*arm].configs.len() as f64;
        variance(study, components, &sizes, configs, &seeds)
    });
    let variances: Vec<f64> = variances.collect::<Result<_, _>>()?;
    let covariance: Vec<Vec<f64>> = (0..variances.len())
        .map(|row| {
            (0..variances.len()).map(|c| if c == row { variances[row] } else { 0.0 }).collect()
        })
        .collect();
    let resampling = Resampling::new(DRAWS, LEVEL, 0).map_err(|error| error.to_string())?;
    let larger = study.primary().larger_is_better();
    let found = rank_stability(&means, &covariance, larger, &resampling)
        .map_err(|error| error.to_string())?;
    let arms = all.iter().enumerate().map(|(place, (arm, _))| ArmRanks {
        arm: study.arms[*arm].name.clone(),
        chances: found.chances[place].clone(),
        mean_rank: found.mean_ranks[place],
        low: found.intervals[place].0 as u64,
        high: found.intervals[place].1 as u64,
    });
    Ok(RanksPart {
        arms: arms.collect(),
        target: Some(Target::T2),
        method: Some("parametric bootstrap of the model over all arms"),
        missing: None,
    })
}

struct Sizes {
    folds: f64,
    /// Seeds and folds that every arm has.
    cells: f64,
    ratio: f64,
}

/// Variance of an arm's mean over new samples and seeds, without what all arms share.
///
/// `s²_AF (1/J + n_te/n_tr) + Σ s²_AS / S + s²_E / runs`; where folds were not told from the residual,
/// each having one run, the residual takes their place.
fn variance(
    study: &Study,
    components: &[ComponentPart],
    sizes: &Sizes,
    configs: f64,
    seeds: &BTreeSet<&Vec<u32>>,
) -> Result<f64, String> {
    let joint: BTreeMap<&str, f64> = components
        .iter()
        .filter(|part| part.arm.is_none())
        .map(|part| (part.factor.as_str(), part.variance))
        .collect();
    let residual = joint.get("residual").ok_or("the model over all arms was not fitted")?;
    if sizes.folds < 2.0 {
        return Err("there was one test set, so nothing says how ranks would move with other rows"
            .to_string());
    }
    let over_folds = 1.0 / sizes.folds + sizes.ratio;
    let (folds, rest) = match joint.get("arm:fold") {
        Some(leaning) => (leaning * over_folds, residual / (sizes.cells * configs)),
        None => (residual * over_folds, 0.0),
    };
    let of_seeds = study.seeds.factors.iter().enumerate().map(|(place, factor)| {
        let levels: BTreeSet<u32> = seeds.iter().map(|seeds| seeds[place]).collect();
        let leaning = joint.get(format!("arm:{}", factor.name).as_str()).unwrap_or(&0.0);
        leaning / levels.len() as f64
    });
    Ok(folds + rest + of_seeds.sum::<f64>())
}

const DRAWS: u32 = 4_000;
