//! A trial that is trained again was complete, and comes out as before, unless an agent lies.
//!
//! Floor: wiring.

use common::wire::message::{RepeatState, Response};

use super::{Invariant, Plan, Seen, World};
use crate::simulation::operators::Task;

pub struct RepeatsAgree {
    lies: bool,
    /// Trials that came out as before.
    same: u64,
    /// Pairs of outcomes that differ, which must be findings in the end.
    differ: u64,
}

impl RepeatsAgree {
    pub fn new(plan: &Plan) -> Self {
        Self { lies: plan.liars.iter().any(|lies| *lies), same: 0, differ: 0 }
    }

    /// Trials that were trained again to an end.
    pub fn ended(&self) -> u64 {
        self.same + self.differ
    }
}

impl Invariant for RepeatsAgree {
    const RULE: &'static str = "R14: a trial that is trained again comes out as before";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Answered { task: Task::Verify { .. }, answer, .. } = seen else {
            return Ok(());
        };
        let Response::Repeats(repeats) = &answer.response else { return Ok(()) };
        for repeat in &repeats.trials {
            match &repeat.state {
                RepeatState::Done { difference: None, .. } => self.same += 1,
                RepeatState::Done { .. } if !self.lies => {
                    let trial = repeat.trial;
                    return Err(format!("trial {trial} came out otherwise, and no agent lies"));
                }
                RepeatState::Done { .. } => self.differ += 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let states = world.replicas.iter().filter_map(|replica| replica.process.as_ref());
        let latest = states.map(|process| process.node.state()).max_by_key(|state| state.applied);
        let studies = latest.iter().flat_map(|state| state.studies.values());
        let findings: u64 = studies.map(|record| record.differing).sum();
        if self.differ > 0 && findings == 0 {
            return Err(format!("{} outcomes came out otherwise, and none is found", self.differ));
        }
        Ok(())
    }
}
