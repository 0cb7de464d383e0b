//! Whether searches that learn have something to learn from, and something to find.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, Draft};
use super::super::{Arm, Halving, Model, Study};
use crate::design::Design;

/// Refuses searches that learn in a study whose only scores are those of test rows.
pub(super) fn check(draft: &Draft, inspection: &mut Inspection<'_>) {
    if draft.outer.as_ref().is_none_or(|outer| outer.inner.is_some()) {
        return;
    }
    for arm in &draft.arms {
        let halves = arm.search.as_ref().and_then(|search| search.value.halving.as_ref());
        let name = arm.learns().map(|method| method.name()).or(halves.map(|_| "halving"));
        if let (Some(name), Some(search)) = (name, &arm.search) {
            let message = format!(
                "{name} learns from scores, and without inner folds the only ones are those of test rows"
            );
            let help = "write inner = { folds = 3 } in [split], or method = \"sobol\"";
            inspection.refuse(&search.span, message, help);
        }
    }
}

/// Refuses searches that learn and have nothing to choose from. `arms`: with their configs drawn.
pub(super) fn check_drawn(arms: &[ArmDraft], inspection: &mut Inspection<'_>) {
    check_halved(arms, inspection);
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

/// Refuses halvings without a rung to go on to, or whose configs train for different epochs.
fn check_halved(arms: &[ArmDraft], inspection: &mut Inspection<'_>) {
    for arm in arms {
        let (Some(halving), Some(search)) = (arm.halving(), &arm.search) else { continue };
        let Some(halved) = &search.value.halving else { continue };
        if arm.model == Model::Program {
            let message = "a program is not stopped at an epoch, and so cannot be halved";
            inspection.refuse(&search.span, message, "write method = \"random\" or \"tpe\"");
            continue;
        }
        if arm.space.value.axes.iter().any(|(name, _)| name == "epochs") {
            let message = "halving decides for how many epochs each config is trained";
            let help = "take `epochs` out of the space; the arm's own are those of the last rung";
            inspection.refuse(&arm.space.span, message, help);
            continue;
        }
        let (configs, epochs) = (halving.configs, arm.fixed.epochs);
        let most = Halving::most_rungs(configs, halving.factor, epochs);
        if halving.rungs < 2 || halving.rungs > most {
            let message = format!(
                "{configs} configs of {epochs} epochs, of which one in {} goes on for as many times the \
                 epochs, have at most {most} rungs",
                halving.factor
            );
            let help =
                "ask for fewer rungs, or for more configs or epochs, or for a smaller factor";
            let span = halved.rungs.as_ref().map_or(&search.span, |rungs| &rungs.span);
            inspection.refuse(span, message, help);
        }
    }
}

/// How many configs of a halved arm are trained for how long.
fn rungs_in_words(arm: &Arm, halving: Halving) -> String {
    let epochs = arm.configs.last().map_or(0, |config| config.hyper.epochs);
    let rung = |rung: u32| {
        let (kept, until) = (halving.kept(rung), halving.epochs(rung, epochs));
        let counted = if until == 1 { "epoch" } else { "epochs" };
        match rung {
            0 => format!("{kept} configs train for {until} {counted}"),
            _ => format!("the best {kept} of them for {until}"),
        }
    };
    let rungs: Vec<String> = (0..halving.rungs).map(rung).collect();
    format!("arm {:?}: of each choice {}", arm.name, rungs.join(", "))
}

/// What is worth saying of each search that learns.
pub(super) fn notes(study: &Study, drafts: &[ArmDraft]) -> Vec<String> {
    let design = Design::of(study);
    let arms = (0u32..).zip(study.judged());
    let noted = arms.filter_map(|(number, arm)| {
        if let Some(halving) = arm.halving {
            return Some(rungs_in_words(arm, halving));
        }
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
