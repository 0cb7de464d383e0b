//! What lies on disks: log entries, the state that they make, votes, snapshots, a spool.
//!
//! Floor: wiring.

use std::num::NonZeroU64;

use agent::spool::{Record, Spool};
use common::design::Design;
use common::id::{ClientId, ClusterId, MemberId, ReplicaId, StudyId};
use common::ledger::Purpose;
use common::space::{Config, Value};
use common::study::Proposed;
use common::time::Timestamp;
use common::trial::{Attempt, Ending, FailReason, Report};
use common::wire::message::peer::{SnapshotMeta, Voters};
use common::wire::message::{NewToken, Role};
use coordinator::disk::{FORMAT, FolderIdentity};
use coordinator::replica::Proposal;
use coordinator::replica::log::{Base, SnapshotRecord, Vote};
use coordinator::scheduler::choices::Chosen;
use coordinator::scheduler::command::{
    Admission, BORROWED_LEVEL, BUYING_LEVEL, CURVES_LEVEL, Command, Entry, Item, LEARN_LEVEL,
    LEDGER_LEVEL, LEVEL, NESTED_LEVEL, Origin, PROGRAMS_LEVEL, SEALS_LEVEL,
};
use coordinator::scheduler::rungs::Promoted;
use coordinator::scheduler::state::{Reply, State, TrialState};

use super::operators::{controls, decided, past_failure, rows, token};
use super::{
    STUDY, Sample, attempt, controlled, halved, halved_at_once, labelled, learned, limited, named,
    nested, ordered, outcome, outcome_with_curve, programmed, raced, replica, reports, study,
    variants,
};

variants!(
    command,
    Command: Submit Control Reports Adopt CreateToken RevokeToken Admit RemoveMember Place
        RemoveReplica RaiseLevel Digests Look Seal Register Choose Decide Propose
        Promote Worked
);
variants!(item, Item: Complete Failed);
variants!(record, Record: Started Ended Forgotten);
variants!(reply, Reply: Done Submitted Retried Extended Refused Looked);
variants!(trial_state, TrialState: Open Complete Failed Cancelled Unchosen);

/// Log entries, as the log holds them: with their format's number.
pub fn entries() -> Vec<Sample> {
    let commands = commands();
    command::ALL.iter().for_each(|name| {
        assert!(commands.iter().any(|one| command(one) == *name), "Command::{name} has no value");
    });
    let origins = [None, Some(Origin { client: ClientId(1 << 60), number: 5 })];
    let mut all: Vec<Sample> = commands
        .into_iter()
        .zip(origins.into_iter().cycle())
        .enumerate()
        .map(|(at, (command, origin))| {
            let name = format!("Entry.{at:02}.{}", self::command(&command));
            let entry = Entry { origin, command };
            let bytes = entry.encode().expect("short");
            let is = move |bytes: &[u8]| Entry::decode(bytes).is_ok_and(|back| back == entry);
            Sample { name, bytes, is: Box::new(is) }
        })
        .collect();
    all.extend(named("Item", item::ALL, item, items()));
    all
}

fn commands() -> Vec<Command> {
    let (id, at) = (study().id(), Timestamp(1_700_000_000_000));
    let mut commands = vec![
        Command::Submit { study: Box::new(study()), text: STUDY.to_string(), at },
        Command::Reports { agent: MemberId(16), at, items: items() },
        Command::Adopt { study: id, rows: rows() },
        Command::CreateToken { token: token(), at },
        Command::RevokeToken { id: [1, 2, 3, 4, 5, 6] },
        Command::Admit(admission()),
        Command::RemoveMember { member: MemberId(16) },
        Command::Place { replica: replica(2), address: "10.0.0.6:7461".to_string() },
        Command::RemoveReplica { replica: replica(2) },
        Command::RaiseLevel { level: 2 },
        Command::Digests { index: 1_000, of: vec![(replica(1), [1; 32]), (replica(2), [2; 32])] },
    ];
    let control = |control| Command::Control { study: id, control, at };
    commands.extend(controls().into_iter().map(control));
    commands.push(Command::Submit { study: Box::new(controlled()), text: STUDY.to_string(), at });
    let look = |(who, purpose)| Command::Look { study: id, who: MemberId(who), purpose, at };
    commands.extend([(16, Purpose::Export), (1, Purpose::Report)].map(look));
    let (own, items) = (Box::new(programmed()), program_items());
    commands.push(Command::Submit { study: own, text: STUDY.to_string(), at });
    commands.push(Command::Reports { agent: MemberId(16), at, items });
    let attempt = Attempt { study: id, ..attempt(10) };
    let items = vec![Item::Complete { attempt, outcome: Box::new(outcome_with_curve()) }];
    commands.push(Command::Reports { agent: MemberId(16), at, items });
    // Of a study that nobody has looked at: another one than the looks above.
    let (who, claim) = (MemberId(16), "b beats a".to_string());
    commands.push(Command::Seal { study: controlled().id(), who, at });
    commands.push(Command::Register { study: id, who, claim, at });
    commands.push(Command::Submit { study: Box::new(nested()), text: STUDY.to_string(), at });
    commands.push(Command::Choose { study: nested().id(), chosen: chosen() });
    commands.push(Command::Submit { study: Box::new(limited()), text: STUDY.to_string(), at });
    commands.extend(decided().map(|decided| Command::Decide { study: limited().id(), decided }));
    commands.push(Command::Submit { study: Box::new(learned()), text: STUDY.to_string(), at });
    commands.push(Command::Propose { study: learned().id(), proposed: proposed() });
    commands.push(Command::Submit { study: Box::new(halved()), text: STUDY.to_string(), at });
    let promoted = vec![Promoted { arm: 0, cell: 300, rung: 1, configs: vec![0, 300] }];
    commands.push(Command::Promote { study: halved().id(), promoted });
    commands.push(Command::Submit { study: Box::new(ordered()), text: STUDY.to_string(), at });
    commands.push(Command::Worked { study: limited().id(), ms: 60_000 });
    commands.push(Command::Submit { study: Box::new(labelled()), text: STUDY.to_string(), at });
    commands.push(Command::Reports { agent: MemberId(16), at, items: interrupted_items() });
    let further = [raced(), halved_at_once()].map(Box::new);
    commands.extend(further.map(|study| Command::Submit { study, text: STUDY.to_string(), at }));
    commands
}

