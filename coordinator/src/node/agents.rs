//! The agents' side of a coordinator: registrations, offers, renewals, reports.
//!
//! A report is acknowledged when what it told is committed and applied, never before. A replica that
//! does not lead sends agents on.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::label::Labels;
use common::time::Timestamp;
use common::trial::{Attempt, Ending, FailReason, Outcome, Report};
use common::wire::message::{AgentAbout, FromAgent, OutcomeRow, RowEnd, ToAgent};

use super::borrowed::Staying;
use super::grants::Needs;
use super::health::Health;
use super::{Asker, Node, Now, Output, SessionId, logged};
use crate::planted::planted;
use crate::scheduler::command::{CURVES_LEVEL, Command, Item, PROGRAMS_LEVEL};
use crate::scheduler::lease::Lease;
use crate::scheduler::placement::ShapeQueue;
use crate::scheduler::state::{TrialState, short_digest};
use crate::scheduler::{Applied, Ended};

/// One connection of an agent.
pub(super) struct Session {
    pub member: MemberId,
    pub address: String,
    pub about: Option<AgentAbout>,
    pub offered: u32,
    /// Whether it runs programs.
    pub programs: bool,
    /// What it is known by; none where it says nothing.
    pub labels: Labels,
    /// Trials it ended, on this and earlier connections.
    pub complete: u64,
    pub failed: u64,
    /// Trials that it gave back in the middle of their training.
    pub interrupted: u64,
    /// Of one that goes on from others' checkpoints.
    pub staying: Option<Staying>,
    pub heard: Timestamp,
}

impl Session {
    /// Whether it allows what trials of this shape are, and has the labels that they require.
    pub fn may_train(&self, shape: &ShapeQueue) -> bool {
        self.meets(Needs { programs: shape.is_of_programs(), requires: shape.requires() })
    }

    pub fn meets(&self, needs: Needs<'_>) -> bool {
        (self.programs || !needs.programs) && needs.requires.are_met_by(&self.labels)
    }
}

impl Node {
    pub(super) fn agent_arrived(
        &mut self,
        session: SessionId,
        member: MemberId,
        address: String,
        now: Now,
    ) {
        let before = self.soft.gone.remove(&member);
        let (complete, failed, interrupted) =
            before.map_or((0, 0, 0), |gone| (gone.complete, gone.failed, gone.interrupted));
        let arrived = Session {
            member,
            address,
            about: None,
            offered: 0,
            programs: false,
            labels: Labels::none(),
            complete,
            failed,
            interrupted,
            staying: None,
            heard: now.wall,
        };
        self.sessions.insert(session, arrived);
        if !self.soft.leading {
            self.let_go(session);
        }
    }

    /// The connection is gone. Its leases live on: the agent goes on training and comes back.
    pub(super) fn agent_gone(&mut self, session: SessionId) {
        if let Some(gone) = self.sessions.remove(&session)
            && self.soft.leading
        {
            logged::left(gone.member);
            self.soft.gone.insert(gone.member, gone);
        }
    }

