//! `inner` and `tune`: choosing configs within the training rows.
//!
//! Floor: common.

use std::ops::Range;

use super::super::finding::{At, Inspection};
use super::super::{OuterKind, Select};
use super::walk::Section;

/// `inner = { folds = 3, select = "best" }`.
pub(in super::super) struct InnerDraft {
    pub span: Range<usize>,
    pub kind: OuterKind,
    pub folds: u32,
    pub select: At<Select>,
}

pub(super) fn inner(split: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<InnerDraft> {
    let item = split.find("inner")?;
    let section = item.section("inner", &["folds", "holdout", "select"], inspection)?;
    let selects = Select::ALL.map(|select| (select.name(), select));
    let select = section.find("select").map(|item| item.choice(&selects, inspection));
    let select = match select {
        Some(select) => select?,
        None => At { value: Select::Best, span: item.span.clone() },
    };
    let (kind, folds) = match (section.find("folds"), section.find("holdout")) {
        (Some(_), Some(holdout)) => {
            let message = "inner has both `folds` and `holdout`";
            inspection.refuse(&holdout.span, message, "rows are divided in one way; keep one");
            return None;
        }
        (Some(folds), None) => {
            let folds = folds.whole(0..=i64::from(i32::MAX), inspection)?;
            if folds.value < 2 {
                let message = format!("inner folds are {}; at least 2 are needed", folds.value);
                let help = "for one inner test set write inner = { holdout = 0.25 }";
                inspection.refuse(&folds.span, message, help);
                return None;
            }
            (OuterKind::KFold, folds.value as u32)
        }
        (None, Some(holdout)) => {
            let share = holdout.number(
                "a share of the training rows, above 0 and below 1",
                |share| share > 0.0 && share < 1.0,
                inspection,
            )?;
            (OuterKind::Holdout { share: share.value }, 1)
        }
        (None, None) => {
            if !section.is_misspelt("folds") && !section.is_misspelt("holdout") {
                let message = "inner does not say how training rows are divided";
                let help = "write inner = { folds = 3 } or inner = { holdout = 0.25 }";
                inspection.refuse(&item.span, message, help);
            }
            return None;
        }
    };
    Some(InnerDraft { span: item.span.clone(), kind, folds, select })
}

/// Seeds that choose for all others.
pub(super) fn tune(seeds: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<At<u32>> {
    let tune = seeds.find("tune")?.whole(1..=TUNE_MAX, inspection)?;
    Some(At { value: tune.value as u32, span: tune.span })
}

const TUNE_MAX: i64 = 1_000;
