//! How an agent leaves: nothing new, what trains is stopped in time, handed on and given back.
//!
//! What is in training goes on until little of the time is left: some of it ends, and of the rest
//! the driver keeps checkpoints. Then it is stopped, what it reached goes to the coordinator, and only
//! then its lease: whoever is granted it next finds the checkpoints there. While anything is left to
//! tell, a connection that is lost is waited for. When the time is over what was not told is not.
//!
//! Floor: core.

use common::id::LeaseId;
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::message::FromAgent;

use super::{Cohort, Contact, Doing, Effect, Session};

#[derive(Debug)]
pub(super) struct Leaving {
    /// What trains is stopped then.
    stop: Timestamp,
    /// Gone then at the latest, but for what only the coordinator can still acknowledge.
    until: Timestamp,
    why: FailReason,
    told: bool,
}

impl Session {
    pub(super) fn begin_to_leave(&mut self, until: Timestamp, why: FailReason, now: Timestamp) {
        let spare_ms = match self.hears.hands_on {
            true => (until.since_ms(now) / 2).min(HAND_ON_MS),
            false => 0,
        };
        let stop = Timestamp(until.0.saturating_sub(spare_ms));
        self.leaving.get_or_insert(Leaving { stop, until, why, told: false });
        self.hand_back.extend(self.waiting.drain(..).map(|cohort| cohort.lease));
    }

    /// Stops what trains when it is time, and waits for nothing any more when that is over.
    pub(super) fn stop_in_time(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(Leaving { stop, until, .. }) = self.leaving else { return };
        if now >= stop {
            let training = self.running.iter_mut();
            for (lease, running) in training.filter(|(_, r)| r.doing == Doing::Trains) {
                effects.push(Effect::StopCohort { lease: *lease });
                running.doing = Doing::Stops;
            }
        }
        if now >= until {
            for (lease, running) in std::mem::take(&mut self.running) {
                // Stopped on purpose: their markers must not read as a crash.
                effects.push(Effect::Forget { attempts: running.cohort.attempts().collect() });
                if running.doing == Doing::Stops {
                    self.interrupted.push(lease);
                }
            }
            self.interrupted.extend(std::mem::take(&mut self.handing_on).into_keys());
        }
    }

    /// A cohort was stopped since this agent leaves, or ended with it by what ends both.
    pub(super) fn stands_still(&mut self, cohort: Cohort, effects: &mut Vec<Effect>) {
        let (lease, id, trials) = (cohort.lease, cohort.study, cohort.trials.clone());
        let study = self.studies.get(&id).and_then(|known| known.study.clone());
        match study.filter(|_| self.hears.hands_on && self.is_registered()) {
            Some(study) => {
                self.handing_on.insert(lease, cohort);
                effects.push(Effect::HandOn { lease, id, study, trials });
            }
            None => self.interrupted.push(lease),
        }
    }

    pub(super) fn handed_on(&mut self, lease: LeaseId) {
        if self.handing_on.remove(&lease).is_some() {
            self.interrupted.push(lease);
        }
    }

    /// Gives back what was in training, with the reason where that is heard.
    pub(super) fn tell_interrupted(&mut self, effects: &mut Vec<Effect>) {
        let Some(Leaving { why, .. }) = self.leaving else { return };
        if self.interrupted.is_empty() {
            return;
        }
        let leases = std::mem::take(&mut self.interrupted);
        effects.push(Effect::Send(match self.hears.hands_on {
            true => FromAgent::Interrupted { leases, why },
            false => FromAgent::HandBack { leases },
        }));
    }

    pub(super) fn leave_when_done(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let unsaid =
            !self.outbox.is_empty() || !self.interrupted.is_empty() || !self.hand_back.is_empty();
        let unheard = unsaid && !matches!(self.contact, Contact::Never | Contact::Over);
        let Some(leaving) = &mut self.leaving else { return };
        let patience = leaving.until.max(leaving.stop.plus_ms(FAREWELL_MS));
        let busy = !self.running.is_empty() || !self.handing_on.is_empty();
        if !busy && (!unheard || now >= patience) && !leaving.told {
            leaving.told = true;
            effects.push(Effect::Left);
        }
    }
}

/// Of the time to leave, what is kept for handing on; at most half of it.
const HAND_ON_MS: u64 = 5_000;

/// How long a leaving agent waits for acknowledgements after it has stopped what trained.
const FAREWELL_MS: u64 = 2_000;
