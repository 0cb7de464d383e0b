//! `coordinator calibrate --sequential`: do studies that stop early keep their error, and what do they
//! save?
//!
//! Floor: wiring.

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use serde_json::{Value, json};

use super::super::output::{self, Output};
use super::super::signal;
use super::{CalibrateArgs, run};
use crate::calibrate::sequential::{Case, Course, EFFECT_MIN, Kind, POWER, Pair, cases};

/// `coordinator calibrate --sequential [--design TEXT] [--studies N]`.
pub async fn calibrate(args: CalibrateArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let studies = args.studies.map_or(STUDIES, NonZeroU64::get);
    let wanted = args.design.unwrap_or_default().to_lowercase();
    let all = cases();
    let chosen: Vec<&Case> =
        all.iter().filter(|case| case.name.to_lowercase().contains(&wanted)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = all.iter().map(|case| case.name.as_str()).collect();
        bail!("no design is called {wanted:?}; there are\n  {}", known.join("\n  "));
    }
    let total = chosen.iter().map(|case| case.studies(studies)).sum();
    let bar = output.counting(total, "studies");
    let stopped = AtomicBool::new(false);
    let ask = tokio::spawn(signal::interrupted());
    let tick = || {
        bar.inc(1);
        if ask.is_finished() {
            stopped.store(true, Ordering::Relaxed);
        }
    };
    let mut rows = Vec::new();
    for case in chosen {
        let judge = |number| case.run(number);
        let count = case.studies(studies);
        let courses = tokio::task::block_in_place(|| run(count, &stopped, judge, tick));
        if stopped.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            output.warn("stopped; nothing is kept");
            return Ok(ExitCode::from(1));
        }
        let mut sum = Course::default();
        courses.into_iter().for_each(|course| sum += course);
        rows.push((case, sum));
    }
    bar.finish_and_clear();
    let programs = json!({
        "effect_min": EFFECT_MIN,
        "power": POWER,
        "designs": rows.iter().map(programs).collect::<Vec<_>>(),
    });
    output.answer(&people(&rows), "seedsweep.calibrate-sequential/1", programs);
    Ok(ExitCode::SUCCESS)
}

type Row<'a> = (&'a Case, Course);

