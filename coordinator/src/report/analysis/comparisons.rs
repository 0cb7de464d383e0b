//! Arms against each other, on the folds and seeds that both have.
//!
//! A cell (seeds, partition, fold) counts when every config of both arms that ever ended well has
//! a score there, so a difference is never one of which runs are missing. The fold is the unit of
//! the corrected test, since seeds of one fold share its rows; with two or more seeds the verdict
//! rests on a mixed model of the differences, in which seeds have their own variance.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::improvement::{self, Blocks};
use common::stats::resample::Resampling;
use common::stats::worth::Stakes;
use common::study::Study;
use thiserror::Error;

use super::super::content::{Contrast, LEVEL, Outlook, Target};
use super::super::refits::Choosing;
use super::super::table::{Run, Table};
use super::{arms, choice, estimate, grouped, interval, outlook};

/// One pair of arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub a: usize,
    pub b: usize,
    pub cells: u64,
    pub folds: u64,
    /// The contrast, or why there is none.
    pub contrast: Result<Contrast, NoContrast>,
    pub outlook: Option<Outlook>,
}

/// Every pair of arms, in the study's order; with what a better score is worth, and what choosing takes.
pub fn of_all(
    study: &Study,
    table: &Table,
    (stakes, choosing): (Option<Stakes>, &Choosing),
) -> Vec<Compared> {
    let cells = cells(study, table);
    // Of one run, as this study's took.
    let run_seconds = table.judged_seconds / table.judged_complete.max(1) as f64;
    let drawn = can_draw(&cells);
    let mut all = Vec::new();
    for a in 0..cells.len() {
        for b in a + 1..cells.len() {
            let configs = [a, b].map(|arm| study.arms[arm].configs.len());
            let run = [a, b].map(|arm| choice::seconds_of_arm(table, arm));
            let of = |arm: usize| configs[arm] as f64 * run[arm].unwrap_or(run_seconds);
            let choice = choosing.of_pair([a, b]);
            let (each, fold) = if choosing.shared { (0.0, choice) } else { (choice, 0.0) };
            let prices = outlook::Prices {
                cell: of(0) + of(1) + each,
                fold,
                run,
                single_runs: configs == [1, 1],
                drawn,
                stakes,
            };
            all.push(compare(study, (a, &cells[a]), (b, &cells[b]), &prices));
        }
    }
    adjust(&mut all);
    all
}

/// Mean over configs of each cell: outer fold over all partitions, and seeds.
pub type Cells = BTreeMap<(u32, Vec<u32>), f64>;

/// The complete cells of each judged arm.
pub fn cells(study: &Study, table: &Table) -> Vec<Cells> {
    table.judged(study).iter().map(|runs| complete_cells(study, runs)).collect()
}

/// The cells of an arm in which every one of its configs that ever ended well has a score.
pub fn complete_cells(study: &Study, runs: &[Run]) -> Cells {
    let configs: BTreeSet<u32> = runs.iter().map(|run| run.config).collect();
    grouped(runs, |run| (run.block(study), run.seeds.clone()))
        .into_iter()
        .filter(|(_, group)| group.len() == configs.len())
        .map(|(cell, group)| {
            let scores: Vec<f64> = group.iter().map(|run| run.score).collect();
            (cell, estimate::mean(&scores))
        })
        .collect()
}

fn compare(
    study: &Study,
    (a, of_a): (usize, &Cells),
    (b, of_b): (usize, &Cells),
    prices: &outlook::Prices,
) -> Compared {
    let paired: Vec<(u32, &[u32], f64)> = of_a
        .iter()
        .filter_map(|(cell, score)| {
            of_b.get(cell).map(|other| (cell.0, cell.1.as_slice(), score - other))
        })
        .collect();
    let by_fold = grouped(&paired, |(fold, _, _)| *fold);
    let folds: Vec<f64> = by_fold
        .values()
        .map(|group| estimate::mean(&group.iter().map(|(_, _, d)| *d).collect::<Vec<f64>>()))
        .collect();
    let frame = Frame { drawn: prices.drawn, ..Frame::of(study) };
    let contrast = contrast_of(&frame, &paired, &folds)
        .map(|contrast| Contrast { p_logit: on_logits(study, &frame, (of_a, of_b)), ..contrast });
    let outlook = contrast
        .as_ref()
        .ok()
        .and_then(|contrast| outlook::of_pair(study, &paired, &folds, contrast, prices));
    Compared { a, b, cells: paired.len() as u64, folds: folds.len() as u64, contrast, outlook }
}

