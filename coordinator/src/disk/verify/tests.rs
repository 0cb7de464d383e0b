//! A folder as a replica leaves it is sound, at every moment; a damaged one never passes for it.
//!
//! Floor: shell.

use std::fs;
use std::num::NonZeroU64;
use std::time::SystemTime;

use common::id::{ClusterId, LeaseId, MemberId, ReplicaId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome};
use common::wire::message::{Control, OutcomeRow, RowEnd, Which};
use link::Authority;
use tempfile::TempDir;

use super::*;
use crate::disk::{OUTCOMES, RowChange, row_key, sealed};
use crate::replica::log::{EntryKind, Persist, Recovered, Save, SnapshotMeta, Source, Voters};
use crate::sample::study;
use crate::scheduler::command::{Command, Entry, Item};
use crate::scheduler::state::State;
use crate::scheduler::{Applied, Ended};

const AGENT: MemberId = MemberId(20);
const CLUSTER: ClusterId = ClusterId([7; 16]);

/// One replica's folder, written in the order in which the driver writes.
pub(super) struct Bench {
    folder: TempDir,
    disk: Disk,
    state: State,
    pub study: StudyId,
    /// Rows of what is applied; they go to the disk with the next commit.
    staged: Vec<RowChange>,
    lease: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::create(CLUSTER, SystemTime::UNIX_EPOCH).expect("made");
        authority.save(&folder.path().join("ca")).expect("saved");
        let replica = ReplicaId(NonZeroU64::MIN);
        let mut state = State::new(CLUSTER, replica, Some("a:1".into()), 2);
        state.pass(1);
        let identity = FolderIdentity { format: FORMAT, cluster: CLUSTER, replica };
        let first = Recovered::first(1, state.encode().expect("encoded"));
        Disk::create(folder.path(), identity, &first).expect("made");
        let (disk, _) = Disk::open(folder.path()).expect("opens");
        let study = study(4).id();
        Self { folder, disk, state, study, staged: Vec::new(), lease: 0 }
    }

    /// Enters a command into the log, then applies it.
    fn enter(&mut self, command: Command) {
        let entry = Entry { origin: None, command };
        self.put(entry.encode().expect("encoded"));
        let applied = self.state.apply(self.state.applied + 1, entry);
        match applied {
            Applied::Reported(ended) => {
                for ended in ended {
                    if let Ended::Trial { attempt, row, .. } = ended {
                        self.staged.push(RowChange::Keep(attempt.study, *row));
                    }
                }
            }
            Applied::Retried { study, trials } => {
                let drops = trials.into_iter().map(|trial| RowChange::Drop(study, trial));
                self.staged.extend(drops);
            }
            _ => {}
        }
    }

    /// An entry, with the rows of those before it. The commit mark is behind, as it is on a disk.
    fn put(&mut self, data: Vec<u8>) {
        let index = self.state.applied + 1;
        let entry = LogEntry { index, term: 1, kind: EntryKind::Command, context: vec![], data };
        let vote = Some(Vote { term: 1, vote: 1, commit: self.state.applied });
        let persist = Persist { entries: vec![entry], vote, snapshot: None };
        self.disk.commit(&persist, &std::mem::take(&mut self.staged)).expect("commits");
    }

    fn snapshot(&mut self) {
        let index = self.state.applied;
        let voters = Voters { voters: vec![1], learners: vec![] };
        let meta = SnapshotMeta { index, term: 1, voters };
        let record = SnapshotRecord { meta, state: self.state.encode().expect("encoded") };
        let source = Source::Own { base: Base { index, term: 1 }, offered: false };
        let snapshot = Some(Save { record, source });
        let persist = Persist { snapshot, ..Persist::default() };
        self.disk.commit(&persist, &std::mem::take(&mut self.staged)).expect("commits");
    }

    /// What is applied goes to the disk as it does when a replica stops.
    fn stop(&mut self) {
        self.disk.commit(&Persist::default(), &std::mem::take(&mut self.staged)).expect("commits");
    }

    /// What is applied is shown to a reader, and not durable for that.
    fn stage(&mut self) {
        self.disk.stage(&std::mem::take(&mut self.staged)).expect("stages");
    }

    /// What a process leaves behind that is killed now.
    fn killed(&self) -> TempPath {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = |name: &str| fs::copy(self.folder.path().join(name), folder.path().join(name));
        fs::create_dir(folder.path().join("ca")).expect("made");
        copy("ca/authority.pem").and(copy(FILE)).expect("copied");
        TempPath(folder)
    }

    fn submit(&mut self) {
        let at = Timestamp(1);
        self.enter(Command::Submit { study: Box::new(study(4)), text: "…".into(), at });
    }

    fn attempt(&mut self, trial: u64) -> Attempt {
        self.lease += 1;
        let lease = LeaseId { term: 1, counter: self.lease };
        Attempt { study: self.study, trial: TrialIndex(trial), lease }
    }

    fn report(&mut self, trials: impl IntoIterator<Item = u64>, value: f64) {
        let item = |trial: u64| Item::Complete {
            attempt: self.attempt(trial),
            outcome: Box::new(outcome(value + trial as f64)),
        };
        let items = trials.into_iter().map(item).collect();
        self.enter(Command::Reports { agent: AGENT, at: Timestamp(2), items });
    }

    fn fail(&mut self, trial: u64) {
        let (attempt, reason, detail) = (self.attempt(trial), FailReason::Diverged, "NaN".into());
        let items = vec![Item::Failed { attempt, reason, detail, alone: true }];
        self.enter(Command::Reports { agent: AGENT, at: Timestamp(3), items });
    }

    fn control(&mut self, control: Control) {
        self.enter(Command::Control { study: self.study, control, at: Timestamp(4) });
    }

    fn digests(&mut self) {
        let index = self.state.applied;
        let of = vec![(ReplicaId(NonZeroU64::MIN), self.state.digest())];
        self.enter(Command::Digests { index, of });
    }

    /// Closes the folder and looks at it.
    fn verify(self) -> Verdict {
        verify(&self.close(), &Progress::default()).expect("looked at")
    }

    pub fn close(self) -> TempPath {
        drop(self.disk);
        TempPath(self.folder)
    }

    /// Changes the database behind the disk's back.
    fn change(&self, change: impl FnOnce(&redb::WriteTransaction)) {
        let transaction = self.disk.write().expect("begins");
        change(&transaction);
        transaction.commit().expect("commits");
    }
}

