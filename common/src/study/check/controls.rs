//! Which controls a study gets, and whether it can have them.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::{ArmDraft, ControlsDraft, Draft};
use super::super::{Arm, ArmConfig, CONSTANT, Control, Format, Hyper, Model, PERMUTED, Study};
use crate::label::Requires;
use crate::name::NAME_MAX;
use crate::space::Config;
use crate::table::can_be_relabelled;

/// Refuses arms that are controls alone, and controls without a name of their own.
pub(super) fn check(draft: &Draft, inspection: &mut Inspection<'_>) {
    let mut constants = draft.arms.iter().filter(|arm| arm.model == Model::Constant);
    if let Some(first) = constants.next() {
        if draft.arms.iter().all(|arm| arm.model == Model::Constant) {
            let help = "add for example: [arms.mlp] with model = \"mlp\"";
            let message = "no arm learns anything: a constant is what others are held against";
            inspection.refuse(&first.name.span, message, help);
        }
        for more in constants {
            let message = format!("{:?} says what {:?} says", more.name.value, first.name.value);
            inspection.refuse(&more.name.span, message, "one constant is enough; take it out");
        }
    }
    let Some(permuted) = &draft.controls.permuted else { return };
    for arm in draft.arms.iter().filter(|arm| arm.model != Model::Constant) {
        let name = permuted_name(&arm.name.value);
        let same = |other: &&ArmDraft| other.name.value.eq_ignore_ascii_case(&name);
        if let Some(other) = draft.arms.iter().find(same) {
            let message = format!("{:?} is what a permuted control is called", other.name.value);
            inspection.refuse(&other.name.span, message, "give the arm another name");
        } else if name.len() > NAME_MAX && arm.name.value.len() <= NAME_MAX {
            let most = NAME_MAX - PERMUTED.len();
            let message =
                format!("{:?} is too long a name for its permuted control", arm.name.value);
            let help = format!("give it at most {most} letters, or take `permuted` out");
            inspection.refuse(&permuted.span, message, help);
        }
    }
}

/// The arms as written, judged ones first, and their controls behind them. A program reads its labels
/// itself, so that they must be exchanged in its data. `requires`: of whoever trains any arm.
pub(super) fn beside(
    written: Vec<Arm>,
    (wanted, requires): (&ControlsDraft, &Requires),
    (format, segmentation): (&Format, bool),
) -> Vec<Arm> {
    let (mut arms, mut controls): (Vec<Arm>, Vec<Arm>) =
        written.into_iter().partition(|arm| arm.control().is_none());
    let named = arms.iter().any(|arm| arm.name.eq_ignore_ascii_case(CONSTANT));
    if wanted.constant && controls.is_empty() && !named {
        controls.push(Arm { requires: requires.clone(), ..constant() });
    }
    if let Some(repeats) = &wanted.permuted {
        let can =
            |arm: &Arm| arm.model != Model::Program || can_be_relabelled(format, segmentation);
        let repeated = (0..).zip(&arms).filter(|(_, arm)| can(arm));
        controls.extend(repeated.map(|(of, arm)| permuted(of, arm, repeats.value)));
    }
    arms.append(&mut controls);
    arms
}

/// What is worth saying of a study's controls.
pub(super) fn notes(study: &Study) -> Vec<String> {
    let mut notes = Vec::new();
    let called = |arm: &&Arm| arm.name.eq_ignore_ascii_case(CONSTANT);
    if let Some(arm) = study.judged().iter().find(called) {
        notes.push(format!(
            "arm {:?} is called like the constant control and is none, so none was added",
            arm.name
        ));
    }
    let seeds: u64 = study.seeds.factors.iter().map(|factor| u64::from(factor.count)).product();
    let asked = study.arms.iter().find_map(|arm| match arm.control() {
        Some(Control::Permuted { repeats, .. }) => Some(u64::from(repeats)),
        _ => None,
    });
    if let Some(asked) = asked.filter(|asked| *asked > seeds) {
        notes.push(format!(
            "permuted = {asked} is more than the seeds there are: permuted controls are trained with \
             {seeds}"
        ));
    }
    notes
}

fn constant() -> Arm {
    Arm {
        name: CONSTANT.to_string(),
        model: Model::Constant,
        written: format!("model = {:?}", Model::Constant.name()),
        configs: vec![ArmConfig { point: Config::default(), hyper: Hyper::none() }],
        learned: None,
        halving: None,
        race: None,
        requires: Requires::default(),
    }
}

/// The same arm, written otherwise, so that its trials have digests of their own.
fn permuted(of: u32, arm: &Arm, repeats: u32) -> Arm {
    Arm {
        name: permuted_name(&arm.name),
        model: Model::Permuted { of, repeats },
        written: format!("{}\nlabels = \"permuted\"", arm.written),
        configs: arm.configs.clone(),
        learned: arm.learned.clone(),
        halving: arm.halving,
        race: arm.race,
        requires: arm.requires.clone(),
    }
}

fn permuted_name(arm: &str) -> String {
    format!("{arm}{PERMUTED}")
}
