//! Why a trial is where it is, in words.
//!
//! Floor: core.

use std::borrow::Cow;

use common::design::{Choice, Design, TrialKey};
use common::id::{StudyId, TrialIndex};
use common::trial::FailReason;
use common::wire::message::{Explanation, PastFailure, Response, StudyState, TrialPlace};

use super::borrowed::Reach;
use super::grants::{Needs, runs_program};
use super::{Node, Now, Room, asks, searching};
use crate::scheduler::LOSSES_MAX;
use crate::scheduler::state::{StudyRecord, Tally, TrialState};

impl Node {
    pub(super) fn explain(&self, study: StudyId, trial: TrialIndex, now: Now) -> Response {
        let Some(record) = self.state.studies.get(&study) else {
            return asks::unknown_study(study);
        };
        let Some(state) = record.trial(trial) else {
            let last = record.planned().saturating_sub(1);
            let why = format!("study {study} has no trial {trial}; its trials are 0 to {last}");
            return Response::Refused { why };
        };
        let cancelled = record.state == StudyState::Cancelled;
        let place = match state {
            TrialState::Unchosen if cancelled => TrialPlace::Cancelled,
            state => self.place_of(study, trial, state, now),
        };
        let tally = record.tallies.get(&trial);
        Response::Explained(Box::new(Explanation {
            trial,
            cell: cell(record, trial, self.state.is_closed(study)),
            reasons: self.reasons(study, record, trial, &place, now),
            state: place,
            own_failures: tally.map_or(0, |tally| tally.own),
            losses: tally.map_or(0, |tally| tally.losses),
            attempts_allowed: record.study.budget.attempts,
            failures: self.past_failures(study, tally),
        }))
    }

    /// What a program wrote last may be a score: of a sealed study the reasons stand alone.
    fn past_failures(&self, study: StudyId, tally: Option<&Tally>) -> Vec<PastFailure> {
        let mut failures = tally.map(|tally| tally.past.clone()).unwrap_or_default();
        if self.state.is_closed(study) {
            failures.iter_mut().for_each(|failure| failure.detail = "sealed".to_string());
        }
        failures
    }

    fn place_of(
        &self,
        study: StudyId,
        trial: TrialIndex,
        state: TrialState,
        now: Now,
    ) -> TrialPlace {
        match state {
            TrialState::Complete => TrialPlace::Complete,
            TrialState::Failed => TrialPlace::Failed,
            TrialState::Cancelled => TrialPlace::Cancelled,
            TrialState::Unchosen => TrialPlace::Waiting,
            TrialState::Open => {
                let lease = self.soft.leases.holder(study, trial);
                let held = lease.and_then(|id| Some((id, self.soft.leases.lease(id)?)));
                match held {
                    Some((lease, held)) => TrialPlace::Leased {
                        lease,
                        agent: held.agent,
                        left_ms: held.deadline.since_ms(now.mono),
                    },
                    None => TrialPlace::Waiting,
                }
            }
        }
    }

    fn reasons(
        &self,
        study: StudyId,
        record: &StudyRecord,
        trial: TrialIndex,
        place: &TrialPlace,
        now: Now,
    ) -> Vec<String> {
        let mut reasons = match place {
            TrialPlace::Complete => {
                let lease = self.soft.leases.holder(study, trial);
                let again = lease.and_then(|lease| self.soft.leases.lease(lease)).map(|lease| {
                    let agent = lease.agent;
                    format!("agent {agent} trains it again, to compare: `coordinator verify`")
                });
                std::iter::once("it has its outcome".to_string()).chain(again).collect()
            }
            TrialPlace::Cancelled => vec!["its study was cancelled".to_string()],
            TrialPlace::Failed if record.poison.contains(&trial) => {
                vec!["it was given up: it kills the agents that train it".to_string()]
            }
            TrialPlace::Failed => vec!["it was given up; `coordinator retry` opens it".to_string()],
            TrialPlace::Leased { agent, left_ms, lease } => {
                let held = format!(
                    "agent {agent} has it; unless it says that it goes on, the lease ends in {} s",
                    left_ms.div_ceil(1_000)
                );
                // It may be a score.
                let said = self.soft.said.get(lease).filter(|_| !self.state.is_closed(study));
                let said = said.map(|words| format!("its program said last: {words}"));
                [Some(held), said].into_iter().flatten().collect()
            }
            TrialPlace::Waiting if record.trial(trial) == Some(TrialState::Unchosen) => {
                vec![self.why_unchosen(study, record, trial)]
            }
            TrialPlace::Waiting => self.why_waiting(study, record, trial, now),
        };
        if let Some(tally) = record.tallies.get(&trial) {
            reasons.push(format!(
                "{} of {} failures of its own and {} of {LOSSES_MAX} losses of its agents count \
                 against it",
                tally.own, record.study.budget.attempts, tally.losses
            ));
            reasons.extend(interruptions(tally));
        }
        reasons
    }

