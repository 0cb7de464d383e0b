//! What the replicas agree on: studies with their trials' ends, tokens, members, replicas.
//!
//! A trial costs nine bytes; only those that failed once cost more. Whether an open trial waits or
//! is leased is the leader's soft state and not here. The state has a digest that costs nothing in
//! proportion to the number of trials: each study keeps a sum over its trials' ends.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::Design;
use common::id::{ClientId, ClusterId, Digest, LeaseId, MemberId, ReplicaId, StudyId, TrialIndex};
use common::ledger::{Ledger, Sealing};
use common::seed::mix;
use common::study::Study;
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::codec;
use common::wire::message::{PastFailure, Role, StudyState, Violation};
use serde::{Deserialize, Serialize};

use super::buying::{Buying, is_bought};
use super::choices::Choices;
use super::command::{BUYING_LEVEL, LEDGER_LEVEL, NESTED_LEVEL, SEALS_LEVEL};

/// Everything a snapshot holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub cluster: ClusterId,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Kinds of entries that may be in the log.
    pub level: u16,
    pub studies: BTreeMap<StudyId, StudyRecord>,
    /// Studies ever submitted: the next one's place in the queue.
    pub submissions: u64,
    pub tokens: BTreeMap<[u8; 6], Token>,
    pub members: BTreeMap<MemberId, Member>,
    pub next_member: u64,
    pub replicas: BTreeMap<ReplicaId, ReplicaRecord>,
    pub next_replica: u64,
    /// The last command of each client that asked lately.
    pub clients: BTreeMap<ClientId, ClientRecord>,
    /// Who was shown outcomes of a study; of those that were looked at. Part of the encoding from
    /// [`LEDGER_LEVEL`] on, so that programs of before read what is below it.
    #[serde(skip)]
    pub ledgers: BTreeMap<StudyId, Ledger>,
    /// Of studies that were sealed or claimed something of; in the encoding from [`SEALS_LEVEL`] on.
    #[serde(skip)]
    pub sealings: BTreeMap<StudyId, Sealing>,
    /// Of studies whose configs are chosen on inner folds; in the encoding from [`NESTED_LEVEL`] on.
    #[serde(skip)]
    pub choices: BTreeMap<StudyId, Choices>,
    /// Of studies that are bought bit by bit; in the encoding from [`BUYING_LEVEL`] on.
    #[serde(skip)]
    pub buying: BTreeMap<StudyId, Buying>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    pub study: Study,
    /// Grows when the study gains trials, or what they train is decided.
    pub version: u32,
    /// The study file as written.
    pub text: String,
    /// Of study and text as they are.
    written: Digest,
    pub submitted: Timestamp,
    /// Among equal priorities earlier ones are served first.
    pub order: u64,
    pub priority: i32,
    pub state: StudyState,
    pub finished: Option<Timestamp>,
    trials: Vec<TrialState>,
    /// First 64 bits of each outcome's digest; zero without one.
    digests: Vec<u64>,
    /// Over the two lists above.
    sum: u64,
    /// Refits that no choice will fall on, and trials that nobody will buy; follows from the rest.
    #[serde(skip)]
    never: u64,
    /// Trials on inner folds that races and halvings did not need, as [`StudyRecord::spared`] counts them;
    /// follows from the rest.
    #[serde(skip)]
    pub(super) spared: i64,
    pub complete: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Attempts without an outcome.
    pub failures: BTreeMap<FailReason, u64>,
    /// Trials that failed at least once.
    pub tallies: BTreeMap<TrialIndex, Tally>,
    /// Given up because they killed whoever trained them.
    pub poison: BTreeSet<TrialIndex>,
    /// Outcomes that came again and differed.
    pub differing: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
}

/// What the replicas know of a trial. "Leased" is absent: the leader alone knows that.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum TrialState {
    Open,
    Complete,
    Failed,
    Cancelled,
    /// A refit that no choice has fallen on, or a trial whose seed is not bought.
    Unchosen,
}

