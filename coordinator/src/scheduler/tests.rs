//! What entries of the log do to the state, and the state to what waits.
//!
//! Floor: core.

use std::num::NonZeroU64;

use common::id::{ClientId, ClusterId, LeaseId};
use common::study::{Diverged, OuterKind};
use common::trial::{FailReason, Outcome};
use common::wire::message::RowEnd;

use super::*;
use crate::sample::{controlled, study};

const AGENT: MemberId = MemberId(20);

fn at(ms: u64) -> Timestamp {
    Timestamp(ms)
}

fn replica(number: u64) -> ReplicaId {
    ReplicaId(NonZeroU64::new(number).expect("not zero"))
}

/// A state with the log's next index.
struct Bench {
    state: State,
    study: StudyId,
}

impl Bench {
    fn new() -> Self {
        Self::of(study(4))
    }

    fn of(study: Study) -> Self {
        let state = State::new(ClusterId([1; 16]), replica(1), Some("a:1".into()), command::LEVEL);
        let mut bench = Self { state, study: study.id() };
        let applied = bench.run(submit(study));
        assert_eq!(applied, Applied::Submitted { study: bench.study, known: false });
        bench
    }

    fn run(&mut self, command: Command) -> Applied {
        self.state.apply(self.state.applied + 1, Entry { origin: None, command })
    }

    fn run_for(&mut self, client: u64, number: u64, command: Command) -> Applied {
        let origin = Some(Origin { client: ClientId(client), number });
        self.state.apply(self.state.applied + 1, Entry { origin, command })
    }

    fn record(&self) -> &StudyRecord {
        &self.state.studies[&self.study]
    }

    fn attempt(&self, trial: u64, counter: u64) -> Attempt {
        let lease = LeaseId { term: 1, counter };
        Attempt { study: self.study, trial: TrialIndex(trial), lease }
    }

    fn item(&mut self, item: Item) -> Ended {
        let command = Command::Reports { agent: AGENT, at: at(2), items: vec![item] };
        match self.run(command) {
            Applied::Reported(mut ended) => ended.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, trial: u64, counter: u64, value: f64) -> Ended {
        let attempt = self.attempt(trial, counter);
        let device = "cpu".to_string();
        let outcome = Outcome {
            metrics: vec![value],
            rows: vec![],
            epochs: 1,
            duration_us: 5,
            device,
            curve: None,
        };
        self.item(Item::Complete { attempt, outcome: Box::new(outcome) })
    }

    fn fail(&mut self, trial: u64, counter: u64, reason: FailReason, alone: bool) -> Ended {
        let attempt = self.attempt(trial, counter);
        self.item(Item::Failed { attempt, reason, detail: "why".to_string(), alone })
    }

    fn control(&mut self, control: Control) -> Applied {
        self.run(Command::Control { study: self.study, control, at: at(5) })
    }
}

fn submit(study: Study) -> Command {
    Command::Submit { study: Box::new(study), text: "…".into(), at: at(1) }
}

fn is_again(ended: &Ended) -> bool {
    matches!(ended, Ended::Again { .. })
}

fn is_end(ended: &Ended) -> bool {
    matches!(ended, Ended::Trial { .. })
}

#[test]
fn the_first_outcome_stands_and_a_second_changes_nothing() {
    let mut bench = Bench::new();
    assert!(is_end(&bench.report(0, 1, 0.5)));
    let before = bench.record().clone();

    let same = bench.report(0, 2, 0.5);

    assert_eq!(same, Ended::Late { attempt: bench.attempt(0, 2), differs: false });
    assert_eq!(bench.record(), &before);
}

#[test]
fn a_second_outcome_with_another_digest_is_a_finding_that_names_trial_and_agent() {
    let mut bench = Bench::new();
    bench.report(0, 1, 0.5);
    for _ in 0..3 {
        let other = bench.report(0, 2, 0.6);
        assert_eq!(other, Ended::Late { attempt: bench.attempt(0, 2), differs: true });
    }
    let record = bench.record();
    assert_eq!((record.differing, record.complete), (1, 1), "told three times, found once");
    let found = &record.violations[0];
    assert_eq!((found.trial, found.agent), (TrialIndex(0), AGENT));
    assert_eq!(found.digests.0, record.digest(TrialIndex(0)));
}

#[test]
fn a_failure_told_twice_counts_once() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.fail(0, 1, FailReason::Error, true);
    }
    assert_eq!(bench.record().tallies[&TrialIndex(0)].own, 1);
    assert_eq!(bench.record().trial(TrialIndex(0)), Some(TrialState::Open));
}

