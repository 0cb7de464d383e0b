//! "Could something have leaked?": each check in words, with what was found or why it was not made.
//!
//! A check that passed shows that this leak is not there, and nothing of others. Deliberately absent:
//! a verdict; what a permuted control finds, `controls.rs` brings into it.
//!
//! Floor: core.

use common::metric::Metric;
use common::study::{OuterKind, Study, Task};
use common::table::Dataset;

use super::analysis::leakage::{self, Balance};
use super::analysis::places::{NO_TABLE, Places};
use super::content::{ControlsPart, Determinism, LeakageCheck, Report};
use super::number::{count, counted, listed, percent};
use super::page::{Block, Sheet, columns, legend};
use super::table::{Run, Table};

/// Every check, in one order.
pub fn checks(
    (study, nested): (&Study, &Study),
    table: &Table,
    places: &Places<'_>,
    controls: Option<&ControlsPart>,
    determinism: &Determinism,
) -> Vec<LeakageCheck> {
    let data = places.data();
    vec![
        groups(study, data, places),
        copies(data, places),
        preprocessing(),
        choosing(nested),
        telling(data),
        naming(data),
        classes(study, data, places),
        too_good(study, table),
        permuted(controls),
        seeds_wired(study, table),
        folds_wired(study, table),
        deterministic(determinism),
        time_order(study, data, places),
    ]
}

/// What a verdict's basis says of checks that failed; empty where none did.
pub fn in_basis(checks: &[LeakageCheck]) -> String {
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check.passed == Some(false))
        .map(|check| check.check.to_string())
        .collect();
    match failed.is_empty() {
        true => String::new(),
        false => format!(" Checks for leaks that failed: {}.", listed(&failed)),
    }
}

/// The section of the page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let of = |wanted: Option<bool>| {
        report.leakage.iter().filter(|check| check.passed == wanted).count() as u64
    };
    let (failed, passed, open) = (of(Some(false)), of(Some(true)), of(None));
    let mut text = match failed {
        0 => format!("None of the {} made found anything.", counted(passed, "check")),
        1 => "One check found something that must be looked into before any number above is \
              believed."
            .to_string(),
        many => format!(
            "{} checks found something that must be looked into before any number above is believed.",
            count(many)
        ),
    };
    if open > 0 {
        text += &format!(" {} could not be made, for the reasons below.", count(open));
    }
    text += " No list of checks shows that nothing leaks.";
    vec![
        Block::Heading("Could something have leaked?".into()),
        Block::Text(text),
        Block::Sheet(sheet(report)),
    ]
}

fn sheet(report: &Report) -> Sheet {
    let row = |check: &LeakageCheck| {
        let result = match check.passed {
            Some(true) => "passed",
            Some(false) => "FOUND",
            None => "not checked",
        };
        vec![check.check.to_string(), result.to_string(), check.detail.clone()]
    };
    Sheet {
        title: "Checks for leaks".into(),
        columns: columns(&["Check", "Result", "What was seen"], 3),
        rows: report.leakage.iter().map(row).collect(),
        legend: legend(&[(
            "Leak",
            "Something of the test rows that the training knew, and that it would not know of a new patient.",
        )]),
    }
}

fn check(name: &'static str, passed: bool, detail: String) -> LeakageCheck {
    LeakageCheck { check: name, passed: Some(passed), detail }
}

fn unchecked(name: &'static str, why: &str) -> LeakageCheck {
    LeakageCheck { check: name, passed: None, detail: why.to_string() }
}

fn groups(study: &Study, data: Option<&Dataset>, places: &Places<'_>) -> LeakageCheck {
    let name = "groups kept on one side";
    let Some(column) = study.data.group.as_ref() else {
        let why = "no group column is named; where several rows can be of one patient, name the \
                   patient's column in [data] group";
        return unchecked(name, why);
    };
    match data.and_then(|data| data.groups.as_ref()) {
        Some(groups) => {
            let found = leakage::straddling(groups, places.blocks(), |test| places.training(test));
            let detail = match found.names {
                0 => format!(
                    "no value of {column} trains and tests in any of {}",
                    counted(places.blocks().len() as u64, "split")
                ),
                names => format!("{} of {column} train and test", counted(names, "value")),
            };
            check(name, found.names == 0, detail)
        }
        None => check(
            name,
            true,
            format!("every split keeps rows of one {column} on one side, by construction"),
        ),
    }
}