/// Failures of one trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub own: u32,
    pub losses: u32,
    /// Leases already counted: a failure told twice counts once. Those of all failures and losses, and then
    /// of the latest interruptions.
    pub counted: Vec<LeaseId>,
    /// The latest, oldest first.
    pub past: Vec<PastFailure>,
}

/// A join token; its secret is known by hash alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub secret_hash: [u8; 32],
    pub role: Role,
    pub uses_left: Option<u32>,
    pub expires: Timestamp,
    pub label: String,
}

/// An admitted key of an agent or operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub role: Role,
    pub label: String,
    pub joined: Timestamp,
    pub public_key: [u8; 32],
    pub token_id: [u8; 6],
}

/// An admitted replica. Its number is never given again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// `None` until it has come.
    pub address: Option<String>,
    pub joined: Timestamp,
    pub public_key: [u8; 32],
    pub token_id: [u8; 6],
}

/// A client's last command and how it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub number: u64,
    pub reply: Reply,
    /// Index of its entry: who asked longest ago is forgotten first.
    pub index: u64,
}

/// How a command was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Submitted { study: StudyId, known: bool },
    Retried { count: u64 },
    Extended { gained: u64 },
    Refused { why: String },
    Looked { number: u64 },
}

impl State {
    /// The state of a new cluster, whose first replica is `first`.
    pub fn new(cluster: ClusterId, first: ReplicaId, address: Option<String>, level: u16) -> Self {
        let record =
            ReplicaRecord { address, joined: Timestamp(0), public_key: [0; 32], token_id: [0; 6] };
        Self {
            cluster,
            applied: 0,
            level,
            studies: BTreeMap::new(),
            submissions: 0,
            tokens: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: FIRST_MEMBER,
            replicas: BTreeMap::from([(first, record)]),
            next_replica: first.0.get() + 1,
            clients: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            sealings: BTreeMap::new(),
            choices: BTreeMap::new(),
            buying: BTreeMap::new(),
        }
    }

    /// A state before any snapshot of the leader's has arrived.
    pub fn empty(cluster: ClusterId) -> Self {
        Self {
            cluster,
            applied: 0,
            level: 0,
            studies: BTreeMap::new(),
            submissions: 0,
            tokens: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: FIRST_MEMBER,
            replicas: BTreeMap::new(),
            next_replica: 1,
            clients: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            sealings: BTreeMap::new(),
            choices: BTreeMap::new(),
            buying: BTreeMap::new(),
        }
    }

    /// Equal on replicas that applied the same entries.
    pub fn digest(&self) -> [u8; 32] {
        let studies: Vec<_> =
            self.studies.iter().map(|(id, record)| (id, record.digest_parts())).collect();
        let parts = (
            (self.cluster, self.applied, self.level, &studies, self.submissions),
            (&self.tokens, &self.members, self.next_member),
            (&self.replicas, self.next_replica, &self.clients),
        );
        // All of it has an encoding: it is what snapshots are made of.
        let mut bytes = codec::encode(&parts).unwrap_or_default();
        if self.has_ledgers() {
            // A head stands for all looks before it.
            let heads: Vec<_> = self
                .ledgers
                .iter()
                .map(|(study, ledger)| (study, ledger.looks(), ledger.head(), ledger.by()))
                .collect();
            bytes.extend(codec::encode(&heads).unwrap_or_default());
        }
        if self.has_seals() {
            bytes.extend(codec::encode(&self.sealings).unwrap_or_default());
        }
        if self.has_choices() {
            bytes.extend(codec::encode(&self.choices).unwrap_or_default());
        }
        if self.has_buying() {
            bytes.extend(codec::encode(&self.buying).unwrap_or_default());
        }
        *blake3::hash(&bytes).as_bytes()
    }

    /// Whether looks are recorded: every replica's program knows how.
    pub fn has_ledgers(&self) -> bool {
        self.level >= LEDGER_LEVEL
    }

