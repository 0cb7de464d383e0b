//! Whether the rows can be divided as the study asks.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::finding::{At, Inspection};
use super::super::grammar::{Draft, OuterDraft, OuterKindDraft, TaskKind};
use super::super::{Outer, OuterKind};
use super::data::{Facts, Labelled};
use crate::table::{LISTED_MAX, first};

/// The division, with what the data say about it. `None` when the number of folds is not known.
pub(super) fn outer(
    draft: &Draft,
    facts: Option<&Facts>,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) -> Option<Outer> {
    let written = draft.outer.as_ref()?;
    let task = draft.data.task.as_ref().map(|task| task.value);
    let stratify = stratify(written, task, inspection);
    let inner = super::nested::inner(draft, inspection);
    if draft.data.order.is_some() {
        return super::ordered::outer(draft, written, facts, inner, inspection);
    }
    let partitions = written.repeats;
    let outer = |kind, folds| Outer { kind, partitions, folds, stratify, inner: inner.clone() };
    match &written.kind {
        OuterKindDraft::Folds(folds) => {
            if let Some(facts) = facts {
                check_folds(folds, facts, notes, inspection);
            }
            Some(outer(OuterKind::KFold, folds.value))
        }
        OuterKindDraft::Holdout(share) => {
            if let Some(facts) = facts {
                check_holdout(share, facts, inspection);
            }
            Some(outer(OuterKind::Holdout { share: share.value }, 1))
        }
        OuterKindDraft::LeaveOut(column) => {
            let values = facts?.leave_out.as_ref()?;
            check_leave_out(column, values, facts?, inspection);
            Some(Outer { partitions: 1, ..outer(OuterKind::LeaveOut, values.names.len() as u32) })
        }
    }
}

/// As written; else classes are stratified wherever there are classes.
fn stratify(written: &OuterDraft, task: Option<TaskKind>, inspection: &mut Inspection<'_>) -> bool {
    let classes = task == Some(TaskKind::Classification);
    if let Some(At { value: true, span }) = &written.stratify
        && let Some(task @ (TaskKind::Regression | TaskKind::Segmentation)) = task
    {
        let message = format!("stratify deals classes evenly, and a {} has none", task.name());
        inspection.refuse(span, message, "take it out");
    }
    let drawn = !matches!(written.kind, OuterKindDraft::LeaveOut(_));
    drawn && written.stratify.as_ref().map_or(classes, |stratify| stratify.value)
}

fn check_folds(
    folds: &At<u32>,
    facts: &Facts,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) {
    let wanted = folds.value as usize;
    if facts.rows < wanted {
        let message = format!("{wanted} folds are more than the {} rows", facts.rows);
        inspection.refuse(&folds.span, message, "every fold needs a row; ask for fewer folds");
        return;
    }
    if let Some(classes) = &facts.classes {
        let least = format!("fewer than the {wanted} folds");
        check_classes(&folds.span, classes, wanted, &least, inspection);
    }
    let Some(groups) = &facts.groups else { return };
    if groups.names.len() < wanted {
        let message = format!(
            "column `{}` has {}, fewer than the {wanted} folds",
            groups.column,
            counted(groups.names.len(), "group")
        );
        let help = format!("ask for at most {} folds", groups.names.len());
        inspection.refuse(&folds.span, message, help);
    } else if let Some(classes) = &facts.classes {
        notes.extend(thin_classes(classes, groups, wanted));
    }
}

/// Classes of fewer groups than folds: some folds then test none of their rows.
fn thin_classes(classes: &Labelled, groups: &Labelled, folds: usize) -> Vec<String> {
    let group_of: BTreeMap<usize, u32> =
        groups.rows.iter().copied().zip(groups.codes.iter().copied()).collect();
    let mut met: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (row, &class) in classes.rows.iter().zip(&classes.codes) {
        met.entry(class).or_default().extend(group_of.get(row));
    }
    let note = |(class, of_class): (u32, BTreeSet<u32>)| {
        (of_class.len() < folds).then(|| {
            format!(
                "class `{}` is in {} of column `{}`, fewer than the {folds} folds: some folds \
                 test none of its rows",
                classes.names[class as usize],
                counted(of_class.len(), "group"),
                groups.column
            )
        })
    };
    met.into_iter().filter_map(note).collect()
}

