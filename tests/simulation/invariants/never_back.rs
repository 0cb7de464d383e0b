//! R7: an operator never sees undone what it was shown, and a fresh answer has seen all that was
//! acknowledged to anybody before it was asked.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::StudyId;
use common::wire::message::{Response, StudyStatus, ToAgent};
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen};
use crate::simulation::operators::Task;

type Counts = BTreeMap<StudyId, (u64, u64, u64, u64)>;

pub struct NeverBack {
    /// What each entry left, as far as it was looked at.
    states: BTreeMap<u64, Counts>,
    /// The highest entry that anybody was told of.
    told: u64,
    /// Of what each operator asks: what was told to anybody when it asked first.
    asked: BTreeMap<usize, u64>,
}

impl NeverBack {
    pub fn new(_: &Plan) -> Self {
        Self { states: BTreeMap::new(), told: 0, asked: BTreeMap::new() }
    }
}

fn counts(state: &State) -> Counts {
    let studies = state.studies.iter();
    studies.map(|(id, r)| (*id, (r.trained(), r.complete, r.failed, r.given_up()))).collect()
}

fn of_status(studies: &[StudyStatus]) -> Counts {
    studies.iter().map(|s| (s.id, (s.planned, s.complete, s.failed, s.cancelled))).collect()
}

fn tells(response: &Response) -> bool {
    !matches!(response, Response::Elsewhere { .. } | Response::Refused { .. })
}

impl Invariant for NeverBack {
    const RULE: &'static str = "R7: reads never go back, and a fresh one is from no past";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { node, .. } => {
                let state = node.state();
                self.states.entry(state.applied).or_insert_with(|| counts(state));
            }
            Seen::ToAgent { node, message: ToAgent::Acknowledge { .. }, .. } => {
                self.told = self.told.max(node.state().applied);
            }
            Seen::Answers { answer, .. } if tells(&answer.response) => {
                self.told = self.told.max(answer.applied);
            }
            Seen::Asks { operator, first: true } => {
                self.asked.insert(*operator, self.told);
            }
            Seen::Answered { operator, task, answer, seen } => {
                if matches!(answer.response, Response::Refused { .. }) {
                    return Ok(());
                }
                if answer.applied < *seen && matches!(task, Task::Status { .. }) {
                    return Err(format!(
                        "operator {operator} had seen entry {seen}, and is answered from entry {}",
                        answer.applied
                    ));
                }
                let before = self.asked.get(operator).copied().unwrap_or_default();
                if matches!(task, Task::Status { fresh: true }) && answer.applied < before {
                    return Err(format!(
                        "a fresh answer is from entry {}, and {before} was told before it was asked",
                        answer.applied
                    ));
                }
                if let Response::Status { studies } = &answer.response
                    && let Some(truth) = self.states.get(&answer.applied)
                    && *truth != of_status(studies)
                {
                    return Err(format!("an answer at entry {} is not its state", answer.applied));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