/// The folder of a bench that is closed.
pub struct TempPath(TempDir);

impl std::ops::Deref for TempPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

fn outcome(value: f64) -> Outcome {
    let rows = (0..6).map(|row| row as f32 * value as f32).collect();
    let device = "cpu".to_string();
    Outcome { metrics: vec![value, f64::NAN], rows, epochs: 2, duration_us: 5, device, curve: None }
}

const STEPS: usize = 17;

/// What a study goes through, in steps.
fn life(bench: &mut Bench, steps: usize) {
    let failed = Control::Retry { trials: Which::Failed };
    let grown = Control::Extend { seeds: 5, text: "grown".into() };
    let steps_of_it: [&dyn Fn(&mut Bench); STEPS] = [
        &|bench| bench.submit(),
        &|bench| bench.report(0..5, 0.5),
        &|bench| bench.fail(5),
        &|bench| bench.digests(),
        &|bench| bench.snapshot(),
        &|bench| bench.report([6, 7], 0.25),
        &|bench| bench.stage(),
        &|bench| bench.report([6], 0.75),
        &|bench| bench.fail(8),
        &|bench| bench.control(failed.clone()),
        &|bench| bench.stop(),
        &|bench| bench.report([5, 9], 0.125),
        &|bench| bench.digests(),
        &|bench| bench.control(Control::Cancel),
        &|bench| bench.submit(),
        &|bench| bench.control(grown.clone()),
        &|bench| bench.report([33], 0.5),
    ];
    for step in steps_of_it.iter().take(steps) {
        step(bench);
    }
}

