//! Whether configs can be chosen within the training rows of every outer fold.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::Draft;
use super::super::{Inner, Outer, OuterKind, Select, Study};
use crate::split::{inner_folds, partition, training_rows};
use crate::table::Dataset;

/// How configs are chosen, as written; refuses what means nothing.
pub(super) fn inner(draft: &Draft, inspection: &mut Inspection<'_>) -> Option<Inner> {
    let tune = draft.seeds.as_ref().and_then(|seeds| seeds.tune.as_ref());
    let Some(written) = draft.outer.as_ref().and_then(|outer| outer.inner.as_ref()) else {
        if let Some(tune) = tune {
            let message = "`tune` is for choosing configs by inner folds, and there are none";
            let help = "take it out, or write inner = { folds = 3 } in [split]";
            inspection.refuse(&tune.span, message, help);
        }
        return None;
    };
    let select = &written.select;
    if select.value == Select::Majority && tune.is_none_or(|tune| tune.value < 3) {
        let message = "a majority needs several seeds that choose";
        inspection.refuse(&select.span, message, "write tune = 3 or more in [seeds]");
    }
    let kind = match (&draft.data.order, &written.kind) {
        (Some(_), OuterKind::KFold) => OuterKind::Ordered { share: None },
        (Some(_), OuterKind::Holdout { share }) => OuterKind::Ordered { share: Some(*share) },
        (_, kind) => kind.clone(),
    };
    Some(Inner {
        kind,
        folds: written.folds,
        tune: tune.map(|tune| tune.value),
        select: select.value,
    })
}

/// Draws the folds and refuses inner ones without rows on both sides.
pub(super) fn check(
    study: &Study,
    dataset: &Dataset,
    draft: &std::ops::Range<usize>,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) {
    let Some(inner) = &study.outer.inner else { return };
    if study.arms.iter().all(|arm| arm.configs.len() < 2) {
        notes.push(
            "no arm has a space of configs: the inner folds choose nothing, and none is trained"
                .into(),
        );
        return;
    }
    let labels = dataset.labels(study.outer.stratify);
    for number in 0..study.outer.partitions.min(PARTITIONS_DRAWN) {
        let outer = Outer { inner: None, ..study.outer.clone() };
        let folds = partition(&outer, &labels, &dataset.digest, number);
        for (fold, test) in (0..).zip(&folds) {
            let train = training_rows(&outer.kind, &labels, 0..labels.rows, test);
            let drawn =
                inner_folds(&outer, inner, &labels, &dataset.digest, (number, fold), &train);
            let whole = drawn.len() == inner.folds as usize
                && drawn.iter().all(|rows| !rows.is_empty() && rows.len() < train.len());
            if !whole {
                let together = match inner.kind {
                    OuterKind::Ordered { .. } => "rows of one time",
                    _ => "groups",
                };
                let message = format!(
                    "the {} training rows of outer fold {fold} cannot be divided into inner folds \
                     that each have rows, with {together} kept whole",
                    train.len()
                );
                inspection.refuse(draft, message, "ask for fewer inner folds, or for a holdout");
                return;
            }
        }
    }
}

/// Partitions that are drawn to see whether they can be divided.
const PARTITIONS_DRAWN: u32 = 20;
