//! Whether the study's rule for stopping means something.
//!
//! Floor: common.

use super::super::finding::Inspection;
use super::super::grammar::Draft;
use super::super::{Model, Stop, Study};

/// The rule, as written; refuses what no study can follow.
pub(super) fn stop(draft: &Draft, inspection: &mut Inspection<'_>) -> Option<Stop> {
    let written = draft.stop.as_ref()?;
    let judged = draft.arms.iter().filter(|arm| arm.model != Model::Constant).count();
    if judged == 1 {
        let message = "[stop] compares arms, and there is one";
        let help = "add the arm that it should be better than, or take the table out";
        inspection.refuse(&written.span, message, help);
    }
    if draft.seeds.as_ref().is_some_and(|seeds| seeds.factors.len() > 1) {
        let message = "[stop] buys seeds one by one, and these are crossed factors";
        let help = "write count = 20 in [seeds] instead of `apart`, or take [stop] out";
        inspection.refuse(&written.span, message, help);
    }
    let learns = draft.arms.iter().any(|arm| arm.learns().is_some() || arm.halving().is_some());
    if learns && draft.seeds.as_ref().is_some_and(|seeds| seeds.tune.is_none()) {
        let message = "[stop] buys seeds one by one, and a search that goes by scores would begin anew with each";
        let help = "write tune = 2 in [seeds]: two seeds then choose for all others";
        inspection.refuse(&written.span, message, help);
    }
    let one_fold = draft.outer.as_ref().is_some_and(|outer| outer.is_one_fold());
    if written.stop.sample && one_fold {
        let message = "target = \"sample\" needs several outer folds, and there is one";
        let help = "ask for folds or repeats, or write target = \"seeds\"";
        inspection.refuse(&written.span, message, help);
    }
    let stop = Stop { race: written.race.unwrap_or(judged > 2), ..written.stop };
    let ends = stop.difference || stop.race || stop.half_width.is_some() || stop.rope.is_some();
    if !ends && stop.hopeless.is_none() && stop.worth.is_none() {
        let message = "[stop] says nothing that could end the study";
        let help = "write half_width = 0.005 or rope = 0.01, or leave difference = true";
        inspection.refuse(&written.span, message, help);
    }
    Some(stop)
}

/// What the rule means for this study.
pub(super) fn notes(study: &Study) -> Option<String> {
    let stop = study.budget.stop?;
    let seeds = study.seeds.factors.first().map_or(1, |factor| factor.count);
    Some(if stop.first >= seeds {
        format!(
            "[stop] looks for the first time after {} seeds, and there are {seeds}: all are trained; \
             raise count, or write first = 3 in [stop]",
            stop.first
        )
    } else {
        format!(
            "[stop]: between {} and {seeds} seeds are trained, as many as the answer needs",
            stop.first
        )
    })
}
