//! The agents' side of a coordinator: registrations, offers, grants, renewals, reports.
//!
//! A trial is granted only while it is open, under no lease, and no outcome of it is on its way
//! into the log.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::trial::{Attempt, Ending, FailReason, Report};
use common::wire::message::{AgentAbout, FromAgent, OutcomeRow, RowEnd, StudyState, ToAgent};

use super::{Asker, Node, Now, Output, Session, SessionId};
use crate::scheduler::Applied;
use crate::scheduler::command::Command;
use crate::scheduler::lease::Lease;
use crate::scheduler::state::TrialState;

impl Node {
    pub(super) fn agent_arrived(
        &mut self,
        session: SessionId,
        member: MemberId,
        address: String,
        now: Now,
    ) {
        let before = self.soft.gone.remove(&member);
        let (complete, failed) = before.map_or((0, 0), |gone| (gone.complete, gone.failed));
        let heard = now.wall;
        let arrived = Session { member, address, about: None, offered: 0, complete, failed, heard };
        self.sessions.insert(session, arrived);
    }

    /// The connection is gone. Its leases live on: the agent goes on training and comes back.
    pub(super) fn agent_gone(&mut self, session: SessionId) {
        if let Some(gone) = self.sessions.remove(&session) {
            self.soft.gone.insert(gone.member, gone);
        }
    }