    /// Whether studies may be sealed: every replica's program knows how.
    pub fn has_seals(&self) -> bool {
        self.level >= SEALS_LEVEL
    }

    /// Whether configs may be chosen on inner folds: every replica's program knows how.
    pub fn has_choices(&self) -> bool {
        self.level >= NESTED_LEVEL
    }

    /// Whether studies may be bought bit by bit: every replica's program knows how.
    pub fn has_buying(&self) -> bool {
        self.level >= BUYING_LEVEL
    }

    /// Looks at a study so far.
    pub fn looks(&self, study: StudyId) -> u64 {
        self.ledgers.get(&study).map_or(0, Ledger::looks)
    }

    /// The addresses of all replicas that have one.
    pub fn addresses(&self) -> Vec<String> {
        self.replicas.values().filter_map(|record| record.address.clone()).collect()
    }

    pub fn address_of(&self, replica: ReplicaId) -> Option<String> {
        self.replicas.get(&replica)?.address.clone()
    }

    /// Trials of all studies.
    pub fn planned(&self) -> u64 {
        self.studies.values().map(StudyRecord::planned).sum()
    }
}

impl StudyRecord {
    pub fn new(study: Study, text: String, submitted: Timestamp, order: u64) -> Self {
        let written = written(&study, &text);
        let mut record = Self {
            study,
            version: 0,
            text,
            written,
            submitted,
            order,
            priority: 0,
            state: StudyState::Active,
            finished: None,
            trials: Vec::new(),
            digests: Vec::new(),
            never: 0,
            spared: 0,
            sum: 0,
            complete: 0,
            failed: 0,
            cancelled: 0,
            failures: BTreeMap::new(),
            tallies: BTreeMap::new(),
            poison: BTreeSet::new(),
            differing: 0,
            violations: Vec::new(),
        };
        record.resize();
        record
    }

    /// What of it is not written down.
    pub(super) fn count_never(&mut self, buying: Option<&Buying>) {
        let Some(design) = Design::try_of(&self.study) else { return };
        let refused = design.trials().zip(design.trained()).map(|(all, trained)| all - trained);
        self.never = refused.unwrap_or_default() + buying.map_or(0, |known| known.never(&design));
    }

    /// Closes again what is not bought.
    pub(super) fn hold(&mut self, buying: &Buying) {
        let design = Design::of(&self.study);
        for arm in 0..self.study.arms.len() as u32 {
            let Some(bought) = buying.seeds(arm) else { continue };
            for seed in u64::from(bought)..design.seeds_of(arm) {
                for trial in design.with_seed(arm, seed).into_iter().flat_map(|(range, _)| range) {
                    if self.trials[trial as usize] == TrialState::Open {
                        self.trials[trial as usize] = TrialState::Unchosen;
                    }
                }
            }
        }
        self.count_never(Some(buying));
    }

    /// Gains the trials that its design has and it has not.
    fn resize(&mut self) {
        let design = Design::of(&self.study);
        let trials = design.trials().unwrap_or_default() as usize;
        let from = TrialIndex(self.planned());
        self.trials.resize(trials, TrialState::Open);
        self.digests.resize(trials, 0);
        for trial in design.unchosen(from).into_iter().flatten() {
            self.trials[trial as usize] = TrialState::Unchosen;
        }
        self.never = trials as u64 - design.trained().unwrap_or_default();
    }

    pub fn planned(&self) -> u64 {
        self.trials.len() as u64
    }

    /// Trials that are trained, or will be: of the refits of a choice those of one config, and of a race none
    /// that it has dropped.
    pub fn trained(&self) -> u64 {
        (self.planned() - self.never).saturating_add_signed(-self.spared)
    }

    /// Trials without an end that are trained, or will be.
    pub fn open(&self) -> u64 {
        self.trained() - self.complete - self.failed - self.cancelled
    }