/// Why two arms have no contrast.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NoContrast {
    #[error("there is no seed and fold in which every config of both has a score")]
    NoCell,
    #[error(
        "both were tested on one fold only, so nothing says how much the difference would move with \
         other rows"
    )]
    OneFold,
    #[error("the difference is the same in every fold, so it has no spread to be judged by")]
    Constant,
    #[error("the split leaves no rows to test or to train, so no error can be computed")]
    NoRatio,
    #[error("the differences do not allow a t-test")]
    NotFinite,
}

/// What of a design decides how a difference is judged.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Test rows over training rows of a fold.
    pub ratio: Option<f64>,
    pub larger_is_better: bool,
    /// Seed factors, each crossed with all others.
    pub seed_factors: usize,
    /// Whether there is time to draw pairs again.
    pub drawn: bool,
}

impl Frame {
    fn of(study: &Study) -> Self {
        Self {
            ratio: study.test_over_train(),
            larger_is_better: study.primary().larger_is_better(),
            seed_factors: study.seeds.factors.len(),
            drawn: true,
        }
    }
}

/// The difference of two arms from its values by fold and seeds, and from their means by fold.
pub fn contrast_of(
    frame: &Frame,
    paired: &[(u32, &[u32], f64)],
    folds: &[f64],
) -> Result<Contrast, NoContrast> {
    if paired.is_empty() {
        return Err(NoContrast::NoCell);
    }
    if folds.len() < 2 {
        return Err(NoContrast::OneFold);
    }
    if folds.iter().all(|d| *d == folds[0]) {
        return Err(NoContrast::Constant);
    }
    let ratio = frame.ratio.ok_or(NoContrast::NoRatio)?;
    let missing = NoContrast::NotFinite;
    let corrected = estimate::corrected_t(folds, ratio).ok_or(missing)?;
    let naive = estimate::naive_t(folds).ok_or(missing)?;
    let sign = if frame.larger_is_better { 1.0 } else { -1.0 };
    let better = |values: &mut dyn Iterator<Item = f64>| values.filter(|d| d * sign > 0.0).count();
    let seeds = seed_differences(paired);
    let wins = better(&mut paired.iter().map(|(_, _, d)| *d)) as f64;
    let ties = paired.iter().filter(|(_, _, d)| *d == 0.0).count() as f64;
    let mixed = estimate::crossed(paired, ratio);
    let (method, judged) = match &mixed {
        Some(mixed) if mixed.kenward_roger => (arms::KENWARD_ROGER, mixed.samples),
        Some(mixed) => (arms::SATTERTHWAITE, mixed.samples),
        None => (arms::CORRECTED, corrected),
    };
    let of = |judged: estimate::Paired, method, target| interval(judged.ci, method, target);
    let model = mixed.as_ref().map(|mixed| mixed.independent);
    Ok(Contrast {
        difference: judged.mean,
        se: judged.se,
        df: judged.df,
        ci: of(judged, method, Some(Target::T2)).ok_or(missing)?,
        p: judged.p,
        p_holm: judged.p,
        p_mixed: mixed.as_ref().map(|mixed| mixed.samples.p),
        p_model: model.map(|model| model.p),
        ci_model: model.and_then(|model| of(model, MODEL, None)),
        se_corrected: corrected.se,
        df_corrected: corrected.df,
        p_corrected: corrected.p,
        ci_corrected: of(corrected, arms::CORRECTED, Some(Target::T2)).ok_or(missing)?,
        se_naive: naive.se,
        ci_naive: interval(naive.ci, "paired t over fold means", None).ok_or(missing)?,
        p_naive: naive.p,
        ci_bootstrap: frame.drawn.then(|| resampled(paired, seeds.len())).flatten(),
        p_logit: None,
        ci_t1: over_seeds(frame.seed_factors, paired, judged.mean),
        p_a_beats_b: (wins + ties / 2.0) / paired.len() as f64,
        folds_a_better: better(&mut folds.iter().copied()) as u64,
        seeds: seeds.len() as u64,
        seeds_a_better: better(&mut seeds.iter().copied()) as u64,
        seeds_b_better: better(&mut seeds.iter().map(|d| -d)) as u64,
        target: Target::T2,
        method,
    })
}

