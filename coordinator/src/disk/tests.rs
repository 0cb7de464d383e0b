//! The disk on real files: what is committed is kept, what is damaged is refused.
//!
//! Floor: shell.

use std::num::NonZeroU64;

use common::id::MemberId;
use common::time::Timestamp;
use common::wire::message::RowEnd;
use redb::ReadableTable;

use super::*;
use crate::replica::log::{EntryKind, SnapshotMeta, Voters};

fn identity() -> FolderIdentity {
    let cluster = ClusterId([7; 16]);
    FolderIdentity { format: FORMAT, cluster, replica: ReplicaId(NonZeroU64::MIN) }
}

fn entry(index: u64) -> LogEntry {
    let data = vec![index as u8; 5];
    LogEntry { index, term: 1, kind: EntryKind::Command, context: vec![], data }
}

fn row(trial: u64) -> OutcomeRow {
    let end = RowEnd::Failed { reason: "error".into(), detail: "x".repeat(100) };
    OutcomeRow { trial: TrialIndex(trial), ended: Timestamp(1), agent: MemberId(2), end }
}

/// A new folder's disk, whose log begins after entry 1.
fn disk(folder: &Path) -> Disk {
    Disk::create(folder, identity(), &Recovered::first(1, b"state".to_vec())).expect("made");
    Disk::open(folder).expect("opens").0
}

fn keep(trials: std::ops::Range<u64>) -> Vec<RowChange> {
    trials.map(|n| RowChange::Keep(StudyId(9), row(n))).collect()
}

fn trials(disk: &Disk) -> Vec<u64> {
    let (rows, _) = disk.outcomes(StudyId(9), TrialIndex(0), 1 << 20).expect("reads");
    rows.into_iter().map(|row| row.trial.0).collect()
}

fn snapshot(index: u64, source: Source) -> Persist {
    let voters = Voters { voters: vec![1], learners: vec![] };
    let meta = SnapshotMeta { index, term: 1, voters };
    let record = SnapshotRecord { meta, state: vec![1, 2] };
    Persist { snapshot: Some(Save { record, source }), ..Persist::default() }
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let vote = Vote { term: 1, vote: 1, commit: 3 };
    {
        let disk = disk(folder.path());
        let entries = vec![entry(2), entry(3), entry(4)];
        let persist = Persist { entries, vote: Some(vote), snapshot: None };
        disk.commit(&persist, &keep(4..5)).expect("commits");
    }
    let (disk, found) = Disk::open(folder.path()).expect("opens");
    assert_eq!(found, identity());
    let recovered = disk.recover().expect("recovers");
    assert_eq!(recovered.entries, [entry(2), entry(3), entry(4)]);
    assert_eq!(recovered.vote, vote);
    let rows = disk.outcomes(StudyId(9), TrialIndex(0), 1 << 20).expect("reads");
    assert_eq!(rows, (vec![row(4)], None));
}

#[test]
fn a_folder_without_a_log_is_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Disk::open(folder.path()), Err(DiskError::Absent { .. })));
}

#[test]
fn a_snapshot_drops_the_log_up_to_its_base_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let entries = (2..=6).map(entry).collect();
    disk.commit(&Persist { entries, ..Persist::default() }, &[]).expect("commits");
    let base = Base { index: 3, term: 1 };
    let persist = snapshot(5, Source::Own { base, offered: false });
    disk.commit(&persist, &[]).expect("commits");

    let recovered = disk.recover().expect("recovers");

    assert_eq!(Some(recovered.snapshot), persist.snapshot.map(|save| save.record));
    assert_eq!((recovered.base, recovered.entries), (base, vec![entry(4), entry(5), entry(6)]));
}

#[test]
fn a_leaders_snapshot_takes_the_place_of_log_and_outcomes() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let entries = (2..=6).map(entry).collect();
    disk.commit(&Persist { entries, ..Persist::default() }, &keep(0..3)).expect("commits");
    disk.begin_incoming().expect("begins");
    disk.stage_incoming(&vec![(StudyId(9), row(7)), (StudyId(9), row(8))]).expect("stages");
    disk.finish_incoming().expect("flushes");
    assert_eq!(trials(&disk), [0, 1, 2], "what arrives is not seen before it is installed");

    let persist = snapshot(90, Source::Leader);
    disk.commit(&persist, &[]).expect("installs");
    disk.commit(&persist, &[]).expect("made again after an error, it changes nothing");

    assert_eq!(trials(&disk), [7, 8]);
    let recovered = disk.recover().expect("recovers");
    assert_eq!((recovered.base.index, recovered.entries.len()), (90, 0));
}

