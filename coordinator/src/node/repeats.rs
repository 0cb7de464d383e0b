//! Complete trials that are trained again, and whether their outcomes come out as before.
//!
//! Nothing of it is in the log: a leader keeps it as soft state, and its client asks for what is
//! lacking for as long as it wants it, so a new leader begins with that. The first outcome stands in
//! any case. A report of another digest goes into the log the way any late one does, and is a finding
//! of the study from then on. An agent trains these as it trains anything: it cannot tell them apart.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::repeat::{Again, Difference, REPEATS_MAX, draw};
use common::time::Timestamp;
use common::trial::{Attempt, Ending, FailReason, Outcome};
use common::wire::message::{Repeat, RepeatState, Repeats, Response, StudyState, ToAgent};

use super::borrowed::Reach;
use super::grants::lanes;
use super::{Node, Now, Room, SessionId, asks};
use crate::planted::planted;
use crate::scheduler::placement::{Fit, Queue, ShapeQueue};
use crate::scheduler::state::{TrialState, short_digest};

/// Everything that this leader has trained again: by study and the number that a client drew.
pub(super) type AllRepeats = BTreeMap<(StudyId, u64), Repeating>;

/// What one client wants to be trained again.
pub(super) struct Repeating {
    queue: Queue,
    trials: BTreeMap<TrialIndex, Repeated>,
    /// Every lease that was granted for it: a report under one of these is a repetition, and one
    /// under another lease is the first training's, sent once more.
    leases: BTreeSet<LeaseId>,
    /// When its client last asked. Nobody trains for one that has left.
    asked: Timestamp,
}

/// What came of one trial.
enum Repeated {
    /// `losses`: agents that died or vanished with it.
    Open {
        losses: u32,
    },
    /// `outcome`: without its rows and metrics where it has the digest of the one that stands.
    Done {
        agent: MemberId,
        is_same: bool,
        outcome: Box<Outcome>,
    },
    Failed {
        reason: String,
        detail: String,
    },
}

impl Node {
    /// Begins, or goes on with, what a client wants to be trained again; says how far it is.
    pub(super) fn repeat(
        &mut self,
        study: StudyId,
        number: u64,
        again: Again,
        now: Now,
    ) -> Response {
        let key = (study, number);
        let wanted = match (self.wanted(key, again), self.soft.repeats.contains_key(&key)) {
            (Err(why), _) => return Response::Refused { why },
            (Ok(_), false) if self.soft.repeats.len() >= REPEATING_MAX => {
                let why = "too many others have trials trained again just now; try later";
                return Response::Refused { why: why.to_string() };
            }
            (Ok(wanted), _) => wanted,
        };
        let Some(record) = self.state.studies.get(&study) else {
            return asks::unknown_study(study);
        };
        let repeating = self.soft.repeats.entry(key).or_insert_with(|| Repeating {
            queue: Queue::only(&record.study, &[]),
            trials: BTreeMap::new(),
            leases: BTreeSet::new(),
            asked: now.mono,
        });
        repeating.asked = now.mono;
        for trial in &wanted {
            if !repeating.trials.contains_key(trial) {
                repeating.trials.insert(*trial, Repeated::Open { losses: 0 });
                repeating.queue.put_back(*trial, false);
            }
        }
        let trials: Vec<Repeat> =
            wanted.iter().filter_map(|trial| self.repeat_state(key, *trial)).collect();
        let agents = self.sessions.values().filter(|s| s.about.is_some());
        let agents = agents.filter(|s| self.is_in_use(s.member)).count() as u64;
        let record = self.state.studies.get(&study);
        let unable = || record.and_then(|record| self.unmet(record, wanted.iter()));
        let held = self.held(study, now).or_else(unable);
        Response::Repeats(Box::new(Repeats { agents, held, trials }))
    }