/// The test of the same difference with scores on the logit scale, where a metric lies between 0
/// and 1: near either end it is less skewed there.
///
/// Scores within half a test row of an end are moved that far from it.
fn on_logits(study: &Study, frame: &Frame, (of_a, of_b): (&Cells, &Cells)) -> Option<f64> {
    if arms::bounds(study.primary()) != (0.0, 1.0) {
        return None;
    }
    let ratio = frame.ratio?;
    let tested = study.data.rows as f64 * ratio / (1.0 + ratio);
    let margin = 0.5 / (tested + 1.0);
    let logit = |score: f64| {
        let inside = score.clamp(margin, 1.0 - margin);
        (inside / (1.0 - inside)).ln()
    };
    let paired: Vec<(u32, &[u32], f64)> = (of_a.iter())
        .filter_map(|(cell, score)| {
            let other = of_b.get(cell)?;
            Some((cell.0, cell.1.as_slice(), logit(*score) - logit(*other)))
        })
        .collect();
    let folds: Vec<f64> = grouped(&paired, |(fold, _, _)| *fold)
        .values()
        .map(|group| estimate::mean(&group.iter().map(|(_, _, d)| *d).collect::<Vec<f64>>()))
        .collect();
    let (judged, _) = arms::over_new_samples(&paired, &folds, ratio)?;
    Some(judged.p)
}

/// Whether drawing all pairs again ends soon.
pub fn can_draw<K, V>(cells: &[BTreeMap<K, V>]) -> bool {
    let most = cells.iter().map(BTreeMap::len).max().unwrap_or(0) as u64;
    let pairs = (cells.len() * cells.len().saturating_sub(1) / 2) as u64;
    most * pairs * u64::from(DRAWS) <= DRAWN_CELLS_MAX
}

/// Folds, and seeds where there are several, drawn again whole.
fn resampled(
    paired: &[(u32, &[u32], f64)],
    seeds: usize,
) -> Option<super::super::content::Interval> {
    let (blocks, method) = match seeds {
        0 | 1 => (Blocks::Folds, "bootstrap over folds, percentile"),
        _ => (Blocks::FoldsAndSeeds, "bootstrap over folds and seeds, percentile"),
    };
    let resampling = Resampling::new(DRAWS, LEVEL, 0).ok()?;
    let ends =
        improvement::mean_interval(&outlook::cells(paired, 1.0), blocks, &resampling).ok()?;
    interval(ends, method, None)
}

/// Mean difference of each seed, freed of which folds it has.
fn seed_differences(paired: &[(u32, &[u32], f64)]) -> Vec<f64> {
    let centre = estimate::mean(&paired.iter().map(|(_, _, d)| *d).collect::<Vec<f64>>());
    grouped(deviations(paired), |(seeds, _)| seeds.to_vec())
        .values()
        .map(|group| centre + estimate::mean(&group.iter().map(|(_, d)| *d).collect::<Vec<f64>>()))
        .collect()
}

fn over_seeds(
    seed_factors: usize,
    paired: &[(u32, &[u32], f64)],
    mean: f64,
) -> Option<super::super::content::Interval> {
    let (se, df) = arms::seed_error(seed_factors, &deviations(paired))?;
    let half = estimate::t_quantile(df) * se;
    interval((mean - half, mean + half), "paired t over seed means", Some(Target::T1))
}

/// Each cell's difference minus the mean of its fold over seeds.
fn deviations<'a>(paired: &[(u32, &'a [u32], f64)]) -> Vec<(&'a [u32], f64)> {
    let mut list = Vec::with_capacity(paired.len());
    for group in grouped(paired, |(fold, _, _)| *fold).values().filter(|group| group.len() > 1) {
        let mean = estimate::mean(&group.iter().map(|(_, _, d)| *d).collect::<Vec<f64>>());
        list.extend(group.iter().map(|(_, seeds, d)| (*seeds, d - mean)));
    }
    list
}

/// Adjusts the p-values of all pairs that have one, as one family.
fn adjust(all: &mut [Compared]) {
    let contrasts: Vec<&mut Contrast> =
        all.iter_mut().filter_map(|pair| pair.contrast.as_mut().ok()).collect();
    let p: Vec<f64> = contrasts.iter().map(|contrast| contrast.p).collect();
    for (contrast, adjusted) in contrasts.into_iter().zip(estimate::holm(&p)) {
        contrast.p_holm = adjusted;
    }
}

const DRAWS: u32 = 2_000;
/// Cells that all draws of all pairs may take: some seconds.
const DRAWN_CELLS_MAX: u64 = 500_000_000;
const MODEL: &str = "mixed model of paired differences over folds and seeds";
