//! What a difference says of runs that are not made yet: whether it matters, whether it would come
//! again, what further seeds and folds would show, and what they cost.
//!
//! Everything rests on the paired differences, one a seed and fold. Their spread is divided into what
//! folds, seeds and the rest add; half of each is one arm's part. Costs are what this study's own
//! runs took; what more runs are worth is in `worth.rs`.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::stats::bayes;
use common::stats::improvement::{self, Blocks, Cell, Judgement};
use common::stats::plan::{self, Cheapest, Frame, Goal, Limits};
use common::stats::precision::{self, Test};
use common::stats::replication::{self, Claim};
use common::stats::resample::Resampling;
use common::stats::sources::{self, Components, Design, Reach};
use common::study::Study;

use super::super::content::{
    Contrast, Interval, LEVEL, OneSeedPaper, Outlook, PlannedDesign, Precision, ReplicationPart,
    Rope,
};
use super::estimate::{self, Factor};
use super::worth::Room;
use super::{interval, worth};

pub use super::worth::Prices;

/// One difference: block, seeds, first arm minus second.
pub type Paired<'a> = (u32, &'a [u32], f64);

/// The outlook of one pair of arms. `None` where the design does not say how it would be repeated.
///
/// `folds` are the mean differences by fold.
pub fn of_pair(
    study: &Study,
    paired: &[Paired<'_>],
    folds: &[f64],
    contrast: &Contrast,
    prices: &Prices,
) -> Option<Outlook> {
    let ratio = study.test_over_train()?;
    let sign = if study.primary().larger_is_better() { 1.0 } else { -1.0 };
    let seeds: BTreeSet<&[u32]> = paired.iter().map(|(_, seeds, _)| *seeds).collect();
    let design = Design { arms: 2, seeds: seeds.len().max(1) as u32, folds: folds.len() as u32 };
    let components = components(paired, seeds.len())?;
    let reach = Reach::Samples { test_over_train: ratio };
    let chance = if prices.drawn { chance(paired, &seeds, sign) } else { None };
    let run_sd = components.between_runs_sd() / std::f64::consts::SQRT_2;
    Some(Outlook {
        standardized: Some(contrast.difference / run_sd)
            .filter(|d| d.is_finite() && prices.single_runs),
        rope: rope(study, folds, ratio, sign)?,
        p_a_beats_b_ci: chance.as_ref().and_then(|(ends, _)| ends.clone()),
        p_a_beats_b_judged: chance.map(|(_, judged)| judged),
        precision: planned(
            &components,
            (design, Room::of(study, &components)),
            reach,
            contrast,
            prices,
        )?,
        replication: again(&components, design, reach, contrast)?,
        worth: worth::of_pair(study, (&components, design, reach), contrast, prices)?,
    })
}

/// Variances of one arm's part of the differences.
fn components(paired: &[Paired<'_>], seeds: usize) -> Option<Components> {
    let scores: Vec<f64> = paired.iter().map(|(_, _, d)| *d).collect();
    let by_fold = factor("fold", paired, |(fold, _, _)| *fold);
    let by_seed = factor("seed", paired, |(_, seeds, _)| seeds.to_vec());
    if seeds < 2 {
        // One run a fold: what folds and runs add cannot be told apart, nor need it be.
        let variance = estimate::sd(&scores)?.powi(2);
        let parts = Components { seed: None, residual: variance / 2.0, arm_fold: 0.0, fold: 0.0 };
        return Some(parts);
    }
    let spread = estimate::spread(&scores, &[by_fold, by_seed], None, false).ok()?;
    let half = |variance: f64| variance / 2.0;
    Some(Components {
        seed: Some(half(spread.parts[1].variance)),
        residual: half(spread.residual.variance),
        arm_fold: half(spread.parts[0].variance),
        fold: 0.0,
    })
}

fn factor<K: Ord>(name: &str, paired: &[Paired<'_>], level: impl Fn(&Paired<'_>) -> K) -> Factor {
    let distinct: Vec<K> = {
        let set: BTreeSet<K> = paired.iter().map(&level).collect();
        set.into_iter().collect()
    };
    let code = |one: &Paired<'_>| distinct.partition_point(|other| *other < level(one)) as u32;
    Factor {
        name: name.to_string(),
        codes: paired.iter().map(code).collect(),
        levels: (0..distinct.len()).map(|level| level.to_string()).collect(),
    }
}

fn rope(study: &Study, folds: &[f64], ratio: f64, sign: f64) -> Option<Rope> {
    let width = rope_width(study)?;
    let areas = bayes::correlated_t(folds, ratio, width).ok()?.areas;
    let (p_a, p_b) = if sign > 0.0 { (areas.right, areas.left) } else { (areas.left, areas.right) };
    Some(Rope { width, p_a, p_equal: areas.within, p_b })
}

/// Differences below a hundredth are held for none where the metric lies between 0 and 1, and
/// nothing else is known; of other metrics nobody can say.
pub fn rope_width(study: &Study) -> Option<f64> {
    use common::metric::Metric;
    Some(match study.primary() {
        Metric::LogLoss | Metric::Rmse | Metric::Mae | Metric::Hausdorff95 => 0.0,
        _ => ROPE_WIDTH,
    })
}

/// Differences times `sign`, by fold and by number of the seed.
pub fn cells(paired: &[Paired<'_>], sign: f64) -> Vec<Cell> {
    let seeds: BTreeSet<&[u32]> = paired.iter().map(|(_, seeds, _)| *seeds).collect();
    let order: Vec<&[u32]> = seeds.into_iter().collect();
    let cell = |(fold, seeds, difference): &Paired<'_>| Cell {
        fold: *fold,
        seed: order.partition_point(|other| other < seeds) as u32,
        difference: sign * difference,
    };
    paired.iter().map(cell).collect()
}

/// Interval of the share of pairs that the first arm wins, and what the win of the arm that wins more
/// of them is worth.
fn chance(
    paired: &[Paired<'_>],
    seeds: &BTreeSet<&[u32]>,
    sign: f64,
) -> Option<(Option<Interval>, &'static str)> {
    let cells = cells(paired, sign);
    let blocks = if seeds.len() > 1 { Blocks::FoldsAndSeeds } else { Blocks::Folds };
    let resampling = Resampling::new(SHARE_DRAWS, LEVEL, 0).ok()?;
    let share = |cells: &[Cell]| {
        improvement::paired_share(cells, blocks, improvement::GAMMA, &resampling).ok()
    };
    let found = share(&cells)?;
    let judgement = if found.share < 0.5 {
        let turned: Vec<Cell> =
            (cells.iter()).map(|cell| Cell { difference: -cell.difference, ..*cell }).collect();
        share(&turned)?.judgement
    } else {
        found.judgement
    };
    let judged = match judgement {
        Judgement::NotShown => "not shown",
        Judgement::TooSmall => "too small to matter",
        Judgement::Meaningful => "may matter",
    };
    Some((interval(found.interval, "bootstrap over folds and seeds", None), judged))
}

fn planned(
    components: &Components,
    (design, room): (Design, Room),
    reach: Reach,
    contrast: &Contrast,
    prices: &Prices,
) -> Option<Precision> {
    let now = precision::precision(components, design, reach, Test::USUAL).ok()?;
    let effect = contrast.difference.abs();
    let fold_seconds = Some(prices.fold).filter(|fold| *fold > 0.0);
    let prices = prices.of_designs();
    let frame = Frame { arms: 2, reach, test: Test::USUAL };
    let row = |row: plan::Row| PlannedDesign {
        seeds: row.design.seeds,
        folds: row.design.folds,
        cost: row.cost,
        half_width: row.precision.shown.map(|shown| shown.half_width),
        power: precision::power(components, row.design, reach, Test::USUAL, effect).ok().flatten(),
    };
    let steps = |count: u32, more: bool| -> Vec<u32> {
        if more { vec![count.div_ceil(2).max(2), count, 2 * count, 4 * count] } else { vec![count] }
    };
    let (seeds, folds) = (steps(design.seeds, room.seeds), steps(design.folds, room.folds));
    let rows = plan::table(components, frame, prices, &seeds, &folds);
    let most = |count: u32, more: bool, least: u32| {
        if more { (LIMIT_TIMES * count).max(least) } else { count }
    };
    let limits = Limits {
        seeds_max: most(design.seeds, room.seeds, SEEDS_MAX_AT_LEAST),
        folds_max: most(design.folds, room.folds, FOLDS_MAX_AT_LEAST),
    };
    let goal = (effect > 0.0).then_some(Goal::Effect(effect));
    let cheapest =
        goal.and_then(|goal| plan::cheapest(components, frame, prices, goal, limits).ok());
    Some(Precision {
        sd_fold: (2.0 * components.arm_fold).sqrt(),
        sd_seed: components.seed.map(|seed| (2.0 * seed).sqrt()),
        sd_residual: (2.0 * components.residual).sqrt(),
        half_width_now: (contrast.ci.high - contrast.ci.low) / 2.0,
        detectable: now.shown.map(|shown| shown.detectable),
        floor: Some(estimate::t_quantile(contrast.df) * now.se_floor).filter(|f| f.is_finite()),
        fold_seconds,
        table: rows.ok()?.into_iter().map(row).collect(),
        advice: match cheapest {
            Some(Cheapest::Reached(found)) => Some(row(found)),
            _ => None,
        },
    })
}

fn again(
    components: &Components,
    design: Design,
    reach: Reach,
    contrast: &Contrast,
) -> Option<ReplicationPart> {
    let claim = Claim { difference: contrast.difference, se: contrast.se, df: contrast.df };
    let error = sources::error_of_difference(components, design, reach).ok()?;
    let again = replication::replication(claim, error, 1.0 - LEVEL).ok()?;
    Some(ReplicationPart {
        same_sign: again.same_sign,
        significant_again: again.significant,
        fresh_run: replication::fresh_run_wins(contrast.difference, components).ok()?,
        one_seed: None,
    })
}

/// Variances of one arm's part, as the outlook tells what two arms add to a difference.
pub fn components_of(precision: &Precision) -> Components {
    let half = |sd: f64| sd * sd / 2.0;
    Components {
        seed: precision.sd_seed.map(half),
        residual: half(precision.sd_residual),
        arm_fold: half(precision.sd_fold),
        fold: 0.0,
    }
}

/// What a paper with one seed and one test set would report of `difference`; `test` is the number of
/// its rows and its standard error over them.
pub fn one_seed(difference: f64, precision: &Precision, test: (u64, f64)) -> Option<OneSeedPaper> {
    let (rows, se) = test;
    let parts = components_of(precision);
    let found = replication::one_seed_paper(difference, &parts, se, 1.0 - LEVEL).ok()?;
    Some(OneSeedPaper {
        rows,
        se,
        significant: found.significant,
        wrong: found.wrong,
        exaggeration: found.exaggeration.filter(|factor| factor.is_finite()),
    })
}

const ROPE_WIDTH: f64 = 0.01;
const SHARE_DRAWS: u32 = 2_000;
/// Designs larger than so many times this one are not advised.
const LIMIT_TIMES: u32 = 16;
const SEEDS_MAX_AT_LEAST: u32 = 100;
const FOLDS_MAX_AT_LEAST: u32 = 100;