#[test]
fn a_trial_that_fails_as_often_as_the_budget_allows_is_failed() {
    let mut bench = Bench::new();
    assert!(is_again(&bench.fail(0, 1, FailReason::Error, false)));
    assert!(is_again(&bench.fail(0, 2, FailReason::AgentCrashed, true)));
    assert!(is_end(&bench.fail(0, 3, FailReason::Error, false)));
    assert_eq!((bench.record().failed, bench.record().poison.len()), (1, 0));
}

#[test]
fn a_trial_that_kills_its_agents_alone_is_failed_and_named_poison() {
    let mut bench = Bench::new();
    bench.fail(0, 1, FailReason::AgentCrashed, false);
    bench.fail(0, 2, FailReason::AgentCrashed, true);
    bench.fail(0, 3, FailReason::AgentCrashed, true);
    let Ended::Trial { row, .. } = bench.fail(0, 4, FailReason::AgentCrashed, true) else {
        panic!("it has failed")
    };
    let RowEnd::Failed { reason, detail } = row.end else { panic!("it has failed") };
    assert_eq!(reason, "poison");
    assert!(detail.contains("4 times"), "{detail}");
    assert!(bench.record().poison.contains(&TrialIndex(0)));
}

#[test]
fn a_crash_in_company_blames_nobody_until_it_happens_six_times() {
    let mut bench = Bench::new();
    for counter in 1..LOSSES_MAX.into() {
        let ended = bench.fail(0, counter, FailReason::AgentCrashed, false);
        assert!(is_again(&ended), "loss {counter}");
    }
    assert!(is_end(&bench.fail(0, LOSSES_MAX.into(), FailReason::AgentLost, false)));
}

#[test]
fn a_diverged_trial_is_failed_at_once() {
    let mut bench = Bench::new();
    assert!(is_end(&bench.fail(0, 1, FailReason::Diverged, false)));
}

#[test]
fn a_diverged_control_fails_no_study_and_a_diverged_arm_fails_it_where_it_says_so() {
    let mut study = controlled(4, 2);
    study.budget.diverged = Diverged::Fail;
    let design = Design::of(&study);
    let mut bench = Bench::of(study);
    // Two configs, the constant, and the two configs on shuffled labels.
    for (trial, arm, over) in [(3, 2, false), (2, 1, false), (0, 0, true)] {
        assert_eq!(design.key(TrialIndex(trial)).map(|key| key.arm), Some(arm));
        let ended = bench.fail(trial, trial, FailReason::Diverged, false);
        assert!(matches!(ended, Ended::Trial { study_over, .. } if study_over == over), "{arm}");
    }
}

#[test]
fn only_a_cluster_whose_programs_know_controls_is_given_a_study_with_them() {
    assert_eq!((submit(study(1)).level(), submit(controlled(1, 1)).level()), (1, 3));
}

#[test]
fn only_a_cluster_whose_programs_know_time_order_is_given_a_study_with_it() {
    let mut ordered = study(1);
    ordered.outer.kind = OuterKind::Ordered { share: None };
    assert_eq!(submit(ordered).level(), command::BUYING_LEVEL);
}