pub(super) fn check_holdout(share: &At<f64>, facts: &Facts, inspection: &mut Inspection<'_>) {
    let test = (facts.rows as f64 * share.value).round() as usize;
    let empty = match test {
        0 => Some("test"),
        test if test >= facts.rows => Some("train"),
        _ => None,
    };
    if let Some(side) = empty {
        let message = format!(
            "holdout = {} of {} leaves none to {side}",
            share.value,
            counted(facts.rows, "row")
        );
        inspection.refuse(&share.span, message, "write a share that leaves rows on both sides");
        return;
    }
    if let Some(classes) = &facts.classes {
        check_classes(&share.span, classes, 2, "and must train and test", inspection);
    }
    if let Some(groups) = facts.groups.as_ref().filter(|groups| groups.names.len() < 2) {
        let message =
            format!("column `{}` has one group, and groups are never divided", groups.column);
        inspection.refuse(
            &share.span,
            message,
            "take `group` out of [data], or name another column",
        );
    }
}

pub(super) fn check_classes(
    span: &Range<usize>,
    classes: &Labelled,
    least: usize,
    why: &str,
    inspection: &mut Inspection<'_>,
) {
    let counts = classes.counts();
    let rare: Vec<(&String, usize)> =
        classes.names.iter().zip(counts).filter(|&(_, count)| count < least).collect();
    let column = &classes.column;
    let Some(smallest) = rare.iter().map(|&(_, count)| count).min() else { return };
    let message = match rare.as_slice() {
        [(name, count)] => {
            format!("class `{name}` of column `{column}` has {}, {why}", counted(*count, "row"))
        }
        _ => {
            let words: Vec<String> =
                rare.iter().map(|(name, count)| format!("`{name}` ({count})")).collect();
            let listed = first(&words, words.len());
            format!("{} classes of column `{column}` have few rows, {why}: {listed}", rare.len())
        }
    };
    let mut help = match smallest {
        1 => "drop or merge classes; a class of one row cannot train and test".to_string(),
        _ => format!("ask for at most {smallest} folds, or drop or merge classes"),
    };
    if rare.len() > LISTED_MAX {
        help += "; if the column holds amounts, write task = \"regression\"";
    }
    inspection.refuse(span, message, help);
}

fn check_leave_out(
    column: &At<String>,
    values: &Labelled,
    facts: &Facts,
    inspection: &mut Inspection<'_>,
) {
    if values.names.len() < 2 {
        let only = values.names.first().map_or("no value", String::as_str);
        let message =
            format!("column `{}` has one value, `{only}`: no row would train", column.value);
        inspection.refuse(&column.span, message, "name a column with at least two values");
        return;
    }
    let Some(groups) = &facts.groups else { return };
    let value_of: BTreeMap<usize, u32> =
        values.rows.iter().copied().zip(values.codes.iter().copied()).collect();
    let mut first_value: BTreeMap<u32, u32> = BTreeMap::new();
    let mut torn = BTreeSet::new();
    for (row, &group) in groups.rows.iter().zip(&groups.codes) {
        let Some(&value) = value_of.get(row) else { continue };
        if *first_value.entry(group).or_insert(value) != value {
            torn.insert(group);
        }
    }
    if torn.is_empty() {
        return;
    }
    let names: Vec<&String> = torn.iter().map(|&group| &groups.names[group as usize]).collect();
    let message = format!(
        "{} of column `{}` have rows under several values of `{}`: {}",
        counted(names.len(), "group"),
        groups.column,
        column.value,
        first(&names, names.len())
    );
    let help = "leaving a value out would tear these groups; correct the rows, or take `group` out";
    inspection.refuse(&column.span, message, help);
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
