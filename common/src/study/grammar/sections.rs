//! The tables of a study file beside the arms.
//!
//! Floor: common.

use super::super::SeedFactor;
use super::super::finding::{At, Inspection};
use super::nested;
use super::walk::{Item, Section};
use super::{ControlsDraft, Draft, OuterDraft, OuterKindDraft, SeedsDraft};
use crate::name::is_name;
use crate::seed::Stream;

pub(super) fn study(root: &Section<'_>, draft: &mut Draft, inspection: &mut Inspection<'_>) {
    let example = "[study] with name and metric";
    let Some(item) = root.require("study", example, inspection) else { return };
    let known = ["name", "notes", "metric", "also", "controls", "requires"];
    let Some(section) = item.section("[study]", &known, inspection) else { return };
    if let Some(item) = section.find("controls") {
        controls(item, &mut draft.controls, inspection);
    }
    let name = section
        .require("name", "name = \"wdbc\"", inspection)
        .and_then(|item| item.text(inspection));
    if let Some(name) = name {
        check_name("name", &name, inspection);
        draft.name = Some(name.value);
    }
    if let Some(notes) = section.find("notes").and_then(|item| item.text(inspection)) {
        draft.notes = notes.value;
    }
    if let Some(item) = section.require("metric", "metric = \"auroc\"", inspection) {
        draft.metrics.extend(metric(item, inspection));
    }
    let also = section.find("also").map(|item| item.texts(inspection)).unwrap_or_default();
    let primary = draft.metrics.first().map(|metric| metric.value.clone());
    for metric in also {
        if primary.as_ref() == Some(&metric.value) {
            let message = format!("`also` repeats the study's metric {:?}", metric.value);
            inspection.refuse(&metric.span, message, "take it out of `also`");
        } else {
            draft.metrics.push(metric);
        }
    }
}