fn chosen() -> Vec<Chosen> {
    let chosen = |(cell, config)| Chosen { arm: 0, cell, config };
    [(0, 1), (300, 0)].map(chosen).to_vec()
}

fn proposed() -> Vec<Proposed> {
    let point = |lr| Config { values: vec![("lr".to_string(), Value::Float(lr))] };
    let proposed = |(cell, slot, lr)| Proposed { arm: 0, cell, slot, point: point(lr) };
    [(0, 0, 0.01), (0, 1, 0.25), (3, 0, 0.003)].map(proposed).to_vec()
}

/// A nested study with one choice made, and a score that another one waits for.
fn choose(state: &mut State, at: Timestamp) {
    let study = nested();
    let (id, design) = (study.id(), Design::of(&study));
    let waits = design.choices().nth(1).expect("a second choice");
    let trial = design.scores_of(waits)[0][0][0];
    let attempt = Attempt { study: id, ..attempt(trial.0) };
    let items = vec![Item::Complete { attempt, outcome: Box::new(outcome()) }];
    for command in [
        Command::Submit { study: Box::new(study), text: STUDY.to_string(), at },
        Command::Reports { agent: MemberId(16), at, items },
        Command::Choose { study: id, chosen: chosen() },
    ] {
        state.apply(state.applied + 1, Entry { origin: None, command });
    }
}

/// A study with limits: a score of a first seed, and its budget spent.
fn buy(state: &mut State, at: Timestamp) {
    let study = limited();
    let attempt = Attempt { study: study.id(), ..attempt(0) };
    let items = vec![Item::Complete { attempt, outcome: Box::new(outcome()) }];
    let [_, spent] = decided();
    for command in [
        Command::Submit { study: Box::new(study), text: STUDY.to_string(), at },
        Command::Reports { agent: MemberId(16), at, items },
        Command::Decide { study: limited().id(), decided: spent },
    ] {
        state.apply(state.applied + 1, Entry { origin: None, command });
    }
}

fn items() -> Vec<Item> {
    let attempt = |trial| Attempt { study: study().id(), ..attempt(trial) };
    let failed = |trial, reason, alone| Item::Failed {
        attempt: attempt(trial),
        reason,
        detail: "of late".to_string(),
        alone,
    };
    vec![
        Item::Complete { attempt: attempt(0), outcome: Box::new(outcome()) },
        failed(1, FailReason::Error, true),
        failed(2, FailReason::AgentLost, false),
        failed(3, FailReason::Diverged, false),
        failed(4, FailReason::AgentCrashed, true),
    ]
}

/// As only programs fail.
fn program_items() -> Vec<Item> {
    let reasons = [
        FailReason::TimeLimit,
        FailReason::OutOfMemory,
        FailReason::BadConfig,
        FailReason::Elsewhere,
    ];
    let item = |(trial, reason)| Item::Failed {
        attempt: Attempt { study: study().id(), ..attempt(trial) },
        reason,
        detail: "of its own".to_string(),
        alone: true,
    };
    (5..).zip(reasons).map(item).collect()
}

/// Given back in the middle of their training.
fn interrupted_items() -> Vec<Item> {
    let item = |(trial, reason)| Item::Failed {
        attempt: Attempt { study: study().id(), ..attempt(trial) },
        reason,
        detail: "it left a checkpoint".to_string(),
        alone: false,
    };
    (9..).zip([FailReason::Preempted, FailReason::OutOfTime]).map(item).collect()
}

fn admission() -> Admission {
    Admission {
        token_id: [9; 6],
        secret_hash: [8; 32],
        public_key: [7; 32],
        at: Timestamp(1_700_000_000_001),
    }
}

/// A state that has seen every kind of entry.
pub fn state() -> State {
    state_of(LEVEL)
}