    /// Sends an agent on to whoever leads.
    pub(super) fn let_go(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            let leader = self.leader_address().filter(|_| !self.replica.is_leader());
            let last = ToAgent::Elsewhere { leader, addresses: self.state.addresses() };
            self.outputs.push(Output::CloseAgent { session, last });
        }
    }

    pub(super) fn agent_said(&mut self, session: SessionId, message: FromAgent, now: Now) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        entry.heard = now.wall;
        let member = entry.member;
        if !self.soft.leading {
            return self.let_go(session);
        }
        let registered = entry.about.is_some();
        match message {
            FromAgent::Register { about, life, holding, crashed } => {
                let health = self.soft.health.entry(member).or_default();
                health.lives(life);
                self.register(session, about, &holding, &crashed, now);
            }
            _ if !registered => {
                let why = "the first message must be a registration".to_string();
                self.sessions.remove(&session);
                self.outputs.push(Output::CloseAgent { session, last: ToAgent::Goodbye { why } });
            }
            FromAgent::Offer { lanes } => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.offered = lanes.min(LANES_MAX);
                }
            }
            FromAgent::NeedStudy { study } => {
                if let Some(record) = self.state.studies.get(&study) {
                    let (version, text) = (record.version, Box::new(record.study.clone()));
                    self.tell(session, ToAgent::Study { id: study, version, study: text });
                }
            }
            FromAgent::Renew { leases } => {
                let deadline = self.deadline(now);
                for lease in leases {
                    if !self.soft.leases.renew(lease, member, deadline) {
                        self.tell(session, ToAgent::Revoke { lease });
                    }
                }
            }
            FromAgent::Reports { reports } => self.report(session, member, reports, now),
            FromAgent::HandBack { leases } => {
                for id in leases {
                    if self.soft.leases.lease(id).is_some_and(|lease| lease.agent == member) {
                        self.give_back(id);
                    }
                }
            }
            FromAgent::Skills { programs } => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.programs = programs;
                }
            }
            FromAgent::Labels { labels } => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.labels = labels.bounded();
                }
            }
            FromAgent::Progress { items } => self.progress_said(member, items),
            FromAgent::Log { number, part } => self.log_said(session, member, number, part),
            FromAgent::Stay { left_ms } => {
                if let Some(entry) = self.sessions.get_mut(&session) {
                    entry.staying = Some(Staying::for_ms(left_ms, now));
                }
            }
            FromAgent::Interrupted { leases, why } => {
                self.interrupted(session, member, leases, why, now);
            }
        }
    }

    /// When a lease that is granted or renewed now ends.
    pub(super) fn deadline(&self, now: Now) -> Timestamp {
        let from =
            if planted!(self.settings.planted, OldClock) { self.soft.began } else { now.mono };
        from.plus_ms(self.settings.lease_ms)
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
        let member = entry.member;
        logged::joined(member, entry.about.insert(bounded(about)));
        self.replace_sessions(member, session);
        self.tell_crashed(session, member, crashed, now);
        if !holding.is_empty() {
            self.wait_for_more(now);
        }
        let keep = self.adopt(member, holding, now);
        // What this agent was granted and knows nothing of was never started: it waits again.
        for id in self.soft.leases.of_agent(member) {
            let crashed = crashed.iter().any(|attempt| attempt.lease == id);
            if !keep.contains(&id) && !crashed {
                self.give_back(id);
            }
        }
        self.tell(session, ToAgent::Registered { lease_ms: self.settings.lease_ms, keep });
        let addresses = self.state.addresses();
        self.tell(session, ToAgent::Replicas { addresses });
    }

    /// What it had started when it died counts against those trials.
    fn tell_crashed(
        &mut self,
        session: SessionId,
        member: MemberId,
        crashed: &[Attempt],
        now: Now,
    ) {
        let mut cohorts: BTreeMap<LeaseId, u32> = BTreeMap::new();
        crashed.iter().for_each(|attempt| *cohorts.entry(attempt.lease).or_default() += 1);
        let item = |attempt: &Attempt| {
            let company = cohorts.get(&attempt.lease).copied().unwrap_or(1);
            let granted = self.soft.leases.lease(attempt.lease).map_or(company, |l| l.granted);
            Item::Failed {
                attempt: *attempt,
                reason: FailReason::AgentCrashed,
                detail: "the agent had started it and came back without an outcome".into(),
                alone: granted.max(company) == 1,
            }
        };
        let items: Vec<Item> = crashed.iter().map(item).collect();
        crashed.iter().for_each(|one| self.repeat_lost(one, FailReason::AgentCrashed));
        self.propose_reports(session, member, items, now);
    }

    /// While agents come that were training, a new leader waits for more of them, up to a lease.
    fn wait_for_more(&mut self, now: Now) {
        if now.mono < self.soft.grants_from {
            let latest = self.soft.began.plus_ms(self.settings.grace_ms + self.settings.lease_ms);
            let more = now.mono.plus_ms(WAIT_FOR_MORE_MS).min(latest);
            self.soft.grants_from = self.soft.grants_from.max(more);
        }
    }

    /// A member speaks on one connection: what is granted to an older one would never be heard.
    fn replace_sessions(&mut self, member: MemberId, newest: SessionId) {
        let same = |(id, entry): (&SessionId, &Session)| {
            (entry.member == member && *id != newest).then_some(*id)
        };
        let older: Vec<SessionId> = self.sessions.iter().filter_map(same).collect();
        for session in older {
            let Some(gone) = self.sessions.remove(&session) else { continue };
            if let Some(entry) = self.sessions.get_mut(&newest) {
                entry.complete += gone.complete;
                entry.failed += gone.failed;
                entry.interrupted += gone.interrupted;
            }
            let why = "this agent has connected anew".to_string();
            self.outputs.push(Output::CloseAgent { session, last: ToAgent::Goodbye { why } });
        }
    }

    /// Which of the leases that an agent holds go on.
    fn adopt(&mut self, member: MemberId, holding: &[Attempt], now: Now) -> Vec<LeaseId> {
        let deadline = self.deadline(now);
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
            #[cfg(feature = "planted")]
            if planted!(self.settings.planted, Blind) && !known {
                self.soft.leases.believe(id, lease);
                keep.push(id);
                continue;
            }
            if known || self.soft.leases.adopt(id, lease) {
                keep.push(id);
            }
        }
        keep
    }

    fn is_open(&self, attempt: &Attempt) -> bool {
        let record = self.state.studies.get(&attempt.study);
        // One that is trained again has ended, and its lease is known here or of no use.
        self.is_repetition(attempt.lease)
            || record.is_some_and(|record| {
                record.state.goes_on() && record.trial(attempt.trial) == Some(TrialState::Open)
            })
    }

    /// Proposes what is new in the reports; what the log already tells is acknowledged at once.
    fn report(&mut self, session: SessionId, member: MemberId, reports: Vec<Report>, now: Now) {
        let mut items = Vec::new();
        let mut known = Vec::new();
        for Report { attempt, ending } in reports {
            self.repeated(member, &attempt, &ending);
            if let Ending::Complete(outcome) = &ending {
                self.note_pace(&attempt, outcome);
            }
            if self.says_nothing_new(&attempt, &ending) {
                known.push(attempt);
                self.trial_again(&attempt, false);
            } else {
                items.push(self.item(attempt, ending));
            }
        }
        if planted!(self.settings.planted, AckEarly) {
            known.extend(items.iter().map(Item::attempt));
        }
        self.counting.counts.repeated += known.len() as u64;
        if !known.is_empty() {
            self.tell(session, ToAgent::Acknowledge { attempts: known });
        }
        self.propose_reports(session, member, items, now);
    }

    /// Whether the applied log already holds what this report tells. So does one that knows no such
    /// study: it is older than the agent, restored from a backup, and has no place for the outcome.
    fn says_nothing_new(&self, attempt: &Attempt, ending: &Ending) -> bool {
        let record = self.state.studies.get(&attempt.study);
        let Some((record, state)) = record.and_then(|r| Some((r, r.trial(attempt.trial)?))) else {
            return true;
        };
        match (state, ending) {
            (TrialState::Open, _) => false,
            (TrialState::Complete, Ending::Complete(outcome)) => {
                record.digest(attempt.trial) == short_digest(&outcome.digest())
            }
            _ => true,
        }
    }

    fn item(&self, attempt: Attempt, ending: Ending) -> Item {
        match ending {
            Ending::Complete(mut outcome) if self.is_plausible(&attempt, &outcome) => {
                if self.state.level < CURVES_LEVEL {
                    // Some replica's program could not read it.
                    outcome.curve = None;
                }
                Item::Complete { attempt, outcome: Box::new(outcome) }
            }
            Ending::Complete(_) => Item::Failed {
                attempt,
                reason: FailReason::Error,
                detail: "the outcome does not have the study's metrics and rows".to_string(),
                alone: true,
            },
            Ending::Failed { reason, detail } => {
                let detail = detail.chars().take(DETAIL_CHARACTERS_MAX).collect();
                let reason = match reason {
                    // That an agent left counts against no trial: `Interrupted` alone tells it.
                    _ if reason.is_interruption() => FailReason::AgentLost,
                    // Before every replica knows what only programs fail of, no study runs one.
                    _ if reason.is_of_programs() && self.state.level < PROGRAMS_LEVEL => {
                        FailReason::Error
                    }
                    _ => reason,
                };
                let lease = self.soft.leases.lease(attempt.lease);
                let alone = lease.is_none_or(|lease| lease.granted == 1);
                Item::Failed { attempt, reason, detail, alone }
            }
        }
    }

    fn propose_reports(&mut self, session: SessionId, agent: MemberId, items: Vec<Item>, now: Now) {
        // Many may have crashed at once; an entry has a limit.
        let mut items = items;
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(ITEMS_AT_ONCE));
            for item in &items {
                if let Item::Complete { attempt, .. } = item {
                    self.soft.proposed.insert((attempt.study, attempt.trial));
                }
            }
            let attempts = items.iter().map(Item::attempt).collect();
            let command = Command::Reports { agent, at: now.wall, items };
            self.propose(command, Asker::Reports(session, attempts));
            items = rest;
        }
    }

    pub(super) fn is_plausible(&self, attempt: &Attempt, outcome: &Outcome) -> bool {
        self.state.studies.get(&attempt.study).is_none_or(|record| {
            outcome.metrics.len() == record.study.metrics.len()
                && outcome.rows.len() as u64 <= common::study::ROWS_KEPT_MAX
                && outcome.device.len() <= DETAIL_CHARACTERS_MAX
        })
    }

    /// The entry of a report is applied: the agent may forget it.
    pub(super) fn reported(&mut self, session: SessionId, attempts: &[Attempt], applied: &Applied) {
        for attempt in attempts {
            self.soft.proposed.remove(&(attempt.study, attempt.trial));
        }
        let Applied::Reported(ended) = applied else { return };
        if let Some(entry) = self.sessions.get_mut(&session) {
            for ended in ended {
                match ended {
                    Ended::Trial { row, .. } => match row.end {
                        RowEnd::Complete(_) => entry.complete += 1,
                        RowEnd::Failed { .. } => entry.failed += 1,
                    },
                    Ended::Again { .. } => entry.failed += 1,
                    Ended::Late { .. } | Ended::Unknown { .. } => {}
                }
            }
        }
        self.tell(session, ToAgent::Acknowledge { attempts: attempts.to_vec() });
    }

    /// Puts known outcomes into the log.
    pub(super) fn adopt_outcomes(&mut self, study: StudyId, rows: Vec<OutcomeRow>) {
        let open = |trial: TrialIndex| {
            let record = self.state.studies.get(&study);
            record.is_some_and(|record| {
                record.state.goes_on() && record.trial(trial) == Some(TrialState::Open)
            })
        };
        let mut rows: Vec<OutcomeRow> = rows.into_iter().filter(|row| open(row.trial)).collect();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(ROWS_ADOPTED_AT_ONCE));
            self.soft.proposed.extend(rows.iter().map(|row| (study, row.trial)));
            self.propose(Command::Adopt { study, rows }, Asker::Nobody);
            rows = rest;
        }
    }

    pub(super) fn expire_leases(&mut self, now: Now) {
        for (lease_id, lease) in self.soft.leases.expire(now.mono) {
            if self.repeat_expired(lease_id, lease.study, &lease.trials) {
                self.tell_member(lease.agent, ToAgent::Revoke { lease: lease_id });
                continue;
            }
            let attempt =
                |trial: &TrialIndex| Attempt { study: lease.study, trial: *trial, lease: lease_id };
            self.counting.counts.expired += 1;
            logged::expired(lease_id, &lease);
            let attempts: Vec<Attempt> = lease.trials.iter().map(attempt).collect();
            let reason = self.silence(&lease);
            let item = |attempt: &Attempt| Item::Failed {
                attempt: *attempt,
                reason,
                detail: format!("agent {} was silent for longer than its lease", lease.agent),
                alone: lease.granted == 1,
            };
            let items = attempts.iter().map(item).collect();
            let command = Command::Reports { agent: lease.agent, at: now.wall, items };
            self.propose(command, Asker::Lost(attempts));
            self.tell_member(lease.agent, ToAgent::Revoke { lease: lease_id });
        }
    }

    /// Replicas have come or gone: agents must know where to turn.
    pub(super) fn replicas_changed(&mut self) {
        if self.soft.leading {
            let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
            for session in sessions {
                let addresses = self.state.addresses();
                self.tell(session, ToAgent::Replicas { addresses });
            }
        }
    }

    pub(super) fn tell(&mut self, session: SessionId, message: ToAgent) {
        self.outputs.push(Output::ToAgent { session, message });
    }

    pub(super) fn tell_member(&mut self, member: MemberId, message: ToAgent) {
        let session =
            self.sessions.iter().rev().find(|(_, s)| s.member == member).map(|(id, _)| *id);
        if let Some(session) = session {
            self.tell(session, message);
        }
    }

    pub(super) fn health_of(&self, member: MemberId) -> Option<&Health> {
        self.soft.health.get(&member)
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
/// Reports come in messages of a frame at most; crashes are short.
pub(super) const ITEMS_AT_ONCE: usize = 1_024;
/// Outcomes with all their rows: 64 KiB each at most.
const ROWS_ADOPTED_AT_ONCE: usize = 8;
/// After an agent that was training has come, a new leader waits so long for another.
const WAIT_FOR_MORE_MS: u64 = 1_000;
