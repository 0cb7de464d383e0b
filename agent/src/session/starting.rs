//! Cohorts before they train: granted, completed by what others left of them, started.
//!
//! A cohort whose checkpoints are on their way waits for them, and starts without those that cannot be
//! had: where its trainings begin changes none of their bits.
//!
//! Floor: core.

use common::id::{Digest, LeaseId, StudyId, TrialIndex};
use common::trial::Attempt;

use super::{Contact, Doing, Effect, Known, Progress, Running, Session, lanes};

/// Trials granted together.
#[derive(Debug)]
pub(super) struct Cohort {
    pub lease: LeaseId,
    pub study: StudyId,
    pub trials: Vec<TrialIndex>,
    pub beginning: Beginning,
}

/// Where the trainings of a cohort begin, as far as that is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// At what is here.
    Known,
    /// Others left these.
    Wanted(Vec<(TrialIndex, Digest)>),
    Fetching,
}

impl Cohort {
    pub fn new(lease: LeaseId, study: StudyId, trials: Vec<TrialIndex>) -> Self {
        Self { lease, study, trials, beginning: Beginning::Known }
    }

    /// The same cohort, of whose trials others left checkpoints.
    pub fn from(self, checkpoints: Vec<(TrialIndex, Digest)>) -> Self {
        Self { beginning: Beginning::Wanted(checkpoints), ..self }
    }

    pub fn attempts(&self) -> impl Iterator<Item = Attempt> {
        let (study, lease) = (self.study, self.lease);
        self.trials.iter().map(move |&trial| Attempt { study, trial, lease })
    }
}

impl Session {
    pub(super) fn assigned(&mut self, version: u32, cohort: Cohort) {
        if let Contact::Registered { offered, .. } = &mut self.contact {
            *offered = offered.saturating_sub(lanes(cohort.trials.len()));
        }
        let held = self.running.contains_key(&cohort.lease)
            || self.handing_on.contains_key(&cohort.lease)
            || self.waiting.iter().any(|waiting| waiting.lease == cohort.lease);
        if held {
            return;
        }
        if self.leaving.is_some() || cohort.trials.is_empty() {
            self.hand_back.push(cohort.lease);
            return;
        }
        let used = self.studies.values().map(|known| known.used).max().unwrap_or(0) + 1;
        let known = self.studies.entry(cohort.study).or_insert(Known {
            version,
            study: None,
            rows: false,
            progress: Progress::Unknown,
            used,
        });
        known.used = used;
        if known.version < version {
            // It has grown, or says of more of its trials what they train.
            (known.version, known.study, known.progress) = (version, None, Progress::Unknown);
        }
        self.waiting.push_back(cohort);
    }

    /// Asks for what others left of cohorts whose study is here.
    pub(super) fn fetch_checkpoints(&mut self, effects: &mut Vec<Effect>) {
        for cohort in &mut self.waiting {
            let study = self.studies.get(&cohort.study).and_then(|known| known.study.clone());
            let Some(study) = study else { continue };
            match std::mem::replace(&mut cohort.beginning, Beginning::Fetching) {
                Beginning::Wanted(checkpoints) => {
                    let lease = cohort.lease;
                    effects.push(Effect::FetchCheckpoints { lease, study, checkpoints });
                }
                other => cohort.beginning = other,
            }
        }
    }

    pub(super) fn checkpoints_here(&mut self, lease: LeaseId) {
        let waits = self.waiting.iter_mut().find(|cohort| cohort.lease == lease);
        if let Some(cohort) = waits {
            cohort.beginning = Beginning::Known;
        }
    }

    pub(super) fn start_cohorts(&mut self, effects: &mut Vec<Effect>) {
        while self.running.len() < self.threads {
            let studies = &self.studies;
            let ready = |cohort: &Cohort| {
                let known = studies.get(&cohort.study)?;
                let here = known.progress == Progress::Ready;
                known.study.clone().filter(|_| here && cohort.beginning == Beginning::Known)
            };
            let found =
                self.waiting.iter().enumerate().find_map(|(at, one)| Some((at, ready(one)?)));
            let Some((place, study)) = found else { return };
            let Some(cohort) = self.waiting.remove(place) else { return };
            effects.push(Effect::MarkStarted { attempts: cohort.attempts().collect() });
            effects.push(Effect::StartCohort {
                lease: cohort.lease,
                id: cohort.study,
                study,
                trials: cohort.trials.clone(),
            });
            self.running.insert(cohort.lease, Running { cohort, doing: Doing::Trains });
        }
    }
}