/// `"auroc"` or `{ name = "auroc", at = "last" }`.
fn metric(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<At<String>> {
    if item.is_text() {
        return item.text(inspection);
    }
    if !item.is_table() {
        return item.expected("a name such as \"auroc\", or { name, at }", inspection);
    }
    let section = item.section("metric", &["name", "at"], inspection)?;
    if let Some(at) = section.find("at").and_then(|at| at.text(inspection)) {
        let later = at.value == "best" || at.value.starts_with("step:");
        if later {
            let message = format!("at = {:?} is not in this version", at.value);
            let help = "write at = \"last\": the metric after the last epoch";
            inspection.refuse(&at.span, message, help);
        } else if at.value != "last" {
            let message = format!("`at` cannot be {:?}", at.value);
            inspection.refuse(&at.span, message, "known here: last");
        }
    }
    section.require("name", "name = \"auroc\"", inspection)?.text(inspection)
}

/// Names of studies and arms are parts of file names.
pub(super) fn check_name(key: &str, name: &At<String>, inspection: &mut Inspection<'_>) {
    if !is_name(&name.value) {
        let message = format!("{key} {:?} cannot be used", name.value);
        let help = "1 to 64 of the letters A–Z and a–z, digits, `.`, `_` and `-`, no dot first";
        inspection.refuse(&name.span, message, help);
    }
}

pub(super) fn split(root: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<OuterDraft> {
    let example = "[split] with outer = { folds = 5, repeats = 2, stratify = true }";
    let section = root.require("split", example, inspection)?.section(
        "[split]",
        &["outer", "inner"],
        inspection,
    )?;
    let inner = nested::inner(&section, inspection);
    let example = "outer = { folds = 5, repeats = 2, stratify = true }";
    let item = section.require("outer", example, inspection)?;
    let known = ["folds", "holdout", "leave_out", "repeats", "stratify"];
    let outer = item.section("outer", &known, inspection)?;
    let repeats = outer.find("repeats").and_then(|item| item.whole(1..=100_000, inspection));
    let repeats = repeats.map_or(1, |repeats| repeats.value as u32);
    let stratify = outer.find("stratify").and_then(|item| item.boolean(inspection));
    let kind = outer_kind(&outer, inspection)?;
    if matches!(kind, OuterKindDraft::LeaveOut(_)) {
        for key in ["repeats", "stratify"] {
            if let Some(span) = outer.key_span(key) {
                let message = format!("`{key}` means nothing with leave_out");
                let help = "each value tests exactly once, so nothing is drawn; take it out";
                inspection.refuse(span, message, help);
            }
        }
    }
    let (span, repeats_span) = (item.span.clone(), outer.key_span("repeats").cloned());
    Some(OuterDraft { span, kind, repeats, repeats_span, stratify, inner })
}

fn outer_kind(outer: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<OuterKindDraft> {
    let kinds = ["folds", "holdout", "leave_out"];
    let mut present = kinds.iter().filter_map(|kind| outer.find(kind));
    let Some(item) = present.next() else {
        if kinds.iter().any(|kind| outer.is_misspelt(kind)) {
            return None;
        }
        let help = "write one of: folds = 5, holdout = 0.2, leave_out = \"hospital\"";
        inspection.refuse(&outer.span, "outer does not say how rows are divided", help);
        return None;
    };
    let more: Vec<&Item<'_>> = present.collect();
    for other in &more {
        let message = format!("outer has both `{}` and `{}`", item.name, other.name);
        inspection.refuse(&other.span, message, "rows are divided in one way; keep one of them");
    }
    match item.name.as_str() {
        "folds" => {
            let folds = item.whole(0..=i64::from(i32::MAX), inspection)?;
            if folds.value < 2 {
                let message = format!("folds is {}; at least 2 are needed", folds.value);
                let help = "with one fold no row is left to train on; for one test set write \
                            holdout = 0.2";
                inspection.refuse(&folds.span, message, help);
                return None;
            }
            Some(OuterKindDraft::Folds(At { value: folds.value as u32, span: folds.span }))
        }
        "holdout" => {
            let share = item.number(
                "a share of the rows, above 0 and below 1",
                |share| share > 0.0 && share < 1.0,
                inspection,
            )?;
            Some(OuterKindDraft::Holdout(share))
        }
        _ => item.text(inspection).map(OuterKindDraft::LeaveOut),
    }
}

pub(super) fn seeds(root: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<SeedsDraft> {
    let section = root.require("seeds", "[seeds] with count = 20", inspection)?.section(
        "[seeds]",
        &["count", "apart", "tune"],
        inspection,
    )?;
    let tune = nested::tune(&section, inspection);
    let counted = section.find("count");
    let apart = section.find("apart");
    if let (Some(_), Some(apart)) = (counted, apart) {
        let message = "[seeds] has both `count` and `apart`";
        let help = "count moves all streams together, apart crosses them; keep one of them";
        inspection.refuse(&apart.span, message, help);
    }
    if let Some(item) = counted {
        let count = item.whole(1..=SEEDS_MAX, inspection)?;
        let factor = SeedFactor {
            name: "seed".to_string(),
            streams: Stream::TRAINING.to_vec(),
            count: count.value as u32,
        };
        return Some(SeedsDraft { span: count.span, tune, factors: vec![factor] });
    }
    let Some(apart) = apart else {
        section.require("count", "count = 20", inspection);
        return None;
    };
    let names = Stream::TRAINING.map(Stream::name);
    let streams = apart.section("apart", &names, inspection)?;
    let mut factors = Vec::new();
    for stream in Stream::TRAINING {
        let Some(item) = streams.find(stream.name()) else { continue };
        let count = item.whole(1..=SEEDS_MAX, inspection)?.value as u32;
        factors.push(SeedFactor { name: stream.name().to_string(), streams: vec![stream], count });
    }
    if factors.is_empty() {
        let message = "`apart` names no stream";
        inspection.refuse(&apart.span, message, "write for example: { init = 10, order = 10 }");
        return None;
    }
    Some(SeedsDraft { span: apart.span.clone(), tune, factors })
}

/// `{ constant = true, permuted = 5 }`.
fn controls(item: &Item<'_>, controls: &mut ControlsDraft, inspection: &mut Inspection<'_>) {
    let known = ["constant", "permuted"];
    let Some(section) = item.section("controls", &known, inspection) else { return };
    let constant = section.find("constant").and_then(|item| item.boolean(inspection));
    if let Some(constant) = constant {
        controls.constant = constant.value;
    }
    let permuted = section.find("permuted").and_then(|item| item.whole(1..=1_000, inspection));
    controls.permuted = permuted.map(|at| At { value: at.value as u32, span: at.span });
}

const SEEDS_MAX: i64 = 1_000_000_000;
