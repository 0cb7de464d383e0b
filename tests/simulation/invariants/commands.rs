//! R12: a command is done once, however often it is asked for; a study submitted again is the same.
//!
//! Floor: wiring.

use std::collections::BTreeSet;

use common::wire::message::Response;

use super::{Invariant, Plan, Seen};
use crate::simulation::operators::Task;

pub struct CommandsOnce {
    submitted: BTreeSet<usize>,
    /// Refused for a reason of the moment, while an earlier try may still be on its way.
    refused: BTreeSet<usize>,
}

impl CommandsOnce {
    pub fn new(_: &Plan) -> Self {
        Self { submitted: BTreeSet::new(), refused: BTreeSet::new() }
    }
}

impl Invariant for CommandsOnce {
    const RULE: &'static str = "R12: a command asked for again is done once and answered alike";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Answered { task, answer, .. } = seen else { return Ok(()) };
        match (task, &answer.response) {
            // Nobody else knows the token: it is there, and it goes once.
            (Task::RevokeToken(token), response) if *response != Response::Done => {
                Err(format!("token {token} was revoked once, and the answer is {response:?}"))
            }
            (Task::Submit(number), Response::Submitted { study, known }) => {
                let new = self.submitted.insert(*number);
                if new == *known && !self.refused.remove(number) {
                    return Err(format!("study {study} is submitted, and known: {known}"));
                }
                Ok(())
            }
            (Task::Submit(number), Response::Refused { .. }) => {
                self.refused.insert(*number);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
