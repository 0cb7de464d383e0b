//! Controls in words: which arms have learned nothing, and which know what they should not.
//!
//! Deliberately absent: praise. An arm that beats its controls has done what is asked of any.
//!
//! Floor: core.

use common::study::Study;

use super::analysis;
use super::content::{Beside, ControlledPart, ControlsPart, Report, Verdict, VerdictKind};
use super::number::{beside, count, counted, listed};
use super::page::{Block, Sheet, columns, legend};
use super::table::Table;

/// Every judged arm beside its controls, with findings; `None` where the study has no control.
pub fn of_all(study: &Study, table: &Table) -> Option<ControlsPart> {
    let mut part = analysis::controls::of_all(study, table)?;
    find(study, &mut part);
    Some(part)
}

/// Writes the findings into the part.
fn find(study: &Study, part: &mut ControlsPart) {
    let constant = part.constant.clone();
    for arm in &mut part.arms {
        arm.findings = findings(study, constant.as_deref(), arm);
    }
}

/// The verdict, with what controls say against it. One on an arm that leaks carries no claim.
pub fn objected(verdict: Verdict, part: Option<&ControlsPart>) -> Verdict {
    let arms = part.map(|part| part.arms.as_slice()).unwrap_or_default();
    let named = |wrong: &dyn Fn(&ControlledPart) -> bool| -> Vec<String> {
        arms.iter().filter(|arm| wrong(arm)).map(|arm| arm.arm.clone()).collect()
    };
    let leaking = named(&|arm| arm.leaks == Some(true));
    let idle = named(&|arm| arm.learned == Some(false));
    let (mut kind, mut text) = (verdict.kind, verdict.text);
    if !leaking.is_empty() {
        kind = VerdictKind::NotEstimable;
        let (leaks, it) = if leaking.len() == 1 { ("leaks", "its") } else { ("leak", "their") };
        text = format!(
            "{} {leaks}: with shuffled labels {it} scores are still above chance, so no score here \
             says how well new rows would be told. {text}",
            listed(&leaking)
        );
    }
    if !idle.is_empty() {
        let (does, has) = if idle.len() == 1 { ("does", "it has") } else { ("do", "they have") };
        text += &format!(
            " {} {does} not beat the controls: {has} learned nothing that an arm without features, or \
             with shuffled labels, has not.",
            listed(&idle)
        );
    }
    Verdict { kind, text, basis: verdict.basis }
}

/// The section of the page; empty where the study has no control.
pub fn blocks(report: &Report) -> Vec<Block> {
    let Some(part) = &report.controls else { return Vec::new() };
    let findings: Vec<String> = part.arms.iter().flat_map(|arm| arm.findings.clone()).collect();
    let mut list = vec![Block::Heading("Do the arms beat their controls?".into())];
    if findings.is_empty() {
        list.push(Block::Text(sound(part)));
    } else {
        list.push(Block::List(findings));
    }
    list.push(Block::Sheet(sheet(report, part)));
    list
}

/// What controls a study has, in words; `None` for none.
pub fn fact(part: &ControlsPart) -> Option<String> {
    let constant = part.constant.as_ref().map(|name| format!("{name}, trained once a fold"));
    let permuted = part
        .repeats
        .map(|repeats| format!("each arm with shuffled labels and {}", counted(repeats, "seed")));
    let both: Vec<String> = constant.into_iter().chain(permuted).collect();
    (!both.is_empty()).then(|| format!("{}; {}", both.join("; "), counted(part.planned, "trial")))
}

/// Controls in the methods.
pub fn sentences(part: Option<&ControlsPart>) -> String {
    let Some(part) = part else { return String::new() };
    let mut text = String::new();
    if part.constant.is_some() {
        text += "A constant control said the same of every test row: the classes' shares among the \
                 training rows, or their targets' mean. ";
    }
    if let Some(repeats) = part.repeats {
        text += &format!(
            "In permuted controls, each arm was trained anew with the labels of its training rows \
             shuffled, with {}; test rows, and training rows with exactly a test row's features, kept \
             theirs. ",
            counted(repeats, "seed")
        );
    }
    text + "Controls entered no comparison between arms. "
}

