//! What the further figures show, from the runs.
//!
//! Floor: core.

use common::design::Design;
use common::study::{Arm, Study};
use common::trial::FailReason;
use common::wire::message::RowEnd;

use super::super::Material;
use super::super::drawn::{ArmCells, FoldMeans, Further, Tile};
use super::super::table::{Run, Table, in_trial_order};
use super::components::Decomposition;
use super::{estimate, grouped};

/// `parts` are the decompositions of the judged arms, in their order.
pub fn of_study(material: &Material<'_>, table: &Table, parts: &[Decomposition]) -> Further {
    let study = material.study;
    let residuals = study.judged().iter().zip(parts).filter_map(|(arm, part)| {
        let mut values = part.residuals.clone();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| (arm.name.clone(), values))
    });
    Further {
        test_over_train: study.test_over_train(),
        folds: fold_means(study, table),
        residuals: residuals.collect(),
        cells: cells(material),
        zeta: (study.judged().iter().zip(parts))
            .filter(|(_, part)| !part.zeta.is_empty())
            .map(|(arm, part)| (arm.name.clone(), part.zeta.clone()))
            .collect(),
    }
}

fn fold_means(study: &Study, table: &Table) -> FoldMeans {
    let blocks = study.outer.partitions * study.outer.folds;
    let label = |block: u32| match (study.outer.partitions, study.outer.folds) {
        (1, _) | (_, 1) => block.to_string(),
        (_, folds) => format!("{}.{}", block / folds, block % folds),
    };
    let arm = |(arm, runs): (usize, &Vec<Run>)| {
        let by_block = grouped(runs, |run| run.block(study));
        let mean = |block: u32| {
            let group = by_block.get(&block)?;
            Some(estimate::mean(&group.iter().map(|run| run.score).collect::<Vec<f64>>()))
        };
        (study.arms[arm].name.clone(), (0..blocks).map(mean).collect())
    };
    FoldMeans {
        folds: (0..blocks).map(label).collect(),
        arms: table.judged(study).iter().enumerate().map(arm).collect(),
    }
}

/// The map of the judged arms' trials.
fn cells(material: &Material<'_>) -> Vec<ArmCells> {
    let study = material.study;
    let design = Design::of(study);
    let blocks = study.outer.partitions as usize * study.outer.folds as usize;
    let seeds: usize = study.seeds.factors.iter().map(|factor| factor.count as usize).product();
    let columns = (seeds * blocks).min(COLUMNS_MAX);
    let rows_max = (ROWS_MAX / study.judged().len().max(1)).max(1);
    let empty = |arm: &Arm| ArmCells {
        arm: arm.name.clone(),
        folds: if columns == seeds * blocks { blocks } else { 0 },
        rows: vec![vec![Tile::default(); columns]; arm.configs.len().min(rows_max)],
        configs: config_names(arm, arm.configs.len().min(rows_max)),
    };
    let mut map: Vec<ArmCells> = study.judged().iter().map(empty).collect();
    for row in in_trial_order(material.rows, &design) {
        let Some(key) = design.key(row.trial) else { continue };
        let Some(arm) = map.get_mut(key.arm as usize) else { continue };
        let configs = study.arms[key.arm as usize].configs.len();
        let factors = study.seeds.factors.iter().zip(&key.seeds);
        let seed =
            factors.fold(0, |seed, (factor, level)| seed * factor.count as usize + *level as usize);
        let block = (key.partition * study.outer.folds + key.fold) as usize;
        let column = (seed * blocks + block) * columns / (seeds * blocks);
        let line = key.config as usize * arm.rows.len() / configs;
        let tile = &mut arm.rows[line][column];
        *match &row.end {
            RowEnd::Complete(outcome) if outcome.metrics.first().is_some_and(|s| s.is_finite()) => {
                &mut tile.complete
            }
            RowEnd::Complete(_) => &mut tile.undefined,
            RowEnd::Failed { reason, .. } if reason == FailReason::Diverged.name() => {
                &mut tile.diverged
            }
            RowEnd::Failed { .. } => &mut tile.failed,
        } += 1;
    }
    for (arm, written) in map.iter_mut().zip(study.judged()) {
        let lines = arm.rows.len();
        for (line, tiles) in arm.rows.iter_mut().enumerate() {
            let configs = share(line, lines, written.configs.len());
            for (column, tile) in tiles.iter_mut().enumerate() {
                let planned = configs * share(column, columns, seeds * blocks);
                tile.open = (planned as u64).saturating_sub(tile.ended()) as u32;
            }
        }
    }
    map
}

/// Names of the configs of each of so many `rows`.
fn config_names(arm: &Arm, rows: usize) -> Vec<String> {
    let name = |config: usize| arm.configs[config].point.to_string();
    let begin = |row: usize| (row * arm.configs.len()).div_ceil(rows);
    let of_row = |row: usize| match (begin(row), begin(row + 1) - 1) {
        (first, last) if first == last => name(first),
        (first, last) => format!("{} to {}", name(first), name(last)),
    };
    (0..rows).map(of_row).collect()
}

/// How many of `items` fall into `part` of `parts`, item i into part `i * parts / items`.
fn share(part: usize, parts: usize, items: usize) -> usize {
    let begin = |part: usize| (part * items).div_ceil(parts);
    begin(part + 1) - begin(part)
}

/// Tiles of the map beside each other, and rows over all arms.
const COLUMNS_MAX: usize = 60;
const ROWS_MAX: usize = 48;