    /// Of a refit that no choice has fallen on, or a trial whose config is not proposed.
    fn why_unchosen(&self, study: StudyId, record: &StudyRecord, trial: TrialIndex) -> String {
        let design = Design::of(&record.study);
        let key = design.key(trial);
        if let Some(why) = key.as_ref().and_then(|key| self.why_unbought(study, &design, key)) {
            return why;
        }
        let choice = key.as_ref().and_then(|key| design.choice_of(key));
        let known = self.state.choices(study);
        if let Some((key, choice)) = key.as_ref().filter(|key| key.inner.is_some()).zip(choice) {
            if design.is_learned(choice.arm) {
                return why_unproposed(record, &design, choice);
            }
            let chosen = known.and_then(|known| known.chosen(choice));
            return match self.state.is_closed(study) {
                true => {
                    "scores on inner folds say whether it is trained, and are sealed".to_string()
                }
                false => why_not_reached(record, &design, (choice, chosen), key.config).to_string(),
            };
        }
        match choice.and_then(|choice| known?.chosen(choice)) {
            Some(_) if self.state.is_closed(study) => {
                "the inner folds chose; which config is sealed".to_string()
            }
            Some(config) => {
                let other = key.map(|key| TrialKey { config, ..key });
                let point = other.map(|key| key.config(&record.study).point.to_string());
                format!(
                    "it is not trained: the inner folds chose another config, {}",
                    point.unwrap_or_default()
                )
            }
            None => "the inner folds have not chosen yet whether it is trained".to_string(),
        }
    }

    /// Of a trial whose seed nobody bought.
    fn why_unbought(&self, study: StudyId, design: &Design, key: &TrialKey) -> Option<String> {
        let known = self.state.buying(study)?;
        let bought = known.seeds(key.arm)?;
        if design.seed_number(key)? < u64::from(bought) {
            return None;
        }
        let open = |arm: u32| known.open().any(|other| other == arm);
        Some(if self.state.is_closed(study) {
            "its seed is not bought; why is sealed".to_string()
        } else if open(key.arm) {
            format!(
                "its seed is not bought yet: [stop] decides when those of the first {bought} have ended"
            )
        } else if known.open().next().is_some() {
            format!("it is not trained: its arm is out after {bought} seeds, and others go on")
        } else {
            format!(
                "it is not trained: {bought} seeds of its arm were enough; `coordinator extend` buys more"
            )
        })
    }

    fn why_waiting(
        &self,
        study: StudyId,
        record: &StudyRecord,
        trial: TrialIndex,
        now: Now,
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.soft.proposed.contains(&(study, trial)) {
            reasons.push("its outcome is on its way into the log".to_string());
        }
        if record.state == StudyState::Paused {
            reasons.push("its study is paused; `coordinator resume` goes on".to_string());
        }
        if let Room::OutcomesOnly { why } | Room::Nothing { why } = &self.room {
            reasons.push(why.clone());
        }
        if now.mono < self.soft.grants_from {
            let left = self.soft.grants_from.since_ms(now.mono).div_ceil(1_000);
            reasons.push(format!(
                "this coordinator leads only just now, and hears for {left} s what agents have"
            ));
        }
        reasons.extend(self.busy(study, record, trial, now));
        let queue = self.soft.queues.get(&study);
        if queue.is_some_and(|queue| queue.is_suspect(trial)) {
            reasons.push("it was in training when agents died: it will be tried alone".to_string());
        }
        if reasons.is_empty() {
            reasons.push("its turn comes with the next free lanes of its shape".to_string());
        }
        reasons
    }

    /// Whether there are lanes, and who is served before.
    fn busy(
        &self,
        study: StudyId,
        record: &StudyRecord,
        trial: TrialIndex,
        now: Now,
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        let connected: Vec<_> =
            self.sessions.values().filter(|session| session.about.is_some()).collect();
        let aside = connected.iter().filter(|session| {
            self.health_of(session.member).is_some_and(|health| health.set_aside.is_some())
        });
        let aside = aside.count();
        if connected.is_empty() {
            reasons.push("no agent is connected; `coordinator start` prints how they join".into());
        } else if aside == connected.len() {
            reasons.push("every agent is set aside; `coordinator agents` says why".into());
        } else if runs_program(record, trial) && connected.iter().all(|session| !session.programs) {
            reasons.push(
                "no agent allows programs; join one with `agent join --allow-programs`".into(),
            );
        } else if let Some(why) = self.why_unmet(record, trial) {
            reasons.push(why);
        } else if connected.iter().all(|session| session.offered == 0) {
            let lanes: u32 = connected.iter().filter_map(|s| Some(s.about.as_ref()?.lanes)).sum();
            let agents = connected.len();
            reasons.push(format!("all {lanes} lanes of {agents} agents are taken"));
        } else if self.ends_too_soon(study, record, trial, now) {
            reasons.push(
                "agents with free lanes end too soon: it would neither end nor reach a checkpoint; \
                 `coordinator agents` shows when"
                    .into(),
            );
        }
        let before = self.state.studies.iter().filter(|(id, other)| {
            let first = (-i64::from(other.priority), other.order);
            **id != study
                && other.state == StudyState::Active
                && other.open() > self.soft.leases.leased(**id)
                && first < (-i64::from(record.priority), record.order)
        });
        let names: Vec<&str> = before.map(|(_, other)| other.study.name.as_str()).collect();
        if !names.is_empty() {
            reasons.push(format!(
                "served before it: {}; `coordinator priority` changes the order",
                names.join(", ")
            ));
        }
        reasons
    }
}