    /// Trials that were cancelled: with a study also the refits that no choice had opened yet.
    pub fn given_up(&self) -> u64 {
        match self.state {
            StudyState::Cancelled => self.cancelled + self.open(),
            _ => self.cancelled,
        }
    }

    pub fn trial(&self, trial: TrialIndex) -> Option<TrialState> {
        self.trials.get(trial.0 as usize).copied()
    }

    pub fn digest(&self, trial: TrialIndex) -> u64 {
        self.digests.get(trial.0 as usize).copied().unwrap_or_default()
    }

    /// Trials in this state.
    pub fn in_state(&self, state: TrialState) -> impl Iterator<Item = TrialIndex> {
        let trials = self.trials.iter().enumerate();
        trials.filter(move |(_, is)| **is == state).map(|(at, _)| TrialIndex(at as u64))
    }

    /// Changes one trial's state and digest, and the sum with them.
    fn set(&mut self, trial: TrialIndex, state: TrialState, digest: u64) {
        let at = trial.0 as usize;
        let before = share(trial, self.trials[at], self.digests[at]);
        (self.trials[at], self.digests[at]) = (state, digest);
        self.sum = self.sum.wrapping_sub(before).wrapping_add(share(trial, state, digest));
    }

    /// Gives an open trial its end. True when it was the study's last one.
    pub(super) fn end(
        &mut self,
        trial: TrialIndex,
        end: TrialState,
        digest: u64,
        at: Timestamp,
    ) -> bool {
        assert_eq!(self.trial(trial), Some(TrialState::Open), "a trial ends once");
        self.set(trial, end, digest);
        match end {
            TrialState::Complete => self.complete += 1,
            TrialState::Failed => self.failed += 1,
            TrialState::Cancelled => self.cancelled += 1,
            TrialState::Open | TrialState::Unchosen => unreachable!("that is no end"),
        }
        self.finish(at)
    }

    pub(super) fn cancel(&mut self, at: Timestamp) {
        let open: Vec<TrialIndex> = self.in_state(TrialState::Open).collect();
        self.cancelled += open.len() as u64;
        open.into_iter().for_each(|trial| self.set(trial, TrialState::Cancelled, 0));
        self.state = StudyState::Cancelled;
        self.finished = Some(at);
    }

    /// Takes a cancelled study up again: what was cancelled is open once more.
    pub(super) fn reopen(&mut self) {
        let cancelled: Vec<TrialIndex> = self.in_state(TrialState::Cancelled).collect();
        cancelled.into_iter().for_each(|trial| self.set(trial, TrialState::Open, 0));
        self.cancelled = 0;
        self.goes_on_again();
    }

    /// Opens failed trials again, with all their attempts.
    pub(super) fn retry(&mut self, trials: &[TrialIndex]) {
        for trial in trials {
            self.set(*trial, TrialState::Open, 0);
            self.tallies.remove(trial);
            self.poison.remove(trial);
        }
        self.failed -= trials.len() as u64;
        self.goes_on_again();
    }

    /// Gains seeds; what there was keeps its index. The study must have one seed factor.
    pub(super) fn extend(&mut self, seeds: u32, text: String) {
        let count = &mut self.study.seeds.factors[0].count;
        *count = seeds.max(*count);
        self.resize();
        self.text = text;
        self.renewed();
        self.goes_on_again();
    }

    /// The study says more than before: those who have it ask for it anew.
    pub(super) fn renewed(&mut self) {
        self.written = written(&self.study, &self.text);
        self.version += 1;
    }

    /// Opens those of the trials that were not open before, and gives them.
    pub(super) fn release(&mut self, trials: &[TrialIndex]) -> Vec<TrialIndex> {
        let closed = |trial: &&TrialIndex| self.trial(**trial) == Some(TrialState::Unchosen);
        let opened: Vec<TrialIndex> = trials.iter().filter(closed).copied().collect();
        opened.iter().for_each(|trial| self.set(*trial, TrialState::Open, 0));
        opened
    }

