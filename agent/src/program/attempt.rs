//! One attempt at a trial by a program, from its folder to its ending.
//!
//! Floor: shell.

use std::sync::Arc;

use common::id::TrialIndex;
use common::trial::{Ending, FailReason, Outcome};

use super::curve::Told;
use super::place::Place;
use super::results::{self, Failure};
use super::watch::{Ran, Watched};
use super::{Live, Programs, locked, scores};
use crate::driver::Job;

/// Runs the program of a trial: how it ended, or `None` when it was stopped.
pub(super) fn run(
    programs: &Programs,
    job: &Job,
    trial: TrialIndex,
    stop: &dyn Fn() -> bool,
) -> Option<Ending> {
    let live = programs.begin(job, trial);
    let (number, card) = programs.take_place();
    let made = Place::make(programs, job, trial, card);
    let ended = match &made {
        Ok(place) => outcome(programs, job, trial, place, &live, stop),
        Err(why) => Some(Err((FailReason::Error, why.clone()))),
    };
    programs.leave_place(number);
    let ending = ended.map(|ended| match ended {
        Ok(outcome) => Ending::Complete(outcome),
        Err((reason, detail)) => Ending::Failed { reason, detail },
    });
    let state = match &ending {
        None => "stopped".to_string(),
        Some(Ending::Complete(_)) => "complete".to_string(),
        Some(Ending::Failed { reason, detail }) => format!("failed ({}): {detail}", reason.name()),
    };
    if let Ok(place) = made
        && let Err(error) = programs.tidy(&place, ending.as_ref(), &state)
    {
        tracing::warn!(%error, "the folder of an attempt could not be put away");
    }
    programs.end(job, trial, &live, &state);
    ending
}

fn outcome(
    programs: &Programs,
    job: &Job,
    trial: TrialIndex,
    place: &Place,
    live: &Arc<Live>,
    stop: &dyn Fn() -> bool,
) -> Option<Result<Outcome, Failure>> {
    let error = |detail: String| Some(Err((FailReason::Error, detail)));
    let memory_bytes = u64::from(place.memory_mib) << 20;
    let name = format!("{}-{trial}-{}-{}", job.id, job.lease.term, job.lease.counter);
    let group = match &programs.cgroups {
        Ok(delegated) => match delegated.group(&name, memory_bytes) {
            Ok(group) => Some(group),
            Err(why) => return error(format!("its control group cannot be made: {why}")),
        },
        Err(_) => None,
    };
    let told = Told::of(job.study.primary().name());
    let mut watched = match Watched::start(place, group, live, told) {
        Ok(watched) => watched,
        Err(why) => return error(format!("the program cannot be started: {why}")),
    };
    let ran = watched.run(stop);
    let last = watched.last_line();
    let curve = watched.curve().map(Box::new);
    drop(watched);
    let words = locked(&live.tail).text();
    if ran.was_stopped(&|| programs.leaves()) {
        return None;
    }
    Some(match ran {
        Ran::Stopped => return None,
        Ran::TimeLimit => {
            let detail = format!("it was ended after its {} s", place.time_limit_s);
            Err((FailReason::TimeLimit, detail))
        }
        Ran::Memory { used_mib } => {
            let allowed = place.memory_mib;
            let detail = format!("its processes held {used_mib} MiB, and {allowed} are allowed");
            Err((FailReason::OutOfMemory, detail))
        }
        Ran::Exited { exit, memory_ran_out } => results::ended_well(exit, memory_ran_out, &words)
            .and_then(|()| results::metrics(&job.study, last))
            .and_then(|(metrics, epochs)| {
                let read = scores::read(&place.files, place.test_rows);
                let rows = read.map_err(|why| (FailReason::Error, why))?;
                let keeps = job.study.keeps_rows() && !place.chooses;
                let rows = if keeps { rows } else { Vec::new() };
                let device = String::new();
                Ok(Outcome { metrics, rows, epochs, duration_us: 0, device, curve })
            }),
    })
}