pub(super) fn lived() -> Bench {
    let mut bench = Bench::new();
    life(&mut bench, usize::MAX);
    bench
}

#[test]
fn a_folder_is_sound_at_every_moment_of_a_study() {
    for steps in 0..=STEPS {
        let mut bench = Bench::new();
        life(&mut bench, steps);
        let applied = bench.state.applied;
        let killed = verify(&bench.killed(), &Progress::default()).expect("looked at");
        assert_eq!((killed.findings, killed.last), (vec![], applied), "killed after {steps} steps");
        let unwritten = bench.staged.iter().filter(|row| matches!(row, RowChange::Keep(..)));
        let unwritten = unwritten.count() as u64;
        let verdict = bench.verify();
        assert_eq!(verdict.findings, [], "after {steps} steps");
        assert_eq!(verdict.in_log_alone, unwritten, "after {steps} steps");
        assert_eq!(verdict.last, applied);
    }
}

#[test]
fn a_look_changes_nothing_and_is_refused_while_the_folder_is_in_use() {
    let bench = lived();
    let path = bench.folder.path().to_path_buf();
    assert!(matches!(verify(&path, &Progress::default()), Err(DiskError::Locked { .. })));
    assert!(Disk::is_in_use(&path));
    let folder = bench.close();
    assert!(!Disk::is_in_use(&folder));
    let before = fs::read(folder.join(FILE)).expect("there");
    let progress = Progress::default();
    let verdict = verify(&folder, &progress).expect("looked at");
    assert_eq!((verdict.findings, verdict.bytes), (vec![], before.len() as u64));
    assert!(fs::read(folder.join(FILE)).expect("there") == before);
    let (done, total) = progress.now();
    assert!(done > 0 && done <= total, "{done} of {total}");
}

#[test]
fn an_outcome_that_is_missing_or_another_one_is_named() {
    let bench = lived();
    let study = bench.study;
    bench.change(|transaction| {
        let mut table = transaction.open_table(OUTCOMES).expect("opens");
        table.remove((study.0, 3)).expect("removes");
        // Of before the snapshot, of after it, of a trial that is open, of no study.
        for (of, trial, value) in [(study, 1, 99.0), (study, 7, 99.0), (study, 20, 20.5)] {
            let (ended, agent) = (Timestamp(2), AGENT);
            let end = RowEnd::Complete(outcome(value));
            let row = OutcomeRow { trial: TrialIndex(trial), ended, agent, end };
            let bytes = sealed(&row_key(of, row.trial), &row).expect("sealed");
            table.insert((of.0, trial), bytes.as_slice()).expect("inserts");
        }
        table.insert((5, 5), [0; 9].as_slice()).expect("inserts");
    });
    let trial = TrialIndex;
    assert_eq!(
        bench.verify().findings,
        [
            Finding::Row { study: StudyId(5), trial: trial(5) },
            Finding::RowDiffers { study, trial: trial(1) },
            Finding::RowDiffers { study, trial: trial(7) },
            Finding::RowStray { study, trial: trial(20) },
            Finding::RowMissing { study, trial: trial(3) },
        ]
    );
}

/// What is found after a change of the log's table.
fn found(change: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) -> Vec<Finding> {
    let bench = lived();
    bench.change(|transaction| change(&mut transaction.open_table(LOG).expect("opens")));
    bench.verify().findings
}

fn flip(table: &mut redb::Table<'_, u64, &'static [u8]>, index: u64) {
    let mut bytes = table.get(index).expect("reads").expect("there").value().to_vec();
    bytes[9] ^= 4;
    table.insert(index, bytes.as_slice()).expect("writes");
}

