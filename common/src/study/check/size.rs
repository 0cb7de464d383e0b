//! How many trials a study asks for, before any of them exists.
//!
//! Floor: common.

use std::ops::Range;

use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, Draft};
use super::super::{Model, Outer, Study};
use crate::design::Design;
use crate::wire::codec;
use crate::wire::frame::FRAME_MAX;

/// Refuses designs of more than [`TRIALS_MAX`] trials, and spaces of more than [`CONFIGS_MAX`].
pub(super) fn check(draft: &Draft, outer: Option<&Outer>, inspection: &mut Inspection<'_>) {
    let judged: Vec<&ArmDraft> =
        draft.arms.iter().filter(|arm| arm.model != Model::Constant).collect();
    let configs = configs(&judged);
    let mut factors: Vec<(u128, &str, &Range<usize>)> = Vec::new();
    if let Some(seeds) = &draft.seeds {
        for factor in &seeds.factors {
            factors.push((u128::from(factor.count), &factor.name, &seeds.span));
        }
    }
    if let (Some(outer), Some(written)) = (outer, &draft.outer) {
        factors.push((u128::from(outer.partitions), "partition", &written.span));
        factors.push((u128::from(outer.folds), "outer fold", &written.span));
    }
    let largest_arm = judged.iter().max_by_key(|arm| arm.count());
    if let Some(arm) = largest_arm {
        factors.push((configs, "config", &arm.space.span));
    }
    let trials = factors.iter().fold(1u128, |product, &(count, ..)| product.saturating_mul(count));
    if trials > TRIALS_MAX {
        let words: Vec<String> =
            factors.iter().map(|&(count, word, _)| counted(count, word)).collect();
        let message = format!(
            "{} trials are more than {}: {}",
            grouped(trials),
            grouped(TRIALS_MAX),
            words.join(" × ")
        );
        let largest = factors.iter().max_by_key(|&&(count, ..)| count);
        let span = largest.map_or(0..0, |&(_, _, span)| span.clone());
        inspection.refuse(&span, message, "make the largest of these factors smaller");
    } else if let Some(permuted) =
        draft.controls.permuted.as_ref().filter(|_| 2 * configs > CONFIGS_MAX)
        && configs <= CONFIGS_MAX
    {
        let message = format!(
            "{} configs, each again in a permuted control, are more than {}",
            grouped(configs),
            grouped(CONFIGS_MAX)
        );
        inspection.refuse(&permuted.span, message, "make the spaces smaller, or take it out");
    } else if let Some(arm) = largest_arm.filter(|_| configs > CONFIGS_MAX) {
        let message =
            format!("{} configs are more than {}", grouped(configs), grouped(CONFIGS_MAX));
        inspection.refuse(
            &arm.space.span,
            message,
            "every config is trained; make the space smaller",
        );
    }
}

/// Refuses a design that only its inner folds and controls make too large.
pub(super) fn check_controls(study: &Study, span: &Range<usize>, inspection: &mut Inspection<'_>) {
    let design = Design::of(study);
    let trials = design.trials().map_or(u128::MAX, u128::from);
    if trials > TRIALS_MAX {
        let message = format!(
            "{} trials are more than {}, inner folds and controls counted",
            grouped(trials),
            grouped(TRIALS_MAX)
        );
        let help = "make the design or the spaces smaller, or ask for fewer controls; with inner \
                    folds, tune = 2 in [seeds] lets two seeds choose for all";
        inspection.refuse(span, message, help);
    }
}

/// Refuses a study that no frame would hold, its text beside it, and all that its searches may propose.
pub(super) fn check_travels(study: &Study, inspection: &mut Inspection<'_>) {
    let bytes = codec::encode(study).map_or(usize::MAX, |bytes| bytes.len()) as u64;
    let room = FRAME_MAX.saturating_sub(inspection.text().len() + FRAME_SPARE) as u64;
    let at_most = study.bytes_at_most();
    if bytes > room {
        let message = format!(
            "the study takes {} bytes, and {} are left beside its text",
            grouped(bytes.into()),
            grouped(room.into())
        );
        let help = "make the arms' spaces, their files or the notes smaller";
        inspection.refuse(&(0..0), message, help);
    } else if at_most > room {
        let message = format!(
            "with all that its searches may propose the study takes up to {} bytes, and {} are left \
             beside its text",
            grouped(at_most.into()),
            grouped(room.into())
        );
        let help = "write fewer `configs`, or let few seeds choose for all: tune = 2 in [seeds]";
        inspection.refuse(&(0..0), message, help);
    }
}

/// Configs of all judged arms together.
fn configs(arms: &[&ArmDraft]) -> u128 {
    arms.iter().map(|arm| arm.count()).sum()
}

fn counted(count: u128, word: &str) -> String {
    format!("{} {word}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Digits in groups of three: `10,000,000`.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes of a frame that are not the study or its text.
const FRAME_SPARE: usize = 1 << 10;
const TRIALS_MAX: u128 = 10_000_000;
/// A study travels with its configs written out.
const CONFIGS_MAX: u128 = 5_000;
