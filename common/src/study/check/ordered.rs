//! Whether rows can be divided in the order of a column: earlier ones train, later ones test.
//!
//! A `group` beside it is refused: the rows of one group can lie on both sides of any moment, so that
//! one of the two promises would be broken.
//!
//! Floor: common.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::finding::{At, Inspection};
use super::super::grammar::{DataDraft, Draft, OuterDraft, OuterKindDraft};
use super::super::{Inner, Outer, OuterKind, Study};
use super::data::{Facts, listed};
use super::division::{check_classes, check_holdout};
use crate::split::{inner_folds, partition, training_rows};
use crate::table::{Dataset, LISTED_MAX, Table, Target, first, ranks};

/// The place in time of each kept row, and a finding where some row has none.
///
/// Missing cells have their own finding.
pub(super) fn times(
    written: &DataDraft,
    table: &Table,
    place: Option<usize>,
    rows: &[usize],
    inspection: &mut Inspection<'_>,
) -> Option<Vec<u32>> {
    let (name, column) = (written.order.as_ref()?, &table.columns[place?]);
    let wrong = match ranks(column, rows) {
        Ok(ranks) => return Some(ranks),
        Err(wrong) => wrong.into_iter().filter(|&row| !column.is_missing(row)),
    };
    let wrong: Vec<usize> = wrong.collect();
    if let Some(cell) = wrong.first().and_then(|&row| column.text(row)) {
        let message = format!(
            "the order column `{}` is neither a number nor a date in {}; the first is {:?}",
            name.value,
            listed(&wrong),
            &*cell
        );
        let help = "write dates and times as 2019-03-07 or 2019-03-07T10:00:00, or number the rows";
        inspection.refuse(&name.span, message, help);
    }
    None
}

/// The division by `draft.data.order`; `None` where the file does not say one.
pub(super) fn outer(
    draft: &Draft,
    written: &OuterDraft,
    facts: Option<&Facts>,
    inner: Option<Inner>,
    inspection: &mut Inspection<'_>,
) -> Option<Outer> {
    let order = draft.data.order.as_ref()?;
    refuse_others(draft, written, inspection);
    let facts = facts.filter(|facts| facts.order.is_some());
    let times = facts.and_then(|facts| facts.order.as_ref()?.iter().max());
    let times = times.map(|last| *last as usize + 1);
    let (share, folds) = match &written.kind {
        OuterKindDraft::Folds(folds) => {
            check_times(order, &folds.span, times, folds.value as usize + 1, inspection);
            if let Some(classes) = facts.and_then(|facts| facts.classes.as_ref()) {
                check_classes(&folds.span, classes, 2, "and must train and test", inspection);
            }
            (None, folds.value)
        }
        OuterKindDraft::Holdout(share) => {
            check_times(order, &share.span, times, 2, inspection);
            facts.into_iter().for_each(|facts| check_holdout(share, facts, inspection));
            (Some(share.value), 1)
        }
        OuterKindDraft::LeaveOut(column) => {
            let message = "rows are divided by `order` or by `leave_out`, not by both";
            let help = "take `order` out of [data], or write outer = { folds = 5 }";
            inspection.refuse(&column.span, message, help);
            return None;
        }
    };
    let kind = OuterKind::Ordered { share };
    Some(Outer { kind, partitions: 1, folds, stratify: false, inner })
}

/// What would part rows in another way.
fn refuse_others(draft: &Draft, written: &OuterDraft, inspection: &mut Inspection<'_>) {
    if let Some(group) = &draft.data.group {
        let message = "`group` and `order` cannot both be kept: rows of one group can lie on both sides \
                       of any moment";
        let help =
            "take one of them out; to keep both, leave only each group's first row in the file";
        inspection.refuse(&group.span, message, help);
    }
    if let Some(repeats) = written.repeats_span.as_ref().filter(|_| written.repeats > 1) {
        let message = "`repeats` above 1 means nothing with `order`";
        let help = "time gives one division and nothing is drawn; take it out, seeds vary instead";
        inspection.refuse(repeats, message, help);
    }
    if let Some(At { value: true, span }) = &written.stratify {
        let message = "`stratify` means nothing with `order`";
        let help = "time alone says which rows test, whatever their classes; take it out";
        inspection.refuse(span, message, help);
    }
}

fn check_times(
    order: &At<String>,
    span: &Range<usize>,
    times: Option<usize>,
    parts: usize,
    inspection: &mut Inspection<'_>,
) {
    let Some(times) = times.filter(|times| *times < parts) else { return };
    let differ = if times == 1 { "value" } else { "different values" };
    let message = format!(
        "{parts} successive parts are needed, and the order column `{}` has {times} {differ}",
        order.value
    );
    let help = match times {
        0..=2 => "rows of one time are never divided; name a finer column".to_string(),
        _ => format!("rows of one time are never divided; ask for at most {} folds", times - 1),
    };
    inspection.refuse(span, message, help);
}

/// Refuses folds whose training rows cannot give validation rows, and says which lack classes.
pub(super) fn check(
    study: &Study,
    dataset: &Dataset,
    span: &Range<usize>,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) {
    let (OuterKind::Ordered { .. }, Some(order)) = (&study.outer.kind, &dataset.order) else {
        return;
    };
    let held = |arm: &super::super::Arm| {
        arm.configs.iter().any(|config| config.hyper.recipe.validation > 0.0)
    };
    let validates = study.arms.iter().any(held);
    let labels = dataset.labels(false);
    let column = study.data.leave_out.as_deref().unwrap_or_default();
    for (fold, test) in (0..).zip(partition(&study.outer, &labels, &dataset.digest, 0)) {
        let train = training_rows(&study.outer.kind, &labels, 0..labels.rows, &test);
        let mut trained = vec![train.clone()];
        if let Some(inner) = &study.outer.inner {
            let tests =
                inner_folds(&study.outer, inner, &labels, &dataset.digest, (0, fold), &train);
            let earlier =
                |test: &Vec<u32>| training_rows(&inner.kind, &labels, train.iter().copied(), test);
            trained.extend(tests.iter().map(earlier));
        }
        let of_one_time = |rows: &Vec<u32>| {
            rows.iter().map(|row| order[*row as usize]).collect::<BTreeSet<_>>().len() == 1
        };
        if validates && trained.iter().any(of_one_time) {
            let message = format!(
                "fold {fold} trains on rows of one `{column}` alone, and validation rows are the latest \
                 of those that train"
            );
            inspection.refuse(span, message, "ask for fewer folds, or take the validation out");
            return;
        }
        notes.extend(lacking(dataset, study, &train, &test, fold));
    }
}

/// Classes that a fold meets in its test rows only, or in its training rows only.
fn lacking(
    dataset: &Dataset,
    study: &Study,
    train: &[u32],
    test: &[u32],
    fold: u32,
) -> Vec<String> {
    let (Target::Classes { labels, .. }, super::Task::Classification { classes }) =
        (&dataset.target, &study.data.task)
    else {
        return Vec::new();
    };
    let note = |rows: &[u32], side: &str| {
        let seen: BTreeSet<u32> = rows.iter().map(|row| labels[*row as usize]).collect();
        let unseen = (0..classes.len() as u32).filter(|class| !seen.contains(class));
        let names: Vec<&String> = unseen.map(|class| &classes[class as usize]).collect();
        let listed = first(&names, names.len().min(LISTED_MAX));
        (!names.is_empty())
            .then(|| format!("no row of class {listed} is among those that {side} in fold {fold}"))
    };
    [note(train, "train"), note(test, "test")].into_iter().flatten().collect()
}
