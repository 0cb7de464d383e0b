//! What programs wrote, fetched from the agents that keep it, and how far they say they are.
//!
//! Soft and lossy: nothing of it is in the log, and a new leader has none of it. Of a leased trial its
//! agent is asked, else every agent that runs programs; the latest attempt's part is the answer.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::wire::message::{LOG_PART_MAX, LogPart, Response, ToAgent};

use super::grants::runs_program;
use super::{Node, Now, RequestId, SessionId, asks};

/// Questions on their way to agents.
#[derive(Default)]
pub(super) struct LogAsks {
    waiting: BTreeMap<u64, LogAsk>,
    next: u64,
}

struct LogAsk {
    id: RequestId,
    trial: TrialIndex,
    /// Who has not answered yet.
    asked: BTreeSet<SessionId>,
    best: Option<(MemberId, LogPart)>,
    until: Timestamp,
}

impl Node {
    pub(super) fn ask_for_log(
        &mut self,
        id: RequestId,
        (study, trial, from): (StudyId, TrialIndex, u64),
        now: Now,
    ) {
        let Some(record) = self.state.studies.get(&study) else {
            return self.answer(id, asks::unknown_study(study));
        };
        if record.trial(trial).is_none() {
            return self.refuse(id, format!("study {study} has no trial {trial}"));
        }
        if !runs_program(record, trial) {
            let why = format!("trial {trial} trains a model, and only programs write anything");
            return self.refuse(id, why);
        }
        let holder = self.soft.leases.holder(study, trial);
        let holder = holder.and_then(|lease| self.soft.leases.lease(lease)).map(|l| l.agent);
        let able = self.sessions.iter().filter(|(_, session)| {
            session.programs && holder.is_none_or(|holder| holder == session.member)
        });
        let asked: BTreeSet<SessionId> = able.map(|(session, _)| *session).collect();
        if asked.is_empty() {
            let why = match holder {
                Some(agent) => format!("agent {agent}, which has trial {trial}, is not connected"),
                None => "no agent that runs programs is connected".to_string(),
            };
            return self.refuse(id, why);
        }
        if self.soft.logs.waiting.len() >= ASKS_MAX {
            return self.refuse(id, "many logs are being asked for; ask again in a moment");
        }
        self.soft.logs.next += 1;
        let number = self.soft.logs.next;
        for session in &asked {
            self.tell(*session, ToAgent::SendLog { number, study, trial, from });
        }
        let until = now.mono.plus_ms(PATIENCE_MS);
        let ask = LogAsk { id, trial, asked, best: None, until };
        self.soft.logs.waiting.insert(number, ask);
    }

    pub(super) fn log_said(
        &mut self,
        session: SessionId,
        member: MemberId,
        number: u64,
        part: Option<LogPart>,
    ) {
        let Some(ask) = self.soft.logs.waiting.get_mut(&number) else { return };
        if !ask.asked.remove(&session) {
            return;
        }
        let fits = |part: &LogPart| part.bytes.len() <= LOG_PART_MAX;
        if let Some(mut part) = part.filter(fits) {
            part.state = part.state.chars().take(STATE_CHARACTERS_MAX).collect();
            let later = ask.best.as_ref().is_none_or(|(_, best)| part.lease > best.lease);
            if later {
                ask.best = Some((member, part));
            }
        }
        if ask.asked.is_empty() {
            self.answer_log(number);
        }
    }

    /// At each tick: whoever is gone does not answer, and nobody is waited for for long.
    pub(super) fn answer_late_logs(&mut self, now: Now) {
        let sessions = &self.sessions;
        let mut over = Vec::new();
        for (number, ask) in &mut self.soft.logs.waiting {
            ask.asked.retain(|session| sessions.contains_key(session));
            if ask.asked.is_empty() || ask.until <= now.mono {
                over.push(*number);
            }
        }
        over.into_iter().for_each(|number| self.answer_log(number));
    }

    /// This replica leads no longer, or only now: who asked must ask again.
    pub(super) fn drop_log_asks(&mut self) {
        for (_, ask) in std::mem::take(&mut self.soft.logs.waiting) {
            self.elsewhere(ask.id);
        }
    }

    fn answer_log(&mut self, number: u64) {
        let Some(ask) = self.soft.logs.waiting.remove(&number) else { return };
        match ask.best {
            Some((agent, part)) => self.answer(ask.id, Response::Log { agent, part }),
            None => {
                let why = format!(
                    "no agent that is connected keeps anything of trial {}: what an attempt wrote \
                     stays with the agent that ran it, for a while",
                    ask.trial
                );
                self.refuse(ask.id, why);
            }
        }
    }

    /// What an agent may say of its own leases alone.
    pub(super) fn progress_said(&mut self, member: MemberId, items: Vec<(LeaseId, String)>) {
        let leases = &self.soft.leases;
        let is_held = |lease: &LeaseId| leases.lease(*lease).is_some_and(|l| l.agent == member);
        for (lease, words) in items.into_iter().filter(|(lease, _)| is_held(lease)) {
            let printable = words.chars().filter(|c| !c.is_control());
            self.soft.said.insert(lease, printable.take(STATE_CHARACTERS_MAX).collect());
        }
        if self.soft.said.len() > SAID_MAX {
            self.soft.said.retain(|lease, _| leases.lease(*lease).is_some());
        }
    }
}

/// Questions that wait at once.
const ASKS_MAX: usize = 64;
const PATIENCE_MS: u64 = 5_000;
const STATE_CHARACTERS_MAX: usize = 600;
/// Above it, what ended leases said is forgotten.
const SAID_MAX: usize = 1_024;
