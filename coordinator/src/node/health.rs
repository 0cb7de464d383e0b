//! Agents on which everything fails, while others complete what they are given.
//!
//! Such an agent is set aside: it is granted nothing until its process starts anew. A study at which
//! every agent fails sets nobody aside: there the study is at fault, and its trials fail with their
//! reasons. Soft state: a new leader judges anew.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::id::{MemberId, StudyId, TrialIndex};
use common::trial::{Attempt, FailReason};
use common::wire::message::RowEnd;

use super::{Node, logged};
use crate::scheduler::Ended;

/// Failures of one agent since it last completed a trial.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Of the agent's process.
    life: u64,
    in_a_row: u32,
    trials: BTreeSet<(StudyId, TrialIndex)>,
    /// When the row began: at which study, and how many of its trials agents had completed.
    began: Option<(StudyId, u64)>,
    /// Why it is granted nothing.
    pub set_aside: Option<String>,
}

impl Health {
    /// A new process of the agent begins anew.
    pub fn lives(&mut self, life: u64) {
        if self.life != life {
            *self = Self { life, ..Self::default() };
        }
    }

    fn completes(&mut self) {
        (self.in_a_row, self.began) = (0, None);
        self.trials.clear();
    }

    /// `completed`: by all agents. Since the row began, that is by others.
    fn fails(&mut self, attempt: Attempt, completed: u64, detail: &str) {
        self.in_a_row += 1;
        self.trials.insert((attempt.study, attempt.trial));
        let began = self.began.get_or_insert((attempt.study, completed));
        let others_complete = began.0 == attempt.study && completed > began.1;
        let enough = self.in_a_row >= FAILURES && self.trials.len() >= TRIALS;
        if enough && others_complete && self.set_aside.is_none() {
            self.set_aside = Some(format!(
                "its last {} trainings failed while others completed theirs: {detail}",
                self.in_a_row
            ));
        }
    }
}

impl Node {
    /// Looks at what one ended attempt says of the agent that made it.
    pub(super) fn judge(&mut self, ended: &Ended) {
        if !self.soft.leading {
            return;
        }
        match ended {
            Ended::Trial { attempt, row, .. } if matches!(row.end, RowEnd::Complete(_)) => {
                *self.soft.completed.entry(attempt.study).or_default() += 1;
                if let Some(health) = self.soft.health.get_mut(&row.agent) {
                    health.completes();
                }
            }
            Ended::Trial { attempt, .. } | Ended::Again { attempt } => {
                if let Some((agent, detail)) = self.own_failure(attempt) {
                    let completed = self.soft.completed.get(&attempt.study).copied();
                    let health = self.soft.health.entry(agent).or_default();
                    let before = health.set_aside.is_some();
                    health.fails(*attempt, completed.unwrap_or_default(), &detail);
                    if !before && health.set_aside.is_some() {
                        logged::set_aside(attempt.study, agent);
                    }
                }
            }
            Ended::Late { .. } | Ended::Unknown { .. } => {}
        }
    }

    /// The agent of a failure that an agent may be to blame for.
    fn own_failure(&self, attempt: &Attempt) -> Option<(MemberId, String)> {
        let record = self.state.studies.get(&attempt.study)?;
        let last = record.tallies.get(&attempt.trial)?.past.last()?;
        let blamed = matches!(
            last.reason,
            FailReason::Error
                | FailReason::AgentCrashed
                | FailReason::TimeLimit
                | FailReason::OutOfMemory
        );
        let ours = blamed && last.lease == attempt.lease;
        ours.then(|| (last.agent, last.detail.clone()))
    }
}

/// Failures in a row, of so many different trials, that set an agent aside.
const FAILURES: u32 = 8;
const TRIALS: usize = 3;

#[cfg(test)]
mod tests {
    use common::id::LeaseId;

    use super::*;

    fn attempt(trial: u64) -> Attempt {
        let lease = LeaseId { term: 1, counter: trial };
        Attempt { study: StudyId(7), trial: TrialIndex(trial), lease }
    }

    fn failing(failures: u64, completed: impl Fn(u64) -> u64) -> Health {
        let mut health = Health::default();
        (0..failures).for_each(|n| health.fails(attempt(n), completed(n), "no space"));
        health
    }

    #[test]
    fn an_agent_that_fails_while_others_complete_is_set_aside() {
        let health = failing(8, |n| n);
        let why = health.set_aside.expect("set aside");
        assert!(why.contains("last 8 trainings") && why.contains("no space"), "{why}");
        assert!(failing(7, |n| n).set_aside.is_none());
    }

    #[test]
    fn a_study_at_which_everybody_fails_sets_nobody_aside() {
        assert!(failing(100, |_| 5).set_aside.is_none());
    }

    #[test]
    fn one_bad_trial_sets_nobody_aside() {
        let mut health = Health::default();
        (0..20).for_each(|n| health.fails(attempt(1), n, ""));
        assert!(health.set_aside.is_none());
    }

    #[test]
    fn a_complete_trial_and_a_new_process_begin_anew() {
        let mut health = failing(7, |n| n);
        health.completes();
        health.fails(attempt(1), 50, "");
        assert!(health.set_aside.is_none());
        let mut aside = failing(8, |n| n);
        aside.lives(0);
        assert!(aside.set_aside.is_some(), "the same process");
        aside.lives(3);
        assert!(aside.set_aside.is_none());
    }
}