    /// The trials that are meant, in order. Only complete ones have an outcome to compare with.
    fn wanted(&self, key: (StudyId, u64), again: Again) -> Result<Vec<TrialIndex>, String> {
        let Some(record) = self.state.studies.get(&key.0) else { return Ok(Vec::new()) };
        let is_complete = |trial: TrialIndex| record.trial(trial) == Some(TrialState::Complete);
        let known = self.soft.repeats.get(&key);
        let wanted: BTreeSet<TrialIndex> = match (again, known) {
            // Asked again, since the first answer was lost.
            (Again::Drawn { .. }, Some(known)) => known.trials.keys().copied().collect(),
            (Again::Drawn { count, seed }, None) => {
                let count = count.min(REPEATS_MAX + 1);
                draw(&record.study, count, seed, &is_complete).into_iter().collect()
            }
            (Again::These(trials), _) => trials.into_iter().collect(),
        };
        if let Some(trial) = wanted.iter().find(|trial| !is_complete(**trial)) {
            return Err(format!(
                "trial {trial} of {} is not complete; only a trial with an outcome can be compared",
                record.study.name
            ));
        }
        let known = known.map(|known| &known.trials);
        let new = wanted.iter().filter(|trial| !known.is_some_and(|k| k.contains_key(trial)));
        if known.map_or(0, BTreeMap::len) + new.count() > REPEATS_MAX as usize {
            return Err(format!("at most {REPEATS_MAX} trials are trained again at once"));
        }
        match wanted.is_empty() {
            true => Err(format!(
                "{} has no complete trial yet: there is nothing to train again",
                record.study.name
            )),
            false => Ok(wanted.into_iter().collect()),
        }
    }

    /// What can be said of one; the driver adds what the disk knows of the outcome that stands.
    fn repeat_state(&self, key: (StudyId, u64), trial: TrialIndex) -> Option<Repeat> {
        let state = match self.soft.repeats.get(&key)?.trials.get(&trial)? {
            Repeated::Open { .. } => {
                let lease = self.soft.leases.holder(key.0, trial);
                match lease.and_then(|lease| self.soft.leases.lease(lease)) {
                    Some(lease) => RepeatState::Leased { agent: lease.agent },
                    None => RepeatState::Waiting,
                }
            }
            Repeated::Done { agent, is_same, outcome } => RepeatState::Done {
                agent: *agent,
                devices: (String::new(), outcome.device.clone()),
                difference: (!is_same).then(Box::<Difference>::default),
            },
            Repeated::Failed { reason, detail } => {
                RepeatState::Failed { reason: reason.clone(), detail: detail.clone() }
            }
        };
        Some(Repeat { trial, state })
    }

    /// The later outcome of a trial that gave another digest than before.
    pub fn repeated_outcome(
        &self,
        study: StudyId,
        number: u64,
        trial: TrialIndex,
    ) -> Option<Outcome> {
        match self.soft.repeats.get(&(study, number))?.trials.get(&trial)? {
            Repeated::Done { outcome, .. } => Some((**outcome).clone()),
            _ => None,
        }
    }

    /// Whether a lease is one of complete trials that are trained again.
    pub fn is_repetition(&self, lease: LeaseId) -> bool {
        self.soft.leases.is_repetition(lease)
    }

    /// Why nothing of a study is trained again just now, although there may be agents.
    fn held(&self, study: StudyId, now: Now) -> Option<String> {
        let is_paused = |state: StudyState| state == StudyState::Paused;
        if self.state.studies.get(&study).is_some_and(|record| is_paused(record.state)) {
            return Some("the study is paused; `coordinator resume` goes on".to_string());
        }
        if let Room::OutcomesOnly { why } | Room::Nothing { why } = &self.room {
            return Some(why.clone());
        }
        (now.mono < self.soft.grants_from)
            .then(|| "this coordinator leads only just now, and hears what agents have".to_string())
    }

    /// Hands out what is to be trained again, before anything else: somebody waits for it, and it is
    /// little.
    pub(super) fn grant_repeats(&mut self, now: Now) {
        let waits = |(study, _): &(StudyId, u64)| {
            let record = self.state.studies.get(study);
            record.is_some_and(|record| record.state != StudyState::Paused)
        };
        let keys: Vec<_> = self.soft.repeats.keys().copied().filter(waits).collect();
        for key in keys {
            while self.grant_repeats_of(key, now) {}
        }
    }