fn copies(data: Option<&Dataset>, places: &Places<'_>) -> LeakageCheck {
    let name = "no identical rows on both sides";
    let Some(data) = data else { return unchecked(name, NO_TABLE) };
    let Some(numbers) = leakage::copies(data) else {
        let why = "rows of this table agree by chance, having few values each, so copies cannot be \
                   told";
        return unchecked(name, why);
    };
    let found = leakage::straddling(&numbers, places.blocks(), |test| places.training(test));
    let detail = match found.names {
        0 => "no test row has all features of a training row; rows that are nearly alike are not \
              looked for"
            .to_string(),
        names => format!(
            "{} with copies lie on both sides of a split: up to {} of one test set train as well; \
             name a group column that keeps copies together, or take them out",
            counted(names, "row"),
            counted(found.rows_most, "row")
        ),
    };
    check(name, found.names == 0, detail)
}

fn preprocessing() -> LeakageCheck {
    let detail = "by construction: means and standard deviations, and the fill of empty cells, are \
                  those of each split's training rows";
    check("preprocessing within the fold", true, detail.to_string())
}

fn choosing(nested: &Study) -> LeakageCheck {
    let how = match nested.outer.inner.is_some() {
        true => "configs are chosen by scores on training rows alone",
        false => "no config is chosen by its score, every one is in the means",
    };
    let looks = "whoever looks and then chooses is counted in the ledger";
    check("no choice by test rows", true, format!("by construction: {how}; {looks}"))
}

fn telling(data: Option<&Dataset>) -> LeakageCheck {
    let name = "no label among the features";
    let Some(data) = data else { return unchecked(name, NO_TABLE) };
    let found = leakage::telling(data);
    let detail = match found.as_slice() {
        [] => "no feature alone tells the target of every row".to_string(),
        names => format!("alone, {} the target of every row", named(names, "tells", "tell")),
    };
    check(name, found.is_empty(), detail)
}

fn naming(data: Option<&Dataset>) -> LeakageCheck {
    let name = "no row numbers among the features";
    let Some(data) = data else { return unchecked(name, NO_TABLE) };
    let found = leakage::naming(data);
    let detail = match found.as_slice() {
        [] => "no feature has another whole number in nearly every row".to_string(),
        names => format!(
            "{} another whole number in nearly every row; what names rows belongs into [data] drop",
            named(names, "has", "have")
        ),
    };
    check(name, found.is_empty(), detail)
}

/// `x has` or `x, y and 3 more have`.
fn named(names: &[String], one: &str, many: &str) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN).cloned().collect();
    if names.len() > NAMES_SHOWN {
        shown.push(format!("{} more", names.len() - NAMES_SHOWN));
    }
    format!("{} {}", listed(&shown), if names.len() == 1 { one } else { many })
}

fn classes(study: &Study, data: Option<&Dataset>, places: &Places<'_>) -> LeakageCheck {
    let name = "every class on both sides";
    let Task::Classification { classes } = &study.data.task else {
        return unchecked(name, "a regression has no classes");
    };
    let Some(Balance { shares, everywhere }) =
        data.and_then(|data| leakage::balance(data, places.blocks(), |test| places.training(test)))
    else {
        return match study.outer.stratify {
            true => check(name, true, "every split is stratified, by construction".to_string()),
            false => unchecked(name, NO_TABLE),
        };
    };
    let rarest =
        shares.iter().zip(classes).min_by(|((a, b), _), ((c, d), _)| (a + b).total_cmp(&(c + d)));
    let mut detail = rarest.map_or(String::new(), |((low, high), class)| {
        format!("{class} has {} to {} of a test set's rows", percent(*low), percent(*high))
    });
    if !everywhere {
        detail += "; some split has no row of a class on one of its sides";
    }
    check(name, everywhere, detail)
}

/// Looks again whether some training row is as late as a row that it helps to test.
fn time_order(study: &Study, data: Option<&Dataset>, places: &Places<'_>) -> LeakageCheck {
    let name = "time order";
    let (OuterKind::Ordered { .. }, Some(column)) = (&study.outer.kind, &study.data.leave_out)
    else {
        let why = "no column is named as time ([data] order), so nothing says what came first";
        return unchecked(name, why);
    };
    let Some(order) = data.and_then(|data| data.order.as_ref()) else {
        return unchecked(name, NO_TABLE);
    };
    let time = |row: &u32| order[*row as usize];
    let late = |test: &&Vec<u32>| {
        let first = test.iter().map(time).min();
        places.training(test).iter().map(time).max() >= first
    };
    let wrong = places.blocks().iter().filter(late).count() as u64;
    let detail = match wrong {
        0 => format!(
            "every row that trains is earlier by {column} than every row that tests, in each of {}; \
             whether a feature was known by then the table does not say",
            counted(places.blocks().len() as u64, "split")
        ),
        wrong => format!("{} trained on rows as late as their tests", counted(wrong, "split")),
    };
    check(name, wrong == 0, detail)
}

