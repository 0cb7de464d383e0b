//! Makes a failing schedule shorter: without some of its faults, it must break the same rule.
//!
//! Floor: wiring.

use super::plan::{Ambient, Plan};
use super::{Violation, play_plan};

/// The shortest schedule found that breaks the same rule, with its violation.
pub fn shrink(plan: &Plan, violation: &Violation) -> (Plan, Violation) {
    let mut best = (plan.clone(), violation.clone());
    let try_one = |best: &mut (Plan, Violation), candidate: Plan| match play_plan(&candidate, false)
    {
        Err(found) if found.rule == best.1.rule => {
            *best = (candidate, *found);
            true
        }
        _ => false,
    };
    // Halves first, then single faults: what is left is needed, each by itself.
    let mut size = best.0.faults.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < best.0.faults.len() {
            let mut candidate = best.0.clone();
            candidate.faults.drain(from..(from + size).min(candidate.faults.len()));
            if !try_one(&mut best, candidate) {
                from += size;
            }
        }
        size /= 2;
    }
    let quiet: [fn(&mut Ambient); 4] =
        [|a| a.drop = 0, |a| a.double = 0, |a| a.spike = 0, |a| a.breaks = 0];
    for calm in quiet {
        let mut candidate = best.0.clone();
        calm(&mut candidate.ambient);
        try_one(&mut best, candidate);
    }
    for simpler in [
        |plan: &mut Plan| plan.poison = None,
        |plan: &mut Plan| plan.diverges = 0,
        |plan: &mut Plan| plan.errs = 0,
        |plan: &mut Plan| plan.liars.fill(false),
    ] {
        let mut candidate = best.0.clone();
        simpler(&mut candidate);
        try_one(&mut best, candidate);
    }
    best
}

/// What to tell of a failed schedule: the rule, the faults that are needed, how to play it again, and
/// what happened.
pub fn tell(plan: &Plan, violation: &Violation) -> String {
    let (shorter, found) = shrink(plan, violation);
    let told = match play_plan(&shorter, true) {
        Err(told) => *told,
        Ok(_) => found,
    };
    let faults: Vec<String> =
        shorter.faults.iter().map(|(at, fault)| format!("{at:>7} ms  {fault}")).collect();
    let transcript = told.transcript;
    let from = transcript.len().saturating_sub(LINES_TOLD);
    format!(
        "seed {}: {} — {}\nat {} ms; play it again with\n  {}\n{} of {} faults are needed:\n{}\n\
         {} replicas, {} agents, {:?}\nwhat happened:\n{}",
        violation.seed,
        violation.rule,
        violation.what,
        violation.at,
        plan.command(),
        shorter.faults.len(),
        plan.faults.len(),
        faults.join("\n"),
        plan.replicas,
        plan.agents,
        shorter.ambient,
        transcript[from..].join("\n")
    )
}

const LINES_TOLD: usize = 120;