fn findings(study: &Study, constant: Option<&str>, arm: &ControlledPart) -> Vec<String> {
    let (metric, name) = (study.primary(), &arm.arm);
    let mut list = Vec::new();
    if let (Some(true), Some(above)) = (arm.leaks, &arm.above_chance) {
        list.push(format!(
            "{name} leaks: trained with shuffled labels it still scored better than chance, by {} in \
             {metric}{}. Nothing in the shuffled labels tells the test rows apart, so what the arm \
             knows of them reached it another way: copies of test rows among the training rows, most \
             often. Name a `group` column that keeps what belongs together on one side, or take the \
             copies out.",
            beside(above.difference.abs(), scale(above)),
            in_brackets(above),
        ));
    }
    if arm.learned == Some(false) {
        let beaten: Vec<String> = [
            arm.constant.as_ref().map(|part| (constant.unwrap_or("the constant"), part)),
            arm.permuted.as_ref().map(|part| ("its own training on shuffled labels", part)),
        ]
        .into_iter()
        .flatten()
        .filter(|(_, part)| part.better == Some(false))
        .map(|(control, part)| {
            format!("{control} by {}{}", beside(part.difference, scale(part)), in_brackets(part))
        })
        .collect();
        list.push(format!(
            "{name} has learned nothing that its controls have not: in {metric} it is not shown to be \
             better than them. It differs from {}.",
            listed(&beaten)
        ));
    }
    list
}

fn sound(part: &ControlsPart) -> String {
    let all = |test: &dyn Fn(&ControlledPart) -> Option<bool>, wanted| {
        part.arms.iter().all(|arm| test(arm) == Some(wanted))
    };
    let beat = if all(&|arm| arm.learned, true) {
        "Every arm does better than its controls"
    } else {
        "No arm is shown to have learned nothing, but for some the folds cannot tell"
    };
    let leak = match part.repeats {
        None => "; no labels were shuffled, so nothing here speaks of leaks.",
        Some(_) if all(&|arm| arm.leaks, false) => {
            ", and none scores above chance with shuffled labels."
        }
        Some(_) => "; whether one scores above chance with shuffled labels cannot be told.",
    };
    format!("{beat}{leak}")
}

fn sheet(report: &Report, part: &ControlsPart) -> Sheet {
    let dash = || "–".to_string();
    let mean =
        |of: &Option<Beside>, scale| of.as_ref().map_or_else(dash, |b| beside(b.mean, scale));
    let row = |arm: &ControlledPart| {
        let parts = [&arm.constant, &arm.permuted, &arm.above_chance];
        let digits = parts.iter().filter_map(|part| part.as_ref()).map(scale);
        let scale = digits.filter(|scale| *scale > 0.0).fold(f64::INFINITY, f64::min);
        let mut cells = vec![
            arm.arm.clone(),
            arm.mean.map_or_else(dash, |mean| beside(mean, scale)),
            mean(&arm.constant, scale),
            difference(arm.constant.as_ref(), scale),
        ];
        if part.repeats.is_some() {
            cells.extend([
                mean(&arm.permuted, scale),
                arm.permuted.as_ref().map_or_else(dash, |part| count(part.n)),
                difference(arm.permuted.as_ref(), scale),
                difference(arm.above_chance.as_ref(), scale),
            ]);
        }
        cells
    };
    let mut titles = vec!["Arm", "Mean", "Constant", "Arm − constant"];
    let mut meanings = legend(&[
        (
            "Constant",
            "What an arm scores that never looks at a feature: it says how often each class is among the training rows, or their mean.",
        ),
        (
            "Arm − constant",
            "Mean over folds with its 95 % interval by the corrected resampled t-test: an arm whose interval does not leave zero on the better side has learned nothing that the constant has not.",
        ),
    ]);
    if part.repeats.is_some() {
        titles.extend(["Permuted", "Runs", "Arm − permuted", "Permuted − chance"]);
        meanings.extend(legend(&[
            (
                "Permuted",
                "What the same arm scores when the labels of its training rows are shuffled, so that there is nothing to learn.",
            ),
            (
                "Permuted − chance",
                "A permuted arm can only guess, as the constant does. Where it does better, something of the test rows has leaked into the training.",
            ),
        ]));
    }
    Sheet {
        title: format!(
            "Arms beside their controls ({}, {})",
            report.study.metric, report.study.goal
        ),
        columns: columns(&titles, 1),
        rows: part.arms.iter().map(row).collect(),
        legend: meanings,
    }
}

fn difference(part: Option<&Beside>, scale: f64) -> String {
    let Some(part) = part else { return "–".to_string() };
    let text = beside(part.difference, scale);
    match &part.ci {
        Some(ci) => format!("{text} ({} to {})", beside(ci.low, scale), beside(ci.high, scale)),
        None => text,
    }
}

fn in_brackets(part: &Beside) -> String {
    let ci = part.ci.as_ref();
    let ends = ci.map(|ci| (beside(ci.low, scale(part)), beside(ci.high, scale(part))));
    ends.map_or(String::new(), |(low, high)| format!(" (95 % interval {low} to {high})"))
}

/// About the standard error: the digits to show.
fn scale(part: &Beside) -> f64 {
    part.ci.as_ref().map_or(0.0, |ci| (ci.high - ci.low) / 4.0)
}