impl Node {
    /// Whether every agent with free lanes that may train it ends before the trial could be left without a loss.
    fn ends_too_soon(
        &self,
        study: StudyId,
        record: &StudyRecord,
        trial: TrialIndex,
        now: Now,
    ) -> bool {
        let Some(key) = Design::of(&record.study).key(trial) else { return false };
        let needs = Needs::of_arm(&record.study, key.arm(&record.study));
        let free = self.here().filter(|session| session.offered > 0 && session.meets(needs));
        let mut free = free.peekable();
        free.peek().is_some()
            && free.all(|session| {
                let reach = Reach::of(session, &self.soft.paces, (study, record), now);
                reach.is_some_and(|reach| !reach.has(key.arm))
            })
    }
}

/// How often agents that left gave it back, of the latest attempts.
fn interruptions(tally: &Tally) -> Option<String> {
    let count = |why| tally.past.iter().filter(|past| past.reason == why).count();
    let counts = [FailReason::Preempted, FailReason::OutOfTime].map(|why| (why, count(why)));
    let named = counts.iter().filter(|(_, count)| *count > 0);
    let list: Vec<String> = named.map(|(why, count)| format!("{count} {}", why.name())).collect();
    (!list.is_empty()).then(|| {
        let list = list.join(", ");
        format!("of its latest attempts agents that left gave back: {list}; none counts against it")
    })
}

/// What a trial is. Of a sealed study what its searches proposed is not told: scores led them there.
fn cell(record: &StudyRecord, trial: TrialIndex, closed: bool) -> String {
    let study = match closed {
        true => Cow::Owned(record.study.unsearched()),
        false => Cow::Borrowed(&record.study),
    };
    let key = Design::try_of(&study).and_then(|design| design.key(trial));
    key.map(|key| key.in_words(&study)).unwrap_or_default()
}

/// Of a trial on a rung that its config has not reached. `chosen`: of its choice.
fn why_not_reached(
    record: &StudyRecord,
    design: &Design,
    (choice, chosen): (Choice, Option<u32>),
    config: u32,
) -> &'static str {
    let halving = design.halving(choice.arm);
    let place = halving.map_or(config, |halving| halving.place(config).1);
    let over = chosen.is_some() || record.next_rung(design, choice).is_none();
    let goes_on = !over && record.furthest(design, choice).contains(&place);
    let at_once = halving.is_some_and(|halving| halving.at_once);
    match (halving, goes_on) {
        (Some(_), _) if at_once && chosen.is_none() => {
            "its config reaches this rung as soon as it is among the best of those that are scored on the \
             rung before"
        }
        (Some(_), true) => {
            "the best of its choice's configs reach this rung, when all on the rung before have ended"
        }
        (Some(_), false) => "it is not trained: others of its choice went on to the next rung",
        (None, true) => {
            "its config is in the race of its choice: those that can still be the best go on to the next \
             tuning seed, when all of the last one have ended"
        }
        (None, false) if chosen == Some(config) => {
            "it is not trained: its config is the one that its choice's race left"
        }
        (None, false) => "it is not trained: its config was dropped from the race of its choice",
    }
}

/// How far the search is that has not proposed a config.
fn why_unproposed(record: &StudyRecord, design: &Design, choice: Choice) -> String {
    let ended = |slot: &u32| {
        let trials = design.tries_of(choice, *slot).concat();
        let open = [Some(TrialState::Open), Some(TrialState::Unchosen)];
        trials.iter().all(|trial| !open.contains(&record.trial(*trial)))
    };
    let tried = searching::tries(&record.study, choice);
    let scored = (0..tried).filter(ended).count();
    let all = record.study.arms[choice.arm as usize].configs.len();
    format!(
        "its config is not proposed yet: {scored} of {all} tries of its choice are scored, and the next \
         ones wait for all before them"
    )
}
