//! The replicated state machine: what every replica knows after the same entries.
//!
//! `apply` is deterministic: no clock, no randomness, no floating-point arithmetic. Times are stamps
//! the leader put into the entry. Leases are absent: they are the leader's soft state (`lease`,
//! `placement`), rebuilt after a failover from what agents say.
//!
//! Floor: core.

pub mod command;
pub mod lease;
pub mod placement;
pub mod progress;
pub mod state;

use common::id::{MemberId, StudyId};
use common::study::{Diverged, Study};
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome};
use common::wire::message::{OutcomeRow, RowEnd, StudyState};

use command::{Admission, Command, NewToken};
use state::{Member, State, StudyRecord, Token, TrialState};

/// What applying one entry did, for whoever waits on it and for the disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// Nothing changed, and nothing needs to be said.
    Nothing,
    Submitted {
        study: StudyId,
        known: bool,
    },
    Cancelled {
        study: StudyId,
    },
    /// The trial has ended with this row, to be kept on disk.
    Ended {
        attempt: Attempt,
        row: Box<OutcomeRow>,
        study_over: bool,
    },
    /// The trial goes back to waiting.
    Again {
        attempt: Attempt,
    },
    /// The trial had ended before. `differs`: this outcome is not the one that stands.
    Late {
        attempt: Attempt,
        differs: bool,
    },
    TokenChanged,
    /// The member with its certificate's date, or `None`: the token is refused.
    Admission {
        member: Option<(MemberId, Member)>,
    },
    MemberRemoved {
        member: MemberId,
    },
    Refused {
        why: &'static str,
    },
}

impl State {
    /// Applies one committed command.
    pub fn apply(&mut self, command: Command) -> Applied {
        match command {
            Command::Submit { study, text, at } => self.submit(*study, text, at),
            Command::Cancel { study, at } => self.cancel(study, at),
            Command::Outcome { attempt, agent, outcome, at } => {
                self.outcome(attempt, agent, *outcome, at)
            }
            Command::AttemptFailed { attempt, agent, reason, detail, alone, at } => {
                let failure = Failure { agent, reason, detail, alone, at };
                self.attempt_failed(attempt, failure)
            }
            Command::CreateToken(token) => self.create_token(token),
            Command::RevokeToken { id } => match self.tokens.remove(&id) {
                Some(_) => Applied::TokenChanged,
                None => Applied::Refused { why: "there is no such token" },
            },
            Command::Admit(admission) => Applied::Admission { member: self.admit(admission) },
            Command::RemoveMember { member } => match self.members.remove(&member) {
                Some(_) => Applied::MemberRemoved { member },
                None => Applied::Refused { why: "there is no such member" },
            },
        }
    }

    fn submit(&mut self, study: Study, text: String, at: Timestamp) -> Applied {
        let id = study.id();
        if let Some(record) = self.studies.get_mut(&id) {
            // Submitting a cancelled study again takes it up where it was left.
            if record.state == StudyState::Cancelled {
                record.reopen();
            }
            return Applied::Submitted { study: id, known: true };
        }
        self.studies.insert(id, StudyRecord::new(study, text, at, self.submissions));
        self.submissions += 1;
        Applied::Submitted { study: id, known: false }
    }

