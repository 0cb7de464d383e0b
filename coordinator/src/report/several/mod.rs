//! One report over several studies that share arms by name.
//!
//! Two questions, kept apart: does an arm do better on *these* studies when all is trained again
//! (intervals over runs within each study, after rliable), and does it on *other* data sets like
//! these (ranks over studies, Friedman and Nemenyi). A pure function of the outcomes and ledgers,
//! whatever order studies are named in. Deliberately absent: a mixed model over studies.
//!
//! Floor: core.

pub mod content;
mod open;
mod page;
#[cfg(test)]
mod tests;
mod words;

use common::metric::Metric;
use common::stats::friedman::{self, Friedman};
use common::stats::resample::{Resampling, ResamplingError};
use common::stats::studies::{self, StudiesError};
use common::study::Study;
use thiserror::Error;

use super::Material;
use super::analysis::{estimate, interval};
use super::content::{Interval, LEVEL, Target};
use super::looks;
use super::refits::Refits;
use content::{
    ArmPart, FriedmanPart, PairPart, PointPart, RunsPart, SCHEMA, ScorePart, Several, StudyPart,
};
use open::{Common, Opened, Side};
pub(super) use words::REFERENCES;

/// Why studies have no common report.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SeveralError {
    #[error("a report over studies needs at least 2 of them; {studies} given")]
    TooFew { studies: usize },
    #[error("the study {study:?} is named twice; name each once")]
    Twice { study: String },
    #[error(
        "{a} is judged by {a_metric} ({}) and {b} by {b_metric} ({}); give only studies with one \
         primary metric", super::goal(*.a_metric), super::goal(*.b_metric)
    )]
    Metrics { a: String, a_metric: Metric, b: String, b_metric: Metric },
    #[error(
        "at least 2 arms must have the same name in every study, and {shared} {}: {arms}; leave out \
         the study that lacks them, or give arms the same names and submit again",
        if *.shared == 1 { "has" } else { "have" }
    )]
    Arms { shared: usize, arms: String },
    #[error("{arm} has no score in {study}; leave that study out, or `coordinator retry {study}`")]
    NoScore { study: String, arm: String },
    #[error("in {study} no fold has scores of every shared arm; leave that study out")]
    NoFold { study: String },
    #[error("these studies share {arms} arms; a report compares at most {ARMS_MAX} over studies")]
    TooManyArms { arms: usize },
    #[error("the studies cannot be summarised")]
    Statistic(#[from] StudiesError),
    #[error("the intervals cannot be drawn")]
    Draws(#[from] ResamplingError),
}

/// Whether studies can have a common report, by what they declare.
pub fn fit_together(studies: &[&Study]) -> Result<(), SeveralError> {
    Common::of(studies).map(|_| ())
}

/// Analyses the studies side by side.
pub fn build(materials: &[Material<'_>]) -> Result<Several, SeveralError> {
    // Of nested studies what they report on: their refits.
    let refits: Vec<Option<Refits>> = materials.iter().map(Refits::of).collect();
    let flat: Vec<Material<'_>> = (materials.iter().zip(&refits))
        .map(|(material, refits)| {
            refits.as_ref().map_or(*material, |refits| refits.material(material))
        })
        .collect();
    let side = Side::open(&flat)?;
    let means = means(&side);
    let (friedman, absent) = ranks(&side, &means);
    let ranked = friedman.as_ref().map_or_else(|| mean_ranks(&means), |test| test.ranks.clone());
    let mut report = Several {
        schema: SCHEMA,
        metric: side.metric.to_string(),
        goal: super::goal(side.metric),
        verdict: words::nothing(),
        scale: side.scale.clone(),
        studies: side.studies.iter().zip(&means).map(|(s, row)| study(&side, s, row)).collect(),
        arms: (0..side.arms.len())
            .map(|arm| of_arm(&side, arm, &means, ranked[arm]))
            .collect::<Result<_, _>>()?,
        left_out: side.left_out.clone(),
        improvement: pairs(&side, &means)?,
        friedman: friedman.map(|test| friedman_part(&side, test)),
        friedman_absent: absent,
        runs: runs(&side),
        remarks: words::remarks(&side),
        methods: String::new(),
        references: Vec::new(),
        reproduce: words::reproduce(&side),
    };
    report.verdict = words::verdict(&report);
    report.methods = words::methods(&report);
    report.references = words::references(&report);
    Ok(report)
}

/// `report.json`, indented, with a line end.
pub fn json(report: &Several) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

pub fn html(report: &Several) -> String {
    let counted = match report.studies.iter().any(|study| study.ledger.is_some()) {
        true => "the outcomes of these studies and the ledgers of looks at them",
        false => "the outcomes of these studies alone",
    };
    let origin = format!("{counted}: the same ones give the same page");
    super::html::page(&words::title(report), &page::blocks(report), &origin, report.schema)
}

pub fn markdown(report: &Several) -> String {
    super::markdown::page(&words::title(report), &page::blocks(report))
}

pub fn latex(report: &Several) -> String {
    let title = words::title(report);
    super::latex::page(&title, &page::blocks(report), &report.references)
}

/// Mean of each arm's runs in each study, larger better, `[study][arm]`.
fn means(side: &Side<'_>) -> Vec<Vec<f64>> {
    let by_arm: Vec<Vec<Vec<f64>>> = (0..side.arms.len()).map(|arm| side.scores(arm)).collect();
    (0..side.studies.len())
        .map(|study| by_arm.iter().map(|arm| estimate::mean(&arm[study])).collect())
        .collect()
}

/// Friedman's test, or why there is none.
fn ranks(side: &Side<'_>, means: &[Vec<f64>]) -> (Option<Friedman>, Option<String>) {
    if side.studies.len() < STUDIES_MIN {
        let text = format!(
            "Friedman's test and the critical difference need at least {STUDIES_MIN} studies; these \
             are {}.",
            side.studies.len()
        );
        return (None, Some(text));
    }
    match friedman::friedman(means, ALPHA) {
        Ok(test) => (Some(test), None),
        Err(why) => (None, Some(format!("Friedman's test cannot be made: {why}."))),
    }
}

/// Rank of each arm in one study, 1 for the largest mean; ties share their mean rank.
fn ranks_in(row: &[f64]) -> Vec<f64> {
    let rank = |own: &f64| {
        let above = row.iter().filter(|other| *other > own).count() as f64;
        let equal = row.iter().filter(|other| *other == own).count() as f64;
        above + 0.5 * (equal + 1.0)
    };
    row.iter().map(rank).collect()
}

fn mean_ranks(means: &[Vec<f64>]) -> Vec<f64> {
    let all: Vec<Vec<f64>> = means.iter().map(|row| ranks_in(row)).collect();
    let arms = all.first().map_or(0, Vec::len);
    (0..arms)
        .map(|arm| estimate::mean(&all.iter().map(|ranks| ranks[arm]).collect::<Vec<f64>>()))
        .collect()
}

fn study(side: &Side<'_>, opened: &Opened<'_>, means: &[f64]) -> StudyPart {
    let study = opened.study();
    let ranks = ranks_in(means);
    let score = |arm: usize| {
        let runs = &opened.runs[arm];
        let scores: Vec<f64> = runs.iter().map(|(_, score)| *score).collect();
        let mean = estimate::mean(&scores);
        ScorePart {
            arm: side.arms[arm].clone(),
            runs: runs.len() as u64,
            mean,
            normalised: opened.normalised(mean),
            rank: ranks[arm],
        }
    };
    StudyPart {
        study: opened.label.clone(),
        digest: study.digest().hex(),
        data: study.data.path.clone(),
        rows: study.data.rows,
        seeds: study.seeds.factors.iter().map(|factor| u64::from(factor.count)).product(),
        folds: opened.folds,
        complete: opened.table.complete,
        failed: opened.table.failed,
        zero: opened.ends.0,
        one: opened.ends.1,
        scores: (0..side.arms.len()).map(score).collect(),
        ledger: opened.material.looks.as_ref().and_then(|looks| looks::part(looks, &[])),
    }
}

fn of_arm(
    side: &Side<'_>,
    arm: usize,
    means: &[Vec<f64>],
    mean_rank: f64,
) -> Result<ArmPart, SeveralError> {
    let runs = side.normalised(arm);
    let best = |row: &[f64]| row.iter().all(|other| *other <= row[arm]);
    let resampling = Resampling::new(DRAWS, LEVEL, 0)?;
    let iqm = studies::interquartile_mean(&runs, &resampling)?;
    let gap = studies::optimality_gap(&runs, TARGET, &resampling)?;
    let points = studies::performance_profile(&runs, &thresholds(side), &resampling)?;
    Ok(ArmPart {
        arm: side.arms[arm].clone(),
        runs: runs.iter().map(|runs| runs.len() as u64).sum(),
        iqm: iqm.value,
        iqm_ci: over_runs(side, iqm.interval, LEVEL),
        optimality_gap: gap.value,
        optimality_gap_ci: over_runs(side, gap.interval, LEVEL),
        mean_rank,
        first_in: means.iter().filter(|row| best(row)).count() as u64,
        profile: points
            .into_iter()
            .map(|point| PointPart {
                threshold: point.threshold,
                above: point.above.value,
                ci: over_runs(side, point.above.interval, LEVEL),
            })
            .collect(),
    })
}

/// From just below the worst normalised run of any arm to just above the best.
fn thresholds(side: &Side<'_>) -> Vec<f64> {
    let all = (0..side.arms.len()).flat_map(|arm| side.normalised(arm)).flatten();
    let (low, high) = all
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), run| (low.min(run), high.max(run)));
    let margin = ((high - low) * 0.02).max(1e-6);
    let step = (high - low + 2.0 * margin) / f64::from(THRESHOLDS - 1);
    (0..THRESHOLDS).map(|place| low - margin + f64::from(place) * step).collect()
}

