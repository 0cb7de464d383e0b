//! What a design could detect, by the spread that a pilot saw.
//!
//! Floor: core.

use common::stats::precision::power_of;
use common::stats::sources::{Design, error_of_difference};
use common::stats::summary::student_quantile;
use common::study::Study;
use serde::Serialize;

use super::content::{LEVEL, Report};
use super::figures::{Planner, tradeoff};

/// One size of a design.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detectable {
    pub seeds: u32,
    /// Over all partitions.
    pub folds: u32,
    /// How far the 95 % interval of a difference on new samples reaches to either side.
    pub half_width: f64,
    /// The difference that is found in 80 of 100 studies, whatever the other pairs show: by the level of
    /// Holm's first step.
    pub smallest: f64,
    /// The chance that a difference asked about is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
}

/// For the study's first pair of arms: as planned, with half, twice and four times the seeds, and with
/// twice the folds. `None` where the pilot's spread could not be divided.
pub fn detectable(
    pilot: &Report,
    study: &Study,
    difference: Option<f64>,
) -> Option<Vec<Detectable>> {
    let planner = Planner::of(pilot)?;
    let [factor] = study.seeds.factors.as_slice() else { return None };
    let arms = study.judged().len();
    let alpha = (1.0 - LEVEL) / (arms * arms.saturating_sub(1) / 2).max(1) as f64;
    let (seeds, folds) = (factor.count, study.outer.partitions * study.outer.folds);
    let mut designs = vec![
        (seeds / 2, folds),
        (seeds, folds),
        (seeds * 2, folds),
        (seeds * 4, folds),
        (seeds, folds * 2),
        (seeds * 2, folds * 2),
    ];
    designs.retain(|(seeds, _)| *seeds > 0);
    let of = |(seeds, folds): (u32, u32)| {
        let design = Design { arms: 2, seeds, folds };
        let error = error_of_difference(&planner.components, design, planner.reach).ok()?;
        let df = error.df?;
        let half_width = student_quantile(0.5 + LEVEL / 2.0, df) * error.se;
        let found = student_quantile(1.0 - alpha / 2.0, df) + student_quantile(POWER, df);
        let smallest = found * error.se;
        let power = difference.and_then(|effect| power_of(&error, alpha, effect));
        Some(Detectable { seeds, folds, half_width, smallest, power })
    };
    let rows: Vec<Detectable> = designs.into_iter().filter_map(of).collect();
    (!rows.is_empty()).then_some(rows)
}

/// The picture of half-widths over seeds and folds, as SVG.
pub fn picture(pilot: &Report) -> Option<String> {
    tradeoff(pilot).map(|figure| figure.wide)
}

/// Of the smallest difference.
const POWER: f64 = 0.8;