    fn cancel(&mut self, study: StudyId, at: Timestamp) -> Applied {
        let Some(record) = self.studies.get_mut(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        if record.state == StudyState::Active {
            record.cancel(at);
        }
        Applied::Cancelled { study }
    }

    fn outcome(
        &mut self,
        attempt: Attempt,
        agent: MemberId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Applied {
        let Some(record) = self.studies.get_mut(&attempt.study) else { return Applied::Nothing };
        let digest = state::short_digest(&outcome.digest());
        match record.trial(attempt.trial) {
            Some(TrialState::Open) => {
                let study_over = record.end(attempt.trial, TrialState::Complete, at);
                record.keep_digest(attempt.trial, digest);
                let row = OutcomeRow {
                    trial: attempt.trial,
                    ended: at,
                    agent,
                    end: RowEnd::Complete(outcome),
                };
                Applied::Ended { attempt, row: Box::new(row), study_over }
            }
            Some(TrialState::Complete) => {
                let differs = record.digest(attempt.trial) != digest;
                record.differing += u64::from(differs);
                Applied::Late { attempt, differs }
            }
            // A failed or cancelled trial takes no outcome; the agent may forget it.
            Some(_) => Applied::Late { attempt, differs: false },
            None => Applied::Nothing,
        }
    }

    fn attempt_failed(&mut self, attempt: Attempt, failure: Failure) -> Applied {
        let Some(record) = self.studies.get_mut(&attempt.study) else { return Applied::Nothing };
        if record.trial(attempt.trial) != Some(TrialState::Open) {
            return Applied::Late { attempt, differs: false };
        }
        let limit = record.study.budget.attempts;
        let Failure { agent, reason, detail, alone, at } = failure;
        let tally = record.tallies.entry(attempt.trial).or_default();
        if tally.counted.contains(&attempt.lease) {
            return Applied::Late { attempt, differs: false };
        }
        tally.counted.push(attempt.lease);
        // Only a trial that died alone is itself to blame; its neighbours in a cohort are not.
        let own = match reason {
            FailReason::Diverged | FailReason::Error => true,
            FailReason::AgentCrashed => alone,
            FailReason::AgentLost => false,
        };
        if own {
            tally.own += 1;
        } else {
            tally.losses += 1;
        }
        let over = reason.is_final() || tally.own >= limit || tally.losses >= LOSSES_MAX;
        *record.failures.entry(reason).or_default() += 1;
        if !over {
            return Applied::Again { attempt };
        }
        let mut study_over = record.end(attempt.trial, TrialState::Failed, at);
        if reason == FailReason::Diverged && record.study.budget.diverged == Diverged::Fail {
            record.cancel(at);
            study_over = true;
        }
        let end = RowEnd::Failed { reason: reason.name().to_string(), detail };
        let row = OutcomeRow { trial: attempt.trial, ended: at, agent, end };
        Applied::Ended { attempt, row: Box::new(row), study_over }
    }

    fn create_token(&mut self, token: NewToken) -> Applied {
        let NewToken { id, secret_hash, role, uses, expires, label } = token;
        self.tokens.insert(id, Token { secret_hash, role, uses_left: uses, expires, label });
        Applied::TokenChanged
    }

    /// The member that this key becomes. Repeating an admission gives the same member and spends no
    /// second use: an answer can be lost.
    fn admit(&mut self, admission: Admission) -> Option<(MemberId, Member)> {
        let Admission { token_id, secret_hash, public_key, at } = admission;
        let token = self.tokens.get_mut(&token_id)?;
        if token.secret_hash != secret_hash || at >= token.expires {
            return None;
        }
        let known = self
            .members
            .iter()
            .find(|(_, member)| member.public_key == public_key && member.token_id == token_id);
        if let Some((&id, member)) = known {
            return Some((id, member.clone()));
        }
        if let Some(uses) = &mut token.uses_left {
            *uses = uses.checked_sub(1)?;
        }
        let member = Member {
            role: token.role,
            label: token.label.clone(),
            joined: at,
            public_key,
            token_id,
        };
        let id = MemberId(self.next_member);
        self.next_member += 1;
        self.members.insert(id, member.clone());
        Some((id, member))
    }
}

/// The parts of a failed attempt besides its name.
struct Failure {
    agent: MemberId,
    reason: FailReason,
    detail: String,
    alone: bool,
    at: Timestamp,
}

/// Losses (agents that vanished, crashes shared with neighbours) after which a trial is failed.
pub const LOSSES_MAX: u32 = 6;

#[cfg(test)]
mod tests;