fn pairs(side: &Side<'_>, means: &[Vec<f64>]) -> Result<Vec<PairPart>, SeveralError> {
    let arms = side.arms.len();
    let count = arms * (arms - 1) / 2;
    let scores: Vec<Vec<Vec<f64>>> = (0..arms).map(|arm| side.scores(arm)).collect();
    let strict = 1.0 - (1.0 - LEVEL) / count as f64;
    let plain = Resampling::new(DRAWS, LEVEL, 0)?;
    let wide = Resampling::new(DRAWS.max(DRAWS_OF_A_PAIR * count as u32), strict, 0)?;
    let of_pair = |a: usize, b: usize| -> Result<PairPart, SeveralError> {
        let found =
            |draws: &Resampling| studies::probability_of_improvement(&scores[a], &scores[b], draws);
        let (share, adjusted) = (found(&plain)?, found(&wide)?);
        let wins = |x: usize, y: usize| means.iter().filter(|row| row[x] > row[y]).count() as u64;
        Ok(PairPart {
            a: side.arms[a].clone(),
            b: side.arms[b].clone(),
            p_a_beats_b: share.value,
            p_a_beats_b_ci: over_runs(side, share.interval, LEVEL),
            p_a_beats_b_adjusted: over_runs(side, adjusted.interval, strict),
            a_wins: wins(a, b),
            b_wins: wins(b, a),
            ties: means.iter().filter(|row| row[a] == row[b]).count() as u64,
        })
    };
    let places = (0..arms).flat_map(|a| (a + 1..arms).map(move |b| (a, b)));
    places.map(|(a, b)| of_pair(a, b)).collect()
}