fn too_good(study: &Study, table: &Table) -> LeakageCheck {
    let name = "score not too good";
    let metric = study.primary();
    let (best, room) = match metric {
        Metric::Rmse | Metric::Mae => (0.0, 0.0),
        Metric::LogLoss | Metric::Brier => (0.0, PERFECT_WITHIN),
        _ => (1.0, PERFECT_WITHIN),
    };
    let perfect = |runs: &Vec<Run>| {
        let sum: f64 = runs.iter().map(|run| (run.score - best).abs()).sum();
        !runs.is_empty() && sum <= room * runs.len() as f64
    };
    let judged = table.judged(study);
    if judged.iter().all(Vec::is_empty) {
        return unchecked(name, "no run has a score");
    }
    let found: Vec<String> = study
        .judged()
        .iter()
        .zip(judged)
        .filter(|(_, runs)| perfect(runs))
        .map(|(arm, _)| arm.name.clone())
        .collect();
    let detail = match found.as_slice() {
        [] => format!("no arm's mean {metric} is as good as perfect"),
        arms => format!(
            "{} as good as perfect in {metric}: few real questions are that easy",
            named(arms, "is", "are")
        ),
    };
    check(name, found.is_empty(), detail)
}

fn permuted(controls: Option<&ControlsPart>) -> LeakageCheck {
    let name = "shuffled labels at chance";
    let told: Vec<(&str, bool)> = controls
        .iter()
        .flat_map(|part| &part.arms)
        .filter_map(|arm| Some((arm.arm.as_str(), arm.leaks?)))
        .collect();
    if told.is_empty() {
        let why = "no arm was trained on shuffled labels, or its folds cannot tell; write [study] \
                   controls = { permuted = 5 }";
        return unchecked(name, why);
    }
    let leaking: Vec<String> =
        told.iter().filter(|(_, leaks)| *leaks).map(|(arm, _)| arm.to_string()).collect();
    let detail = match leaking.as_slice() {
        [] => format!(
            "with shuffled labels {} at chance",
            named(&told.iter().map(|(arm, _)| arm.to_string()).collect::<Vec<_>>(), "is", "are")
        ),
        arms => format!("{} above chance with shuffled labels", named(arms, "is", "are")),
    };
    check(name, leaking.is_empty(), detail)
}

fn seeds_wired(study: &Study, table: &Table) -> LeakageCheck {
    wired(study, table, "seed is wired", "seed", &|run| (run.config, run.block(study), u32::MAX))
}

fn folds_wired(study: &Study, table: &Table) -> LeakageCheck {
    // A constant metric over seeds says nothing of folds: one seed and config at a time.
    let seed = |run: &Run| run.seeds.iter().fold(0u32, |sum, s| sum.wrapping_mul(65_537) + s);
    wired(study, table, "fold is wired", "fold", &|run| (run.config, seed(run), 0))
}

/// Whether scores differ somewhere among runs that share a key and differ in `what`.
fn wired(
    study: &Study,
    table: &Table,
    name: &'static str,
    what: &str,
    key: &dyn Fn(&Run) -> (u32, u32, u32),
) -> LeakageCheck {
    let (mut tried, mut same) = (0u64, Vec::new());
    for (arm, runs) in study.judged().iter().zip(table.judged(study)) {
        let cells = super::analysis::grouped(runs, |run| key(run));
        let several = || cells.values().filter(|runs| runs.len() > 1);
        if several().next().is_none() {
            continue;
        }
        tried += 1;
        if several().all(|runs| runs.iter().all(|run| run.score == runs[0].score)) {
            same.push(arm.name.clone());
        }
    }
    if tried == 0 {
        return unchecked(name, &format!("no arm has scores of more than one {what}"));
    }
    let detail = match same.as_slice() {
        [] => format!("scores differ between {what}s in every arm"),
        arms => format!(
            "{} the very same score with every {what}: either nothing there depends on it, or it \
             does not arrive",
            named(arms, "has", "have")
        ),
    };
    check(name, same.is_empty(), detail)
}

fn deterministic(determinism: &Determinism) -> LeakageCheck {
    let name = "same training, same score";
    match determinism.violations {
        0 => unchecked(
            name,
            "no outcome came again as another one; trials are trained twice only when an agent is \
             lost, and how many were is not counted",
        ),
        many => check(
            name,
            false,
            format!(
                "{} came again as another one; digests are kept of those, and not by how much the \
                 score differs",
                counted(many, "outcome")
            ),
        ),
    }
}

/// Names spelled out in one check.
const NAMES_SHOWN: usize = 5;

/// A mean score this near to perfect is too good.
const PERFECT_WITHIN: f64 = 1e-3;