#[test]
fn a_study_with_controls_grows_in_place() {
    let (small, large) = (controlled(1, 2), controlled(4, 2));
    let trials = |study: &Study| Design::of(study).trials().expect("small");
    let (before, after) = (trials(&small), trials(&large));
    let mut bench = Bench::of(small);
    let grown = bench.control(Control::Extend { seeds: 4, text: "…".into() });
    assert!(matches!(grown, Applied::Extended { gained, .. } if gained == after - before));
    // Four cells a seed, of two configs: in the second seed on shuffled labels, too.
    assert_eq!(after - before, 3 * 8 + 8);
}

#[test]
fn a_study_is_over_with_its_last_trial() {
    let mut bench = Bench::new();
    let trials = bench.record().planned();
    for trial in 0..trials {
        let ended = bench.report(trial, trial, 0.5);
        let Ended::Trial { study_over, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(study_over, trial + 1 == trials);
    }
    assert_eq!(bench.record().state, StudyState::Finished);
}

#[test]
fn a_cancelled_study_takes_no_outcome_and_goes_on_when_submitted_again() {
    let mut bench = Bench::new();
    bench.report(0, 1, 0.5);
    bench.control(Control::Cancel);
    let late = bench.report(1, 1, 0.5);
    assert_eq!(late, Ended::Late { attempt: bench.attempt(1, 1), differs: false });
    assert_eq!(bench.record().open(), 0);

    let again = bench.run(submit(study(4)));

    assert_eq!(again, Applied::Submitted { study: bench.study, known: true });
    assert_eq!((bench.record().complete, bench.record().open()), (1, bench.record().planned() - 1));
}

#[test]
fn a_paused_study_takes_outcomes_and_goes_on_when_resumed() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        assert!(matches!(bench.control(Control::Pause), Applied::Paused { .. }), "twice is once");
    }
    assert_eq!(bench.record().state, StudyState::Paused);
    assert!(is_end(&bench.report(0, 1, 0.5)));
    for _ in 0..2 {
        assert!(matches!(bench.control(Control::Resume), Applied::Resumed { .. }));
    }
    assert_eq!(bench.record().state, StudyState::Active);
}

#[test]
fn a_retry_opens_failed_trials_alone_and_a_second_one_nothing() {
    let mut bench = Bench::new();
    let trials = bench.record().planned();
    (0..trials - 2).for_each(|trial| drop(bench.report(trial, trial, 0.5)));
    bench.fail(trials - 2, 90, FailReason::Diverged, true);
    bench.fail(trials - 1, 91, FailReason::Diverged, true);
    assert_eq!(bench.record().state, StudyState::Finished);

    let last = Which::Ranges(vec![
        (TrialIndex(0), TrialIndex(1)),
        (TrialIndex(trials - 1), TrialIndex(999)),
    ]);
    let retried = bench.control(Control::Retry { trials: last.clone() });
    let expected = vec![TrialIndex(trials - 1)];
    assert_eq!(retried, Applied::Retried { study: bench.study, trials: expected });
    let record = bench.record();
    assert_eq!((record.state, record.failed, record.open()), (StudyState::Active, 1, 1));
    assert!(!record.tallies.contains_key(&TrialIndex(trials - 1)), "with all its attempts");
    let nothing = bench.control(Control::Retry { trials: last });
    assert_eq!(nothing, Applied::Retried { study: bench.study, trials: vec![] });
    assert!(is_end(&bench.report(trials - 1, 99, 0.5)));
    assert_eq!(bench.record().state, StudyState::Finished);
}

#[test]
fn an_extended_study_keeps_what_it_has_and_gains_trials_behind_it() {
    let mut bench = Bench::new();
    let before = bench.record().planned();
    bench.report(before - 1, 1, 0.5);
    let kept = bench.record().digest(TrialIndex(before - 1));
    let extend = || Control::Extend { seeds: 6, text: "grown".into() };
    let gained = before / 4 * 2;
    assert_eq!(bench.control(extend()), Applied::Extended { study: bench.study, gained });
    assert_eq!(bench.control(extend()), Applied::Extended { study: bench.study, gained: 0 });
    let fewer = Control::Extend { seeds: 2, text: "shrunk".into() };
    assert_eq!(bench.control(fewer), Applied::Extended { study: bench.study, gained: 0 });

    let record = bench.record();
    assert_eq!((record.planned(), record.version), (before + gained, 1));
    assert_eq!((record.text.as_str(), record.study.seeds.factors[0].count), ("grown", 6));
    assert_eq!(record.digest(TrialIndex(before - 1)), kept);
    assert!(is_end(&bench.report(before, 2, 0.5)));
    assert!(State::decode(&bench.state.encode().expect("encodes")).is_some(), "it is consistent");
}

