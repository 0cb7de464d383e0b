//! Whether searches that learn have something to learn from, and something to find.
//!
//! Floor: common.

use super::super::Study;
use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, Draft};
use crate::design::Design;

/// Refuses searches that learn in a study whose only scores are those of test rows.
pub(super) fn check(draft: &Draft, inspection: &mut Inspection<'_>) {
    if draft.outer.as_ref().is_none_or(|outer| outer.inner.is_some()) {
        return;
    }
    for arm in &draft.arms {
        if let (Some(method), Some(search)) = (arm.learns(), &arm.search) {
            let message = format!(
                "{} learns from scores, and without inner folds the only ones are those of test rows",
                method.name()
            );
            let help = "write inner = { folds = 3 } in [split], or method = \"sobol\"";
            inspection.refuse(&search.span, message, help);
        }
    }
}

/// Refuses searches that learn and have nothing to choose from. `arms`: with their configs drawn.
pub(super) fn check_drawn(arms: &[ArmDraft], inspection: &mut Inspection<'_>) {
    for arm in arms.iter().filter(|arm| arm.points.len() < 2) {
        if let (Some(method), Some(search)) = (arm.learns(), &arm.search) {
            let message = format!("{} has nothing to learn: it may try one config", method.name());
            inspection.refuse(
                &search.span,
                message,
                "write at least configs = 2 and a larger space",
            );
        }
    }
}

/// What is worth saying of each search that learns.
pub(super) fn notes(study: &Study, drafts: &[ArmDraft]) -> Vec<String> {
    let design = Design::of(study);
    let arms = (0u32..).zip(study.judged());
    let noted = arms.filter_map(|(number, arm)| {
        let (learned, tries) = (arm.learned.as_ref()?, arm.configs.len());
        let choices = match design.choices_of(number) {
            1 => "its one choice".to_string(),
            choices => format!("each of its {choices} choices"),
        };
        let draft = drafts.iter().find(|draft| draft.name.value == arm.name);
        let asked = draft.and_then(|draft| draft.search.as_ref()).map(|search| search.value.configs);
        let fewer = match asked.filter(|asked| *asked as usize > tries) {
            Some(asked) => format!(" (all that its space has, and not {asked})"),
            None => String::new(),
        };
        Some(format!(
            "arm {:?}: {} proposes {tries} configs for {choices}{fewer}, one after another while the \
             study runs",
            arm.name,
            learned.method.name()
        ))
    });
    noted.collect()
}