#[test]
fn damage_of_the_log_is_named() {
    let last = lived().state.applied;
    for index in [9, last] {
        assert_eq!(found(|table| flip(table, index)), [Finding::Entry { index }]);
    }
    let gap = found(|table| drop(table.remove(9).expect("removes")));
    assert_eq!(gap, [Finding::Gap { index: 9 }]);
    let short = found(|table| table.retain(|index, _| index < 12).expect("cut"));
    assert_eq!(short, [Finding::Short { last: 11, committed: last - 1 }]);
    let stale = found(|table| drop(table.insert(3, [0; 9].as_slice()).expect("writes")));
    assert_eq!(stale, [Finding::Stale { index: 3, base: 5 }]);
}

#[test]
fn a_state_that_is_not_the_replicas_is_found() {
    let mut bench = lived();
    let of = vec![(ReplicaId(NonZeroU64::MIN), [3; 32])];
    bench.enter(Command::Digests { index: 4, of });
    assert_eq!(bench.verify().findings, [], "the state before the snapshot is not known");

    let mut bench = Bench::new();
    life(&mut bench, 3);
    let (index, own) = (bench.state.applied, bench.state.digest());
    let replica = |number| ReplicaId(NonZeroU64::new(number).expect("not zero"));
    let of = vec![(replica(1), [3; 32]), (replica(2), own), (replica(3), own)];
    bench.enter(Command::Digests { index, of });
    bench.stop();
    assert_eq!(bench.verify().findings, [Finding::Diverged { index }]);
}

#[test]
fn parts_that_do_not_belong_together_are_named() {
    let bench = lived();
    bench.change(|transaction| {
        let mut meta = transaction.open_table(crate::disk::META).expect("opens");
        meta.remove(VOTE).expect("removes");
        let mut bytes = meta.get(BASE).expect("reads").expect("there").value().to_vec();
        bytes[4] ^= 1;
        meta.insert(BASE, bytes.as_slice()).expect("writes");
    });
    let findings = bench.verify().findings;
    assert_eq!(findings, [Finding::Checksum { part: BASE }, Finding::Missing { part: VOTE }]);

    let bench = lived();
    let mut state = bench.state.clone();
    state.cluster = ClusterId([8; 16]);
    bench.change(|transaction| {
        let voters = Voters { voters: vec![1], learners: vec![] };
        let meta = SnapshotMeta { index: 5, term: 1, voters };
        let record = SnapshotRecord { meta, state: state.encode().expect("encoded") };
        let bytes = sealed(SNAPSHOT.as_bytes(), &record).expect("sealed");
        let mut meta = transaction.open_table(crate::disk::META).expect("opens");
        meta.insert(SNAPSHOT, bytes.as_slice()).expect("writes");
    });
    let (cluster, other, applied) = (CLUSTER, state.cluster, state.applied);
    let named = Finding::OtherCluster { part: "snapshot", cluster, other };
    assert_eq!(bench.verify().findings, [named, Finding::StateIndex { index: 5, applied }]);
}

#[test]
fn what_lies_beside_the_log_is_read_too() {
    let folder = lived().close();
    let data = folder.join("data");
    fs::create_dir(&data).expect("made");
    let file = |bytes: &[u8]| data.join(common::id::Digest::of(bytes).hex());
    fs::write(file(b"good"), b"good").expect("written");
    fs::write(data.join("0123.part"), b"half").expect("written");
    let look = || verify(&folder, &Progress::default()).expect("looked at");
    assert_eq!((look().findings, look().data_files), (vec![], 1));

    fs::write(file(b"bad"), b"else").expect("written");
    let other = Authority::create(ClusterId([9; 16]), SystemTime::UNIX_EPOCH).expect("made");
    other.save(&folder.join("ca")).expect("saved");
    let cluster = other.cluster();
    let named =
        Finding::OtherCluster { part: finding::AUTHORITY, cluster: CLUSTER, other: cluster };
    assert_eq!(look().findings, [named, Finding::Data { path: file(b"bad") }]);

    fs::remove_dir_all(folder.join("ca")).expect("removed");
    let missing = look().findings.remove(0);
    assert!(missing.mend().contains("another replica"), "{missing}");
    assert_eq!(missing, Finding::Authority { why: "it is missing".to_string() });
}