fn token(role: Role, uses: Option<u32>) -> Command {
    let (id, secret_hash, label) = ([9; 6], [7; 32], String::new());
    let token = NewToken { id, secret_hash, role, ttl_ms: 99, uses, label };
    Command::CreateToken { token, at: at(1) }
}

fn join(bench: &mut Bench, secret: u8, key: u8, ms: u64) -> Option<u64> {
    let admission = Admission {
        token_id: [9; 6],
        secret_hash: [secret; 32],
        public_key: [key; 32],
        at: at(ms),
    };
    match bench.run(Command::Admit(admission)) {
        Applied::Admission { admitted } => admitted.map(|admitted| admitted.number),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_join_repeated_with_its_key_is_the_same_member_and_spends_no_use() {
    let mut bench = Bench::new();
    bench.run(token(Role::Agent, Some(1)));
    let first = join(&mut bench, 7, 1, 10);
    assert!(first.is_some());
    assert_eq!(join(&mut bench, 7, 1, 11), first);
    assert_eq!(join(&mut bench, 7, 2, 12), None, "its one use is spent");
}

#[test]
fn a_wrong_secret_an_expired_token_and_no_token_admit_nobody() {
    let mut bench = Bench::new();
    assert_eq!(join(&mut bench, 7, 1, 10), None);
    bench.run(token(Role::Agent, None));
    assert_eq!(join(&mut bench, 8, 1, 10), None);
    assert_eq!(join(&mut bench, 7, 1, 100), None);
    assert!(join(&mut bench, 7, 1, 99).is_some());
    bench.run(Command::RevokeToken { id: [9; 6] });
    assert_eq!(join(&mut bench, 7, 2, 99), None);
}

#[test]
fn a_replica_has_a_number_of_its_own_that_is_never_given_again() {
    let mut bench = Bench::new();
    bench.run(token(Role::Peer, None));
    assert_eq!(join(&mut bench, 7, 1, 10), Some(2));
    assert_eq!(join(&mut bench, 7, 1, 11), Some(2), "the same join");
    bench.run(Command::Place { replica: replica(2), address: "b:1".into() });
    assert_eq!(bench.state.addresses(), ["a:1", "b:1"]);
    let removed = bench.run(Command::RemoveReplica { replica: replica(2) });
    assert_eq!(removed, Applied::ReplicaRemoved { replica: replica(2) });
    assert_eq!(join(&mut bench, 7, 1, 12), Some(3));
    (4..=6).for_each(|key| assert!(join(&mut bench, 7, key as u8, 13).is_some()));
    assert_eq!(join(&mut bench, 7, 9, 13), None, "five are the most");
}

#[test]
fn the_last_replica_is_not_removed() {
    let mut bench = Bench::new();
    let removed = bench.run(Command::RemoveReplica { replica: replica(1) });
    assert!(matches!(removed, Applied::Refused { .. }));
}

#[test]
fn a_command_asked_for_twice_is_done_once_and_answered_alike() {
    let mut bench = Bench::new();
    let revoke = || Command::RevokeToken { id: [9; 6] };
    bench.run(token(Role::Agent, None));
    assert_eq!(bench.run_for(5, 1, revoke()), Applied::TokenChanged);
    assert_eq!(bench.run_for(5, 1, revoke()), Applied::Replied(Reply::Done));
    assert!(matches!(bench.run_for(5, 2, revoke()), Applied::Refused { .. }), "another command");
    let again = bench.run_for(5, 2, revoke());
    assert!(matches!(again, Applied::Replied(Reply::Refused { .. })), "{again:?}");
    assert!(matches!(bench.run_for(5, 1, revoke()), Applied::Refused { .. }), "it is past");
    assert!(matches!(bench.run_for(6, 1, revoke()), Applied::Refused { .. }), "another client");
}

#[test]
fn who_asked_longest_ago_is_forgotten_first() {
    let mut bench = Bench::new();
    let level = || Command::RaiseLevel { level: 1 };
    (0..CLIENTS_KEPT as u64 + 1).for_each(|client| drop(bench.run_for(client, 1, level())));
    let known = |client| bench.state.clients.contains_key(&ClientId(client));
    assert!(!known(0) && known(1) && known(CLIENTS_KEPT as u64));
}

#[test]
fn an_entry_of_a_newer_format_is_refused() {
    let command = Command::RevokeToken { id: [0; 6] };
    let mut bytes = Entry { origin: None, command }.encode().expect("encodes");
    assert!(Entry::decode(&bytes).is_ok());
    bytes[0] += 1;
    let refused = Entry::decode(&bytes);
    assert!(matches!(refused, Err(command::EntryError::Format { .. })));
}

#[test]
fn a_snapshot_gives_the_same_state_with_the_same_digest() {
    let mut bench = Bench::new();
    bench.run(token(Role::Agent, None));
    join(&mut bench, 7, 1, 10);
    bench.report(3, 1, 0.5);
    bench.fail(4, 1, FailReason::AgentLost, false);
    let back = State::decode(&bench.state.encode().expect("encodes")).expect("decodes");
    assert_eq!(back, bench.state);
    assert_eq!(back.digest(), bench.state.digest());
}

#[test]
fn every_change_changes_the_digest() {
    let mut bench = Bench::new();
    let mut seen = std::collections::BTreeSet::from([bench.state.digest()]);
    let mut is_new = |bench: &Bench| {
        // Without the entry's number, which alone would tell them apart.
        let mut state = bench.state.clone();
        state.applied = 0;
        assert!(seen.insert(state.digest()), "{seen:?}");
    };
    bench.report(3, 1, 0.5);
    is_new(&bench);
    bench.report(3, 2, 0.6);
    is_new(&bench);
    bench.fail(4, 1, FailReason::Error, true);
    is_new(&bench);
    bench.fail(4, 2, FailReason::Diverged, true);
    is_new(&bench);
    for control in [
        Control::Pause,
        Control::Priority { priority: 1 },
        Control::Retry { trials: Which::Failed },
        Control::Extend { seeds: 9, text: String::new() },
        Control::Cancel,
    ] {
        bench.control(control);
        is_new(&bench);
    }
}

/// A nested study, with its design.
fn nested(seeds: u32, tune: Option<u32>) -> (Bench, Design) {
    let study = crate::sample::nested(seeds, tune);
    let design = Design::of(&study);
    (Bench::of(study), design)
}

fn open_trials(bench: &Bench) -> Vec<TrialIndex> {
    bench.record().in_state(TrialState::Open).collect()
}

#[test]
fn refits_are_open_once_their_config_is_chosen_and_no_others_ever() {
    for tune in [None, Some(3)] {
        let (mut bench, design) = nested(2, tune);
        let inner = |trial: &TrialIndex| design.key(*trial).expect("in it").inner.is_some();
        assert!(open_trials(&bench).iter().all(inner));
        let choice = design.choices().nth(1).expect("a choice");
        let chosen = Chosen { arm: choice.arm, cell: choice.cell, config: 1 };
        let refits = design.refits(choice, 1);
        assert_eq!(refits.len(), if tune.is_some() { 2 } else { 1 });
        let late = bench.report(refits[0].0, 1, 0.5);
        assert!(matches!(late, Ended::Late { differs: false, .. }), "nobody may train it yet");

        let study = bench.study;
        let choose = |chosen| Command::Choose { study, chosen: vec![chosen] };
        let applied = bench.run(choose(chosen));
        assert_eq!(applied, Applied::Chosen { study, chosen: vec![chosen] });
        let other = Chosen { config: 0, ..chosen };
        assert_eq!(bench.run(choose(other)), Applied::Chosen { study, chosen: vec![] });
        let outer: Vec<_> = open_trials(&bench).into_iter().filter(|trial| !inner(trial)).collect();
        assert_eq!(outer, refits, "a choice stands");
        let nowhere = Chosen { cell: 1_000, ..chosen };
        assert_eq!(bench.run(choose(nowhere)), Applied::Chosen { study, chosen: vec![] });

        let trained = design.trained().expect("few");
        for choice in design.choices() {
            bench.run(choose(Chosen { arm: choice.arm, cell: choice.cell, config: 0 }));
        }
        assert_eq!((bench.record().trained(), bench.record().open()), (trained, trained));
        for (counter, trial) in (10..).zip(open_trials(&bench)) {
            assert!(is_end(&bench.report(trial.0, counter, 0.5)));
        }
        assert_eq!(bench.record().state, StudyState::Finished);
        assert_eq!((bench.record().complete, bench.record().open()), (trained, 0));
    }
}

#[test]
fn scores_that_choose_are_kept_until_their_choice_is_made_and_travel_in_snapshots() {
    let (mut bench, design) = nested(1, None);
    let choice = design.choices().next().expect("a choice");
    let trials = design.scores_of(choice).concat().concat();
    for (counter, trial) in (1..).zip(&trials) {
        bench.report(trial.0, counter, counter as f64 / 8.0);
    }
    let scores = |state: &State, study| -> Vec<Option<f64>> {
        let known = state.choices(study).expect("nested");
        trials.iter().map(|trial| known.score(*trial)).collect()
    };
    let kept = [0.125, 0.25, 0.375, 0.5].map(Some);
    let copy = State::decode(&bench.state.encode().expect("encodes")).expect("sound");
    assert_eq!(scores(&copy, bench.study), kept);
    assert_eq!((copy.digest(), &copy), (bench.state.digest(), &bench.state));

    let chosen = vec![Chosen { arm: 0, cell: choice.cell, config: 1 }];
    let before = bench.state.digest();
    bench.run(Command::Choose { study: bench.study, chosen });
    assert_ne!(bench.state.digest(), before);
    assert_eq!(scores(&bench.state, bench.study), [None; 4]);
    let copy = State::decode(&bench.state.encode().expect("encodes")).expect("sound");
    assert_eq!(copy.choices(bench.study).and_then(|known| known.chosen(choice)), Some(1));
}

#[test]
fn seeds_that_a_study_gains_are_refits_of_the_choices_that_were_made_for_all() {
    let (mut bench, design) = nested(2, Some(1));
    let choice = design.choices().next().expect("a choice");
    let chosen = vec![Chosen { arm: 0, cell: choice.cell, config: 1 }];
    bench.run(Command::Choose { study: bench.study, chosen });
    let extend = Control::Extend { seeds: 5, text: "grown".into() };
    // Three seeds in four folds, of one config each.
    assert_eq!(bench.control(extend), Applied::Extended { study: bench.study, gained: 12 });
    let grown = Design::of(&bench.record().study);
    let refits = grown.refits(choice, 1);
    assert_eq!(refits.len(), 5);
    assert!(refits.iter().all(|trial| bench.record().trial(*trial) == Some(TrialState::Open)));
    assert!(State::decode(&bench.state.encode().expect("encodes")).is_some(), "it is consistent");
}

#[test]
fn a_cancelled_nested_study_goes_on_where_it_was() {
    let (mut bench, _) = nested(1, None);
    let trained = bench.record().trained();
    bench.control(Control::Cancel);
    assert!(State::decode(&bench.state.encode().expect("encodes")).is_some(), "it is consistent");
    let study = bench.record().study.clone();
    bench.run(submit(study));
    assert_eq!((bench.record().open(), bench.record().state), (trained, StudyState::Active));
    assert!(State::decode(&bench.state.encode().expect("encodes")).is_some(), "it is consistent");
}