    pub(super) fn agent_said(&mut self, session: SessionId, message: FromAgent, now: Now) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.heard = now.wall;
        let member = entry.member;
        if !self.soft.leading {
            let why = "this coordinator does not lead at the moment".to_string();
            self.outputs.push(Output::CloseAgent { session, why });
            return;
        }
        let registered = entry.about.is_some();
        match message {
            FromAgent::Register { about, holding, crashed } => {
                self.register(session, about, &holding, &crashed, now);
            }
            _ if !registered => {
                let why = "the first message must be a registration".to_string();
                self.outputs.push(Output::CloseAgent { session, why });
            }
            FromAgent::Offer { lanes } => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.offered = lanes.min(LANES_MAX);
                }
            }
            FromAgent::NeedStudy { study } => {
                if let Some(record) = self.state.studies.get(&study) {
                    let text = Box::new(record.study.clone());
                    self.tell(session, ToAgent::Study { id: study, study: text });
                }
            }
            FromAgent::Renew { leases } => {
                let deadline = now.mono.plus_ms(self.settings.lease_ms);
                for lease in leases {
                    if !self.soft.leases.renew(lease, member, deadline) {
                        self.tell(session, ToAgent::Revoke { lease });
                    }
                }
            }
            FromAgent::Reports { reports } => {
                reports.into_iter().for_each(|report| self.report(session, member, report, now));
            }
            FromAgent::HandBack { leases } => {
                for id in leases {
                    if self.soft.leases.lease(id).is_some_and(|lease| lease.agent == member) {
                        self.give_back(id);
                    }
                }
            }
        }
    }

    fn register(
        &mut self,
        session: SessionId,
        about: AgentAbout,
        holding: &[Attempt],
        crashed: &[Attempt],
        now: Now,
    ) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.about = Some(bounded(about));
        let member = entry.member;
        let mut cohorts: BTreeMap<LeaseId, u32> = BTreeMap::new();
        crashed.iter().for_each(|attempt| *cohorts.entry(attempt.lease).or_default() += 1);
        for attempt in crashed {
            let company = cohorts.get(&attempt.lease).copied().unwrap_or(1);
            let granted = self.soft.leases.lease(attempt.lease).map_or(company, |l| l.granted);
            self.propose(
                Command::AttemptFailed {
                    attempt: *attempt,
                    agent: member,
                    reason: FailReason::AgentCrashed,
                    detail: "the agent had started it and came back without an outcome".into(),
                    alone: granted.max(company) == 1,
                    at: now.wall,
                },
                Asker::Report(session, *attempt),
            );
        }
        let keep = self.adopt(member, holding, now);
        // What this agent was granted and knows nothing of was never started: it waits again.
        let crashed_leases: Vec<LeaseId> = cohorts.into_keys().collect();
        for id in self.soft.leases.of_agent(member) {
            if !keep.contains(&id) && !crashed_leases.contains(&id) {
                self.give_back(id);
            }
        }
        self.tell(session, ToAgent::Registered { lease_ms: self.settings.lease_ms, keep });
    }

    /// Which of the leases that an agent holds go on.
    fn adopt(&mut self, member: MemberId, holding: &[Attempt], now: Now) -> Vec<LeaseId> {
        let deadline = now.mono.plus_ms(self.settings.lease_ms);
        let mut held: BTreeMap<LeaseId, (StudyId, Vec<TrialIndex>)> = BTreeMap::new();
        for attempt in holding.iter().filter(|attempt| self.is_open(attempt)) {
            let lease = held.entry(attempt.lease).or_insert((attempt.study, Vec::new()));
            if lease.0 == attempt.study && !lease.1.contains(&attempt.trial) {
                lease.1.push(attempt.trial);
            }
        }
        let mut keep = Vec::new();
        for (id, (study, trials)) in held {
            let known = self.soft.leases.renew(id, member, deadline);
            let granted = trials.len() as u32;
            let lease = Lease { agent: member, study, trials, granted, deadline };
            if known || self.soft.leases.adopt(id, lease) {
                keep.push(id);
            }
        }
        keep
    }

    fn is_open(&self, attempt: &Attempt) -> bool {
        let record = self.state.studies.get(&attempt.study);
        record.is_some_and(|record| {
            record.state == StudyState::Active
                && record.trial(attempt.trial) == Some(TrialState::Open)
        })
    }

    fn report(&mut self, session: SessionId, member: MemberId, report: Report, now: Now) {
        let Report { attempt, ending } = report;
        let at = now.wall;
        let command = match ending {
            Ending::Complete(outcome) if self.is_plausible(&attempt, &outcome) => {
                Command::Outcome { attempt, agent: member, outcome: Box::new(outcome), at }
            }
            Ending::Complete(_) => Command::AttemptFailed {
                attempt,
                agent: member,
                reason: FailReason::Error,
                detail: "the outcome does not have the study's metrics and rows".to_string(),
                alone: true,
                at,
            },
            Ending::Failed { reason, detail } => {
                let detail = detail.chars().take(DETAIL_CHARACTERS_MAX).collect();
                let lease = self.soft.leases.lease(attempt.lease);
                let alone = lease.is_none_or(|lease| lease.granted == 1);
                Command::AttemptFailed { attempt, agent: member, reason, detail, alone, at }
            }
        };
        if matches!(command, Command::Outcome { .. }) {
            self.soft.proposed.insert((attempt.study, attempt.trial));
        }
        self.propose(command, Asker::Report(session, attempt));
    }

    fn is_plausible(&self, attempt: &Attempt, outcome: &common::trial::Outcome) -> bool {
        self.state.studies.get(&attempt.study).is_none_or(|record| {
            outcome.metrics.len() == record.study.metrics.len()
                && outcome.rows.len() as u64 <= common::study::ROWS_KEPT_MAX
                && outcome.device.len() <= DETAIL_CHARACTERS_MAX
        })
    }

    /// The entry of a report is applied: the agent may forget it.
    pub(super) fn acknowledge(&mut self, session: SessionId, attempt: Attempt, applied: &Applied) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            match applied {
                Applied::Ended { row, .. } => match row.end {
                    RowEnd::Complete(_) => entry.complete += 1,
                    RowEnd::Failed { .. } => entry.failed += 1,
                },
                Applied::Again { .. } => entry.failed += 1,
                _ => {}
            }
        }
        // Acknowledgements of one group leave in one message.
        if let Some(Output::ToAgent { session: last, message: ToAgent::Acknowledge { attempts } }) =
            self.outputs.iter_mut().rev().find(|output| {
                matches!(output, Output::ToAgent { message: ToAgent::Acknowledge { .. }, .. })
            })
            && *last == session
            && attempts.len() < ACKNOWLEDGED_AT_ONCE
        {
            attempts.push(attempt);
            return;
        }
        self.tell(session, ToAgent::Acknowledge { attempts: vec![attempt] });
    }

    /// Puts known outcomes into the log, under a lease that no leader ever grants.
    pub(super) fn adopt_outcomes(&mut self, study: StudyId, rows: Vec<OutcomeRow>) {
        let lease = LeaseId { term: 0, counter: 0 };
        for OutcomeRow { trial, ended, agent, end } in rows {
            let attempt = Attempt { study, trial, lease };
            if let RowEnd::Complete(outcome) = end
                && self.is_open(&attempt)
            {
                let outcome = Box::new(outcome);
                let command = Command::Outcome { attempt, agent, outcome, at: ended };
                self.soft.proposed.insert((study, trial));
                self.propose(command, Asker::Nobody);
            }
        }
    }

    pub(super) fn expire_leases(&mut self, now: Now) {
        for (lease_id, lease) in self.soft.leases.expire(now.mono) {
            for trial in &lease.trials {
                let attempt = Attempt { study: lease.study, trial: *trial, lease: lease_id };
                let command = Command::AttemptFailed {
                    attempt,
                    agent: lease.agent,
                    reason: FailReason::AgentLost,
                    detail: format!("agent {} was silent for longer than its lease", lease.agent),
                    alone: lease.granted == 1,
                    at: now.wall,
                };
                self.propose(command, Asker::Nobody);
            }
            self.tell_member(lease.agent, ToAgent::Revoke { lease: lease_id });
        }
    }

    /// Hands waiting trials to free lanes: the oldest study first, agents in turn.
    pub(super) fn grant(&mut self, now: Now) {
        let mut studies: Vec<(u64, StudyId)> = self
            .soft
            .queues
            .keys()
            .filter_map(|id| self.state.studies.get(id).map(|record| (record.order, *id)))
            .collect();
        studies.sort_unstable();
        for (_, study) in studies {
            loop {
                let offers: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(_, s)| s.offered > 0)
                    .map(|(id, _)| *id)
                    .collect();
                if offers.is_empty() {
                    return;
                }
                let granted = offers.into_iter().filter(|id| self.grant_one(*id, study, now));
                if granted.count() == 0 {
                    break;
                }
            }
        }
    }

    /// One cohort of one study for one agent. False when nothing of it waits.
    fn grant_one(&mut self, session: SessionId, study: StudyId, now: Now) -> bool {
        let Some(record) = self.state.studies.get(&study) else { return false };
        let width = self.cohort_width(session, record.open(), study);
        let (leases, proposed) = (&self.soft.leases, &self.soft.proposed);
        let free = |trial: TrialIndex| {
            record.trial(trial) == Some(TrialState::Open)
                && leases.holder(study, trial).is_none()
                && !proposed.contains(&(study, trial))
        };
        let Some(queue) = self.soft.queues.get_mut(&study) else { return false };
        let trials = queue.take(width, &free);
        let Some(entry) = self.sessions.get_mut(&session) else { return false };
        if trials.is_empty() {
            return false;
        }
        let cohort_lanes = entry.about.as_ref().map_or(1, |about| about.cohort_lanes.max(1));
        entry.offered = entry.offered.saturating_sub(cohort_lanes);
        let deadline = now.mono.plus_ms(self.settings.lease_ms);
        let member = entry.member;
        let term = self.replica.term();
        let lease = self.soft.leases.grant(term, member, study, trials.clone(), deadline);
        self.tell(session, ToAgent::Assign { lease, study, trials });
        true
    }

    /// Lanes of the next cohort: the agent's width, less near the end so that no agent idles.
    fn cohort_width(&self, session: SessionId, open: u64, study: StudyId) -> usize {
        let lanes = |s: &Session| {
            s.about.as_ref().map_or((1, 1), |about| (about.lanes.max(1), about.cohort_lanes.max(1)))
        };
        let slots: u32 =
            self.sessions.values().map(lanes).map(|(all, one)| all.div_ceil(one)).sum();
        let waiting = open.saturating_sub(self.soft.leases.leased(study));
        let share = waiting.div_ceil(u64::from(slots.max(1))).max(1);
        let width = self.sessions.get(&session).map_or(1, |entry| lanes(entry).1);
        u64::from(width.min(COHORT_LANES_MAX)).min(share) as usize
    }
}

/// What an agent says of itself, in lengths that fit a page.
fn bounded(about: AgentAbout) -> AgentAbout {
    let short = |text: String| text.chars().take(ABOUT_CHARACTERS_MAX).collect();
    AgentAbout {
        host: short(about.host),
        device: short(about.device),
        model: short(about.model),
        version: short(about.version),
        lanes: about.lanes.min(LANES_MAX),
        cohort_lanes: about.cohort_lanes.clamp(1, COHORT_LANES_MAX),
    }
}

/// More free lanes than this are not believed.
const LANES_MAX: u32 = 65_536;
/// A cohort's trials must fit one frame.
const COHORT_LANES_MAX: u32 = 16_384;
const ABOUT_CHARACTERS_MAX: usize = 200;
const DETAIL_CHARACTERS_MAX: usize = 500;
const ACKNOWLEDGED_AT_ONCE: usize = 1_024;