    /// Whether those trials are open, or have ended, that are bought and that choices fell on, and those
    /// of searches that were proposed.
    pub(super) fn fits(&self, choices: Option<&Choices>, buying: Option<&Buying>) -> bool {
        let design = Design::of(&self.study);
        let nested = self.study.outer.inner.is_some();
        let sound = choices.is_some() == nested
            && buying.is_some() == self.study.budget.is_limited()
            && choices.is_none_or(|known| known.is_sound(&design, self))
            && buying.is_none_or(|known| known.is_sound(&self.study, &design));
        if !sound {
            return false;
        }
        let chosen = choices.into_iter().flat_map(Choices::all);
        let refits = chosen.flat_map(|chosen| design.refits(chosen.choice(), chosen.config));
        let opened = refits.filter(|trial| is_bought(buying, &design, *trial)).count() as u64;
        let opened = opened + self.tried(&design) + self.promoted(&design);
        let refits: u64 = design.unchosen(TrialIndex(0)).iter().map(|r| r.end - r.start).sum();
        let held = buying.map_or(0, |known| known.held(&design));
        self.in_state(TrialState::Unchosen).count() as u64 + opened == refits + held
    }

    /// Ends the study where nothing of it is left. True when it did.
    pub(super) fn finish(&mut self, at: Timestamp) -> bool {
        let over = self.open() == 0 && self.state.goes_on();
        if over {
            self.state = StudyState::Finished;
            self.finished = Some(at);
        }
        over
    }

    pub(super) fn goes_on_again(&mut self) {
        if self.open() == 0 {
            self.state = StudyState::Finished;
        } else if self.state != StudyState::Paused {
            self.state = StudyState::Active;
            self.finished = None;
        }
    }

    fn digest_parts(&self) -> impl Serialize {
        (
            (self.written, self.version, self.submitted, self.order, self.priority, self.state),
            (self.finished, self.planned(), self.sum, self.complete, self.failed, self.cancelled),
            (&self.failures, &self.tallies, &self.poison),
            (self.differing, &self.violations),
        )
    }

    /// Whether counts and sum are those of the trials.
    pub(super) fn is_consistent(&self) -> bool {
        let trials = Design::try_of(&self.study).and_then(|design| design.trials());
        let count = |state| self.in_state(state).count() as u64;
        let shares = self.trials.iter().zip(&self.digests).enumerate();
        let sum = shares.fold(0u64, |sum, (at, (state, digest))| {
            sum.wrapping_add(share(TrialIndex(at as u64), *state, *digest))
        });
        trials == Some(self.planned())
            && self.digests.len() == self.trials.len()
            && self.sum == sum
            && self.complete == count(TrialState::Complete)
            && self.failed == count(TrialState::Failed)
            && self.cancelled == count(TrialState::Cancelled)
    }
}

/// What a trial adds to its study's sum; an open one adds nothing.
fn share(trial: TrialIndex, state: TrialState, digest: u64) -> u64 {
    let state = match state {
        TrialState::Open | TrialState::Unchosen => return 0,
        TrialState::Complete => 1,
        TrialState::Failed => 2,
        TrialState::Cancelled => 3,
    };
    mix(trial.0.wrapping_mul(4).wrapping_add(state) ^ mix(digest))
}

fn written(study: &Study, text: &str) -> Digest {
    let mut bytes = study.digest().0.to_vec();
    if study.learns() {
        bytes.extend(codec::encode(study).unwrap_or_default());
    }
    bytes.extend_from_slice(text.as_bytes());
    Digest::of(&bytes)
}

/// First 64 bits, as kept for each complete trial.
pub fn short_digest(digest: &Digest) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest.0[..8]);
    u64::from_be_bytes(bytes)
}

/// Members below are never admitted: 1 is the operator on the coordinator's own machine, 2 the
/// agent inside its process.
pub const FIRST_MEMBER: u64 = 16;
pub const LOCAL_OPERATOR: MemberId = MemberId(1);
pub const LOCAL_AGENT: MemberId = MemberId(2);