/// `None` where a study has one run of an arm: nothing there says how far another would lie.
fn over_runs(side: &Side<'_>, ends: (f64, f64), level: f64) -> Option<Interval> {
    if side.least_runs() < 2 {
        return None;
    }
    let made = interval(ends, "percentile bootstrap, runs drawn within studies", Some(Target::T1));
    made.map(|interval| Interval { level, ..interval })
}

fn friedman_part(side: &Side<'_>, test: Friedman) -> FriedmanPart {
    let named = |group: Vec<usize>| group.into_iter().map(|arm| side.arms[arm].clone()).collect();
    FriedmanPart {
        studies: test.studies as u64,
        chi_square: test.chi_square,
        p_chi_square: test.p_chi_square,
        f: test.f.is_finite().then_some(test.f),
        df: [test.df.0, test.df.1],
        p_f: test.p_f,
        critical_difference: test.critical_difference,
        alike: test.alike.into_iter().map(named).collect(),
    }
}

fn runs(side: &Side<'_>) -> Vec<RunsPart> {
    let of = |opened: &Opened<'_>, arm: usize| RunsPart {
        study: opened.label.clone(),
        arm: side.arms[arm].clone(),
        seeds: opened.runs[arm].iter().map(|(seed, _)| seed.clone()).collect(),
        scores: opened.runs[arm].iter().map(|(_, score)| *score).collect(),
        normalised: opened.runs[arm].iter().map(|(_, score)| opened.normalised(*score)).collect(),
    };
    let arms = 0..side.arms.len();
    side.studies.iter().flat_map(|opened| arms.clone().map(move |arm| of(opened, arm))).collect()
}

/// Studies below which ranks say too little (Demšar, 2006).
pub const STUDIES_MIN: usize = 5;

/// Of Friedman's test and of the critical difference.
pub const ALPHA: f64 = 0.05;

/// What the optimality gap is measured to, on the common scale.
pub const TARGET: f64 = 1.0;

pub const DRAWS: u32 = 2_000;

/// An adjusted interval reaches further into the tails the more pairs there are.
const DRAWS_OF_A_PAIR: u32 = 200;

/// More arms than anybody compares at once.
const ARMS_MAX: usize = 30;

const THRESHOLDS: u32 = 101;
