//! Whether searches that learn have something to learn from, and something to find.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, Draft};
use super::super::halving::{ASHA, HALVING};
use super::super::{Arm, Halving, Model, Race, Select, Study};
use crate::design::Design;

/// Refuses searches that learn in a study whose only scores are those of test rows, and races that could
/// drop nothing.
pub(super) fn check(draft: &Draft, inspection: &mut Inspection<'_>) {
    check_races(draft, inspection);
    if draft.outer.as_ref().is_none_or(|outer| outer.inner.is_some()) {
        return;
    }
    for arm in &draft.arms {
        let halves = arm.search.as_ref().and_then(|search| search.value.halving.as_ref());
        let halves = halves.map(|halved| if halved.at_once { ASHA } else { HALVING });
        let name = arm.learns().map(|method| method.name()).or(halves);
        if let (Some(name), Some(search)) = (name, &arm.search) {
            let message = format!(
                "{name} learns from scores, and without inner folds the only ones are those of test rows"
            );
            let help = "write inner = { folds = 3 } in [split], or method = \"sobol\"";
            inspection.refuse(&search.span, message, help);
        }
    }
}

/// Refuses races that no score on an inner fold decides, that nobody looks at before they are over, or that
/// go by means where the choice does not.
fn check_races(draft: &Draft, inspection: &mut Inspection<'_>) {
    let Some(outer) = &draft.outer else { return };
    let tune = draft.seeds.as_ref().and_then(|seeds| seeds.tune.as_ref());
    let tunes = tune.map_or(0, |tune| tune.value);
    let mut select = outer.inner.as_ref().map(|inner| &inner.select);
    for arm in &draft.arms {
        let Some(race) = &arm.race else { continue };
        let first = race.value.first;
        if outer.inner.is_none() {
            let message = "a race drops configs by their scores on inner folds, and there are none";
            let help = format!(
                "write inner = {{ folds = 3 }} in [split] and tune = {} in [seeds], or take `race` out",
                first + ROOM
            );
            inspection.refuse(&race.span, message, help);
        } else if tunes <= first && draft.seeds.is_some() {
            let there = match tunes {
                0 => "no seeds of their own choose".to_string(),
                1 => "there is 1".to_string(),
                tunes => format!("there are {tunes}"),
            };
            let message = format!(
                "the race looks for the first time after {first} tuning seeds, and {there}: nothing would \
                 be dropped"
            );
            let mut help = format!("write tune = {} or more in [seeds]", first + ROOM);
            if tunes > 2 {
                help += &format!(", or first = {}", tunes - 1);
            }
            inspection.refuse(&race.span, message, help);
        }
        if let Some(other) = select.take_if(|select| select.value != Select::Best) {
            let message = format!(
                "a race drops by the mean of the scores, and select = {:?} chooses otherwise",
                other.value.name()
            );
            inspection.refuse(&other.span, message, "write select = \"best\", or take `race` out");
        }
    }
}

/// Refuses searches that learn and have nothing to choose from. `arms`: with their configs drawn.
pub(super) fn check_drawn(arms: &[ArmDraft], inspection: &mut Inspection<'_>) {
    check_halved(arms, inspection);
    for arm in arms.iter().filter(|arm| arm.points.len() < 2) {
        if let Some(race) = &arm.race {
            let message = "a race needs two configs, and this space has one";
            inspection.refuse(&race.span, message, "make the space larger, or take `race` out");
        }
    }
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
            let message =
                format!("{} decides for how many epochs each config is trained", halving.name());
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
    if halving.at_once {
        let later = || 1..halving.rungs;
        let until: Vec<String> =
            later().map(|rung| halving.epochs(rung, epochs).to_string()).collect();
        let kept: Vec<String> = later().map(|rung| halving.kept(rung).to_string()).collect();
        return format!(
            "arm {:?}: of each choice {}, and go on to {} as soon as they are among the best one in {} of \
             those that are scored there: {} of them or some more",
            arm.name,
            rung(0),
            until.join(", "),
            halving.factor,
            kept.join(", ")
        );
    }
    let rungs: Vec<String> = (0..halving.rungs).map(rung).collect();
    format!("arm {:?}: of each choice {}", arm.name, rungs.join(", "))
}

/// What a race may save.
fn race_in_words(study: &Study, design: &Design, number: u32, race: Race) -> String {
    let arm = &study.arms[number as usize];
    let folds = study.outer.inner.as_ref().map_or(1, |inner| inner.folds);
    let each = u64::from(race.first * folds) * arm.configs.len() as u64;
    let least = design.choices_of(number) * each;
    format!(
        "arm {:?}: its {} configs race; after {} of {} tuning seeds, and after each further one, those are \
         dropped that cannot be their choice's best (level {}): between {least} and {} trainings choose",
        arm.name,
        arm.configs.len(),
        race.first,
        design.tuning_seeds(),
        // 1 − alpha, without what rounding adds.
        ((1.0 - race.alpha) * 1e9).round() / 1e9,
        design.choosing_trials(number)
    )
}

/// What is worth saying of each search that learns, halves or races.
pub(super) fn notes(study: &Study, drafts: &[ArmDraft]) -> Vec<String> {
    let design = Design::of(study);
    let arms = (0u32..).zip(study.judged());
    let noted = arms.filter_map(|(number, arm)| {
        if let Some(halving) = arm.halving {
            return Some(rungs_in_words(arm, halving));
        }
        if let Some(race) = arm.race {
            return Some(race_in_words(study, &design, number, race));
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
/// Tuning seeds beyond the first look that make a race worth its while.
const ROOM: u32 = 5;
