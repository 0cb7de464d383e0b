//! The states that the logs of stopped replicas lead to.
//!
//! Read from the folders themselves, so that nothing a coordinator says about itself is believed.
//!
//! Floor: wiring.

use std::path::{Path, PathBuf};

use coordinator::disk::Disk;
use coordinator::replica::log::{EntryKind, Recovered};
use coordinator::scheduler::command::Entry;
use coordinator::scheduler::state::State;

/// Asserts that all logs lead to one state, at the last entry that all know to be committed.
pub fn are_equal(folders: &[PathBuf]) {
    let logs: Vec<Recovered> = folders.iter().map(|folder| log_in(folder)).collect();
    let upto = logs.iter().map(|log| log.vote.commit).min().expect("replicas");
    let digests: Vec<[u8; 32]> = logs.iter().map(|log| digest_at(log, upto)).collect();
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "states after entry {upto} differ: {digests:?}"
    );
}

fn log_in(folder: &Path) -> Recovered {
    let (disk, _) = Disk::open(folder).expect("a stopped replica's folder opens");
    disk.recover().expect("and is whole")
}

fn digest_at(log: &Recovered, upto: u64) -> [u8; 32] {
    let mut state = State::decode(&log.snapshot.state).expect("a state");
    assert!(state.applied <= upto, "a snapshot is of what is committed everywhere");
    for entry in log.entries.iter().filter(|e| e.index > log.snapshot.meta.index && e.index <= upto)
    {
        if entry.kind == EntryKind::Membership || entry.data.is_empty() {
            state.pass(entry.index);
        } else {
            let command = Entry::decode(&entry.data).expect("an entry");
            state.apply(entry.index, command);
        }
    }
    assert_eq!(state.applied, upto);
    state.digest()
}