fn people(rows: &[Row<'_>]) -> String {
    let mut parts: Vec<String> = alarms(rows).into_iter().collect();
    parts.extend(savings(rows));
    parts.extend(folds(rows));
    parts.extend(races(rows));
    parts.join("\n\n")
}

/// Two equal arms.
fn alarms(rows: &[Row<'_>]) -> Option<String> {
    let row = |(case, sum): &Row<'_>| match &case.kind {
        Kind::Alarm(pair) => Some(vec![
            case.name.clone(),
            sum.studies.to_string(),
            format!("{} to {}", pair.rule.blocks_min, pair.rule.blocks_max),
            with_error(sum, sum.differ),
            with_error(sum, sum.plain),
            with_error(sum, sum.fixed),
        ]),
        _ => None,
    };
    let headings = [
        "two equal arms",
        "studies",
        "looks after block",
        "the rule spoke of a difference",
        "a t test after each block",
        "one t test at the end",
    ];
    table(&headings, rows.iter().filter_map(row).collect())
}

/// Blocks against those of the fixed design, a table a rule.
fn savings(rows: &[Row<'_>]) -> Vec<String> {
    let plan = |(case, _): &Row<'_>| match &case.kind {
        Kind::Saving(pair) => Some(pair.plan),
        _ => None,
    };
    let tables = rows.chunk_by(|a, b| plan(a) == plan(b)).filter(|rows| plan(&rows[0]).is_some());
    tables.filter_map(saving).collect()
}

fn saving(rows: &[Row<'_>]) -> Option<String> {
    let row = |(case, sum): &Row<'_>| {
        let (Kind::Saving(pair), saved) = (&case.kind, saved(case, sum)?) else { return None };
        Some(vec![
            pair.effect.to_string(),
            format!("{:.1}", sum.mean_blocks() / 2.0),
            percent(saved),
            percent(sum.share(sum.differ - sum.differ_falsely)),
            percent(sum.share(sum.fixed)),
            percent(sum.share(sum.differ_falsely)),
            percent(sum.share(sum.equal)),
            percent(sum.share(sum.hopeless)),
        ])
    };
    let Kind::Saving(pair) = &rows.first()?.0.kind else { return None };
    let headings = [
        "true difference, SD of a block's",
        "blocks bought",
        "saved",
        "the rule found it",
        "the fixed design spoke of one",
        "the rule spoke falsely",
        "equal",
        "hopeless",
    ];
    let text = table(&headings, rows.iter().filter_map(row).collect())?;
    Some(format!("Stops on {}.\n{text}\n{}", pair.plan, mean_in_words(pair, mean_saved(rows)?)))
}

fn mean_in_words(pair: &Pair, saved: f64) -> String {
    format!(
        "{} of the trainings are saved in the mean over these differences. The fixed design has {} \
         blocks, with which a t test finds {EFFECT_MIN} standard deviations with a chance of {}; the \
         rule has {} at most.",
        percent(saved),
        pair.fixed,
        percent(POWER),
        pair.rule.blocks_max,
    )
}

/// Few folds that lean to one arm.
fn folds(rows: &[Row<'_>]) -> Option<String> {
    let row = |(case, sum): &Row<'_>| match &case.kind {
        Kind::Folds(leaning) => Some(vec![
            case.name.clone(),
            sum.studies.to_string(),
            leaning.target().to_string(),
            with_error(sum, sum.differ),
            format!("{:.1}", sum.mean_blocks() / 2.0),
            percent(sum.share(sum.floor)),
            if sum.t2_made == 0 {
                "–".to_string()
            } else {
                percent(sum.t2_held as f64 / sum.t2_made as f64)
            },
        ]),
        _ => None,
    };
    let headings = [
        "two arms equal on new samples",
        "studies",
        "claims hold for",
        "the rule spoke of a difference",
        "blocks bought",
        "ended since the rest is the folds'",
        "T2 interval at the end held",
    ];
    table(&headings, rows.iter().filter_map(row).collect())
}

/// Several arms, or configs.
fn races(rows: &[Row<'_>]) -> Option<String> {
    let row = |(case, sum): &Row<'_>| {
        let fixed = match &case.kind {
            Kind::Race(field) => field.fixed(),
            Kind::Configs(configs) => configs.fixed(),
            _ => return None,
        };
        let saved = saved(case, sum)?;
        Some(vec![
            case.name.clone(),
            with_error(sum, sum.best_lost),
            percent(sum.share(sum.best_found)),
            format!("{:.1}", sum.mean_blocks()),
            fixed.to_string(),
            percent(saved),
        ])
    };
    let headings = [
        "race",
        "the best one was dropped",
        "it was left alone",
        "blocks bought, of all",
        "fixed design",
        "saved",
    ];
    table(&headings, rows.iter().filter_map(row).collect())
}

/// Blocks saved of those of the fixed design.
fn saved(case: &Case, sum: &Course) -> Option<f64> {
    let fixed = match &case.kind {
        Kind::Saving(pair) => 2 * u64::from(pair.fixed),
        Kind::Race(field) => field.fixed(),
        Kind::Configs(configs) => configs.fixed(),
        Kind::Alarm(_) | Kind::Folds(_) => return None,
    };
    Some(1.0 - sum.mean_blocks() / fixed as f64)
}

/// Over the differences of two arms.
fn mean_saved(rows: &[Row<'_>]) -> Option<f64> {
    let of_pairs = rows.iter().filter(|(case, _)| matches!(case.kind, Kind::Saving(_)));
    let saved: Vec<f64> = of_pairs.filter_map(|(case, sum)| saved(case, sum)).collect();
    (!saved.is_empty()).then(|| saved.iter().sum::<f64>() / saved.len() as f64)
}

fn table(headings: &[&str], rows: Vec<Vec<String>>) -> Option<String> {
    (!rows.is_empty()).then(|| output::table(headings, rows))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// With its Monte Carlo standard error.
fn with_error(sum: &Course, count: u64) -> String {
    format!("{} ± {:.1}", percent(sum.share(count)), 100.0 * error(sum, count))
}

fn error(sum: &Course, count: u64) -> f64 {
    let share = sum.share(count);
    (share * (1.0 - share) / sum.studies.max(1) as f64).sqrt()
}

fn programs((case, sum): &Row<'_>) -> Value {
    let rate = |count: u64| json!({ "rate": sum.share(count), "error": error(sum, count) });
    let mut row = json!({
        "design": case.name,
        "studies": sum.studies,
        "blocks": sum.mean_blocks(),
        "saved": saved(case, sum),
        "differ": rate(sum.differ),
    });
    let more = match &case.kind {
        Kind::Alarm(pair) | Kind::Saving(pair) => json!({
            "kind": "pair",
            "rule": pair.plan,
            "effect": pair.effect,
            "blocks_max": pair.rule.blocks_max,
            "fixed_blocks": pair.fixed,
            "false": rate(sum.differ_falsely),
            "equal": rate(sum.equal),
            "hopeless": rate(sum.hopeless),
            "plain_after_each": rate(sum.plain),
            "fixed": rate(sum.fixed),
        }),
        Kind::Folds(leaning) => json!({
            "kind": "folds",
            "folds": leaning.folds,
            "target": leaning.target(),
            "blocks_max": leaning.rule.blocks_max,
            "floor": rate(sum.floor),
            "t2_held": (sum.t2_made > 0).then(|| sum.t2_held as f64 / sum.t2_made as f64),
        }),
        Kind::Race(field) => json!({
            "kind": "race",
            "means": field.means,
            "blocks_max": field.rule.blocks_max,
            "fixed_blocks": field.fixed,
            "best_dropped": rate(sum.best_lost),
            "best_alone": rate(sum.best_found),
        }),
        Kind::Configs(configs) => json!({
            "kind": "configs",
            "means": configs.means,
            "tuning_seeds": configs.tune,
            "best_dropped": rate(sum.best_lost),
            "best_alone": rate(sum.best_found),
        }),
    };
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

const STUDIES: u64 = 20_000;