#[test]
fn what_arrived_of_an_earlier_snapshot_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    disk.begin_incoming().expect("begins");
    disk.stage_incoming(&vec![(StudyId(9), row(7))]).expect("stages");
    disk.begin_incoming().expect("begins anew");
    disk.stage_incoming(&vec![(StudyId(9), row(8))]).expect("stages");
    disk.finish_incoming().expect("flushes");
    disk.commit(&snapshot(90, Source::Leader), &[]).expect("installs");
    assert_eq!(trials(&disk), [8]);
}

#[test]
fn a_snapshot_without_its_outcomes_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let installed = disk.commit(&snapshot(90, Source::Leader), &[]);
    assert!(matches!(installed, Err(DiskError::Damaged { .. })), "{installed:?}");
}

#[test]
fn an_image_stays_as_it_was_while_the_disk_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    disk.commit(&Persist::default(), &keep(0..5)).expect("commits");
    let image = disk.image(7, vec![3]).expect("held");
    let drop = RowChange::Drop(StudyId(9), TrialIndex(2));
    disk.commit(&Persist::default(), &[drop]).expect("commits");
    disk.commit(&Persist::default(), &keep(5..9)).expect("commits");

    let (mut of_image, mut from) = (Vec::new(), Some(Place::default()));
    while let Some(place) = from {
        let (rows, next) = image.rows(place, 300).expect("reads");
        assert!(rows.len() <= 2, "in pieces");
        of_image.extend(rows.into_iter().map(|(_, row)| row.trial.0));
        from = next;
    }

    assert_eq!(of_image, [0, 1, 2, 3, 4]);
    assert_eq!(trials(&disk), [0, 1, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = disk(folder.path());
    assert!(matches!(Disk::open(folder.path()), Err(DiskError::Locked { .. })));
}

#[test]
fn a_file_that_is_opened_anew_has_what_was_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    disk.commit(&Persist::default(), &keep(0..3)).expect("commits");
    disk.reopen().expect("opens");
    assert_eq!(trials(&disk), [0, 1, 2]);
    disk.commit(&Persist::default(), &keep(3..4)).expect("goes on");
    assert_eq!(trials(&disk), [0, 1, 2, 3]);
}

#[test]
fn outcomes_come_in_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    disk.stage(&keep(0..10)).expect("stages");
    let (first, next) = disk.outcomes(StudyId(9), TrialIndex(0), 500).expect("reads");
    assert_eq!((first.len(), next), (4, Some(TrialIndex(4))));
    let (rest, next) = disk.outcomes(StudyId(9), TrialIndex(4), 1 << 20).expect("reads");
    assert_eq!((rest.len(), next), (6, None));
}

/// Overwrites one value as a flipped bit would.
fn damage(disk: &Disk, index: u64) {
    let transaction = disk.write().expect("begins");
    {
        let mut log = transaction.open_table(LOG).expect("opens");
        let mut bytes = log.get(index).expect("reads").expect("there").value().to_vec();
        bytes[6] ^= 1;
        log.insert(index, bytes.as_slice()).expect("writes");
    }
    transaction.commit().expect("commits");
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let entries = (2..=6).map(entry).collect();
    let vote = Some(Vote { term: 1, vote: 1, commit: 5 });
    disk.commit(&Persist { entries, vote, snapshot: None }, &[]).expect("commits");
    // The last one may have been acknowledged: the commit mark is written with what comes next.
    for index in [6, 5, 3] {
        damage(&disk, index);
        let refused = disk.recover();
        let Err(error @ DiskError::Damaged { .. }) = refused else { panic!("{refused:?}") };
        let text = error.to_string();
        let named = text.contains(&format!("entry {index} fails"));
        assert!(named && text.contains("members remove"), "{text}");
    }
}

#[test]
fn a_log_that_ends_before_its_commit_mark_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = disk(folder.path());
    let entries = (2..=4).map(entry).collect();
    let vote = Some(Vote { term: 1, vote: 1, commit: 4 });
    disk.commit(&Persist { entries, vote, snapshot: None }, &[]).expect("commits");
    let transaction = disk.write().expect("begins");
    transaction.open_table(LOG).expect("opens").remove(4).expect("removes");
    transaction.commit().expect("commits");
    assert!(matches!(disk.recover(), Err(DiskError::Damaged { .. })));
}
