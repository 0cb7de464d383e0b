//! R11: where nothing goes wrong nothing is trained twice, taken away, or counted as a failure.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::{StudyId, TrialIndex};

use super::{Invariant, Plan, Seen, World};

pub struct NoWaste {
    is_calm: bool,
    trained: BTreeMap<(StudyId, TrialIndex), u64>,
    lies: bool,
}

impl NoWaste {
    pub fn new(plan: &Plan) -> Self {
        Self {
            is_calm: plan.is_calm,
            trained: BTreeMap::new(),
            lies: plan.liars.iter().any(|lies| *lies),
        }
    }

    pub fn trials(&self) -> u64 {
        self.trained.len() as u64
    }

    /// Trainings beyond one a trial.
    pub fn again(&self) -> u64 {
        self.trained.values().sum::<u64>() - self.trials()
    }
}

impl Invariant for NoWaste {
    const RULE: &'static str = "R11: without faults nothing is trained twice and nothing is fenced";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Trains { agent, attempt } => {
                let count = self.trained.entry((attempt.study, attempt.trial)).or_default();
                *count += 1;
                if self.is_calm && *count > 1 {
                    return Err(format!(
                        "agent {agent} trains {attempt:?}, which was trained before"
                    ));
                }
            }
            Seen::Stopped { lease } if self.is_calm => {
                return Err(format!("what is trained under lease {lease} is stopped"));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for replica in &world.replicas {
            let Some(process) = &replica.process else { continue };
            for (study, record) in &process.node.state().studies {
                if self.is_calm && !record.failures.is_empty() {
                    return Err(format!("{study}: attempts failed: {:?}", record.failures));
                }
                if !self.lies && record.differing > 0 {
                    let found = &record.violations;
                    return Err(format!("{study}: outcomes differ, and no agent lies: {found:?}"));
                }
            }
        }
        Ok(())
    }
}