    /// A cohort for every agent that offers lanes; false when nobody took one.
    fn grant_repeats_of(&mut self, key: (StudyId, u64), now: Now) -> bool {
        let offers: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.offered > 0 && self.is_in_use(s.member))
            .map(|(id, _)| *id)
            .collect();
        let slots = u64::from(self.slots().max(1));
        let mut granted = false;
        for session in offers {
            granted |= self.grant_cohort_again(session, key, slots, now).is_some();
        }
        granted
    }

    fn grant_cohort_again(
        &mut self,
        session: SessionId,
        key: (StudyId, u64),
        slots: u64,
        now: Now,
    ) -> Option<()> {
        let record = self.state.studies.get(&key.0)?;
        let (version, paces) = (record.version, &self.soft.paces);
        let reach = Reach::of(self.sessions.get(&session)?, paces, (key.0, record), now);
        let (leases, proposed) = (&self.soft.leases, &self.soft.proposed);
        let Repeating { queue, trials, .. } = self.soft.repeats.get_mut(&key)?;
        let is_open = |trial: &TrialIndex| matches!(trials.get(trial), Some(Repeated::Open { .. }));
        let is_free = |trial: &TrialIndex| {
            leases.holder(key.0, *trial).is_none() && !proposed.contains(&(key.0, *trial))
        };
        let fit = |trial: TrialIndex| match (is_open(&trial), is_free(&trial)) {
            (false, _) => Fit::Nowhere,
            // Under another client's lease, or a report of it is on its way.
            (true, false) => Fit::Elsewhere,
            (true, true) => Fit::Here,
        };
        let waiting = trials.keys().filter(|trial| is_open(trial) && is_free(trial)).count();
        let entry = self.sessions.get_mut(&session)?;
        let share = (waiting as u64).div_ceil(slots).max(1);
        let lanes_free = u64::from(lanes(entry).1).min(share) as usize;
        let allowed = |shape: &ShapeQueue| {
            entry.may_train(shape) && reach.as_ref().is_none_or(|reach| reach.has_shape(shape))
        };
        let taken = queue.take_of(lanes_free, &allowed, &fit);
        if taken.is_empty() {
            return None;
        }
        entry.offered = entry.offered.saturating_sub(lanes(entry).1);
        let (member, term) = (entry.member, self.replica.term());
        let deadline = self.deadline(now);
        let lease = self.soft.leases.grant_again(term, member, key.0, taken.clone(), deadline);
        self.soft.repeats.get_mut(&key)?.leases.insert(lease);
        self.tell(session, ToAgent::Assign { lease, study: key.0, version, trials: taken });
        Some(())
    }

    /// Looks whether a report is of a trial that was trained again. The first one counts.
    pub(super) fn repeated(&mut self, agent: MemberId, attempt: &Attempt, ending: &Ending) {
        let Some(key) = self.repeats_of(attempt.study, attempt.lease) else { return };
        let other = u64::from(planted!(self.settings.planted, Unlike));
        let standing = TrialIndex(attempt.trial.0 ^ other);
        let standing = self.state.studies.get(&attempt.study).map(|r| r.digest(standing));
        let is_plausible = match ending {
            Ending::Complete(outcome) => self.is_plausible(attempt, outcome),
            Ending::Failed { .. } => false,
        };
        let Some(repeating) = self.soft.repeats.get_mut(&key) else { return };
        let Some(repeated @ Repeated::Open { .. }) = repeating.trials.get_mut(&attempt.trial)
        else {
            return;
        };
        *repeated = match ending {
            Ending::Complete(outcome) if is_plausible => {
                let is_same = standing == Some(short_digest(&outcome.digest()));
                // What is compared is what was measured.
                let mut outcome = Box::new(Outcome { curve: None, ..outcome.clone() });
                if is_same {
                    (outcome.metrics, outcome.rows) = (Vec::new(), Vec::new());
                }
                Repeated::Done { agent, is_same, outcome }
            }
            Ending::Complete(_) => Repeated::Failed {
                reason: FailReason::Error.name().to_string(),
                detail: "the outcome does not have the study's metrics and rows".to_string(),
            },
            Ending::Failed { reason, detail } => Repeated::Failed {
                reason: reason.name().to_string(),
                detail: detail.chars().take(DETAIL_CHARACTERS_MAX).collect(),
            },
        };
    }

    /// An agent died or vanished with a trial that it trained again: another one may try.
    pub(super) fn repeat_lost(&mut self, attempt: &Attempt, reason: FailReason) {
        let Some(key) = self.repeats_of(attempt.study, attempt.lease) else { return };
        let Some(repeating) = self.soft.repeats.get_mut(&key) else { return };
        let Some(repeated @ Repeated::Open { .. }) = repeating.trials.get_mut(&attempt.trial)
        else {
            return;
        };
        let losses = if let Repeated::Open { losses } = repeated { *losses + 1 } else { 1 };
        if losses >= REPEAT_LOSSES_MAX {
            let detail = format!("{losses} agents were lost while they trained it again");
            *repeated = Repeated::Failed { reason: reason.name().to_string(), detail };
        } else {
            *repeated = Repeated::Open { losses };
            repeating.queue.put_back(attempt.trial, losses > 1);
        }
    }

    /// A lease ran out. True when it was one of these: nothing of it belongs into the log.
    pub(super) fn repeat_expired(
        &mut self,
        lease: LeaseId,
        study: StudyId,
        trials: &[TrialIndex],
    ) -> bool {
        let is_one = self.repeats_of(study, lease).is_some();
        for trial in trials.iter().filter(|_| is_one) {
            let attempt = Attempt { study, trial: *trial, lease };
            self.repeat_lost(&attempt, FailReason::AgentLost);
        }
        is_one
    }

    /// A lease was given back: its trials wait again, and nothing counts against them.
    pub(super) fn repeat_given_back(
        &mut self,
        lease: LeaseId,
        study: StudyId,
        trials: &[TrialIndex],
    ) {
        let key = self.repeats_of(study, lease);
        if let Some(repeating) = key.and_then(|key| self.soft.repeats.get_mut(&key)) {
            trials.iter().for_each(|trial| repeating.queue.put_back(*trial, false));
        }
    }

    /// Whoever cancels a study wants nothing of it to be trained, for whatever reason.
    pub(super) fn stop_repeats(&mut self, study: StudyId) {
        for (_, repeating) in self.soft.repeats.iter_mut().filter(|((of, _), _)| *of == study) {
            let open = repeating.trials.values_mut();
            for repeated in open.filter(|repeated| matches!(repeated, Repeated::Open { .. })) {
                let (reason, detail) = ("cancelled".to_string(), STOPPED.to_string());
                *repeated = Repeated::Failed { reason, detail };
            }
        }
        self.revoke_repeats(|_, lease_study| lease_study == study);
    }

    /// Forgets what no client has asked for in a while.
    pub(super) fn tend_repeats(&mut self, now: Now) {
        let mut leases = BTreeSet::new();
        self.soft.repeats.retain(|_, repeating| {
            let has_left = now.mono.since_ms(repeating.asked) >= LEFT_AFTER_MS;
            if has_left {
                leases.append(&mut repeating.leases);
            }
            !has_left
        });
        if !leases.is_empty() {
            self.revoke_repeats(|lease, _| leases.contains(&lease));
        }
    }

    fn revoke_repeats(&mut self, is_meant: impl Fn(LeaseId, StudyId) -> bool) {
        let leases = &self.soft.leases;
        let meant = leases.all().filter(|(id, _)| leases.is_repetition(*id));
        let meant = meant.filter(|(id, lease)| is_meant(*id, lease.study));
        let meant: Vec<LeaseId> = meant.map(|(id, _)| id).collect();
        for id in meant {
            if let Some(lease) = self.soft.leases.end(id) {
                self.tell_member(lease.agent, ToAgent::Revoke { lease: id });
            }
        }
    }

    /// Whose repetition a lease was granted for.
    fn repeats_of(&self, study: StudyId, lease: LeaseId) -> Option<(StudyId, u64)> {
        let of_study = self.soft.repeats.range((study, 0)..=(study, u64::MAX));
        of_study.into_iter().find(|(_, one)| one.leases.contains(&lease)).map(|(key, _)| *key)
    }
}

const STOPPED: &str = "the study was cancelled while it was trained again";

/// Clients that have trials trained again at one time.
const REPEATING_MAX: usize = 16;
/// After which the agents are not to blame.
const REPEAT_LOSSES_MAX: u32 = 3;
/// A client asks several times a second; an election and its own pauses fit in.
const LEFT_AFTER_MS: u64 = 60_000;
const DETAIL_CHARACTERS_MAX: usize = 500;