/// A state that has seen every kind of entry of this level.
fn state_of(level: u16) -> State {
    let address = Some("10.0.0.5:7461".to_string());
    let mut state = State::new(ClusterId([9; 16]), ReplicaId(NonZeroU64::MIN), address, level);
    state.pass(1);
    let of_agents = NewToken { id: [9; 6], role: Role::Agent, uses: Some(2), ..token() };
    let at = Timestamp(1_700_000_000_000);
    let first = [
        Command::CreateToken { token: of_agents, at },
        Command::Admit(admission()),
        Command::Submit { study: Box::new(study()), text: STUDY.to_string(), at },
        Command::Reports { agent: MemberId(16), at, items: items() },
    ];
    // What takes something away again comes last, and not all of it.
    let later = commands().into_iter().filter(|command| {
        let taken = matches!(command, Command::RemoveMember { .. } | Command::Submit { .. });
        !taken && command.level() <= level
    });
    for (index, command) in (2..).zip(first.into_iter().chain(later)) {
        let origin = Some(Origin { client: ClientId(index % 3), number: index });
        state.apply(index, Entry { origin, command });
    }
    if level >= NESTED_LEVEL {
        choose(&mut state, at);
    }
    if level >= BUYING_LEVEL {
        buy(&mut state, at);
    }
    if level >= LEARN_LEVEL {
        let study = learned();
        let propose = Command::Propose { study: study.id(), proposed: proposed() };
        let submit = Command::Submit { study: Box::new(study), text: STUDY.to_string(), at };
        for command in [submit, propose] {
            state.apply(state.applied + 1, Entry { origin: None, command });
        }
    }
    state
}

/// A whole state, and those of its parts that one state does not show all of.
pub fn states() -> Vec<Sample> {
    // What was written before there were ledgers, and now.
    let levels = [
        ("State", LEDGER_LEVEL - 1),
        ("State.Ledgers", LEDGER_LEVEL),
        ("State.Programs", PROGRAMS_LEVEL),
        ("State.Curves", CURVES_LEVEL),
        ("State.Seals", SEALS_LEVEL),
        ("State.Choices", NESTED_LEVEL),
        ("State.Buying", BUYING_LEVEL),
        ("State.Tries", LEARN_LEVEL),
        ("State.Interrupted", BORROWED_LEVEL),
    ];
    let mut all: Vec<Sample> = levels
        .map(|(name, level)| {
            let state = state_of(level);
            let bytes = state.encode().expect("short");
            let is = move |bytes: &[u8]| State::decode(bytes).is_some_and(|back| back == state);
            Sample { name: name.to_string(), bytes, is: Box::new(is) }
        })
        .into();
    let replies = vec![
        Reply::Done,
        Reply::Submitted { study: StudyId(5), known: true },
        Reply::Retried { count: 300 },
        Reply::Extended { gained: 400 },
        Reply::Refused { why: "no".to_string() },
        Reply::Looked { number: 17 },
    ];
    all.extend(named("Reply", reply::ALL, reply, replies));
    let ends = [TrialState::Open, TrialState::Complete, TrialState::Failed];
    let trials = [&ends[..], &[TrialState::Cancelled, TrialState::Unchosen]].concat();
    all.extend(named("TrialState", trial_state::ALL, trial_state, trials));
    all.push(Sample::of("PastFailure", past_failure()));
    all
}

/// What a replica keeps beside its log.
pub fn disk() -> Vec<Sample> {
    let voters = Voters { voters: vec![1, 2, 300], learners: vec![4] };
    let meta = SnapshotMeta { index: 70_000, term: 4, voters };
    let identity =
        FolderIdentity { format: FORMAT, cluster: ClusterId([9; 16]), replica: replica(3) };
    vec![
        Sample::of("Vote", Vote { term: 4, vote: 2, commit: 70_001 }),
        Sample::of("Base", Base { index: 65_000, term: 3 }),
        Sample::of("SnapshotRecord", SnapshotRecord { meta, state: vec![1, 2, 3] }),
        Sample::of("FolderIdentity", identity),
        Sample::of("Proposal", Proposal { run: u64::MAX, number: 6 }),
    ]
}

/// A spool's file with every kind of record, written by the agent itself.
pub fn spool() -> Vec<u8> {
    let started = |trials: [u64; 3]| Record::Started { attempts: trials.map(attempt).to_vec() };
    let frames = [
        vec![started([7, 8, 9])],
        vec![Record::Ended { reports: reports() }, started([20, 21, 22])],
        vec![Record::Forgotten { attempts: vec![attempt(7), attempt(21)] }],
        vec![Record::Ended { reports: vec![failed(22)] }],
    ];
    let names: Vec<&str> = frames.iter().flatten().map(record).collect();
    assert!(record::ALL.iter().all(|name| names.contains(name)), "{names:?}");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spool.log");
    let (mut spool, _) = Spool::open(&path).expect("new");
    frames.into_iter().for_each(|records| spool.write(records).expect("written"));
    std::fs::read(&path).expect("readable")
}

fn failed(trial: u64) -> Report {
    let ending = Ending::Failed { reason: FailReason::Error, detail: "late".to_string() };
    Report { attempt: attempt(trial), ending }
}
