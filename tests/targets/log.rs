//! Log entries, the state that they make, and a snapshot on its way.
//!
//! What is read could have been written: it encodes to its bytes, and applying it panics nowhere.
//!
//! Floor: wiring.

use std::sync::OnceLock;

use common::design::Design;
use common::id::{ClientId, TrialIndex};
use common::time::Timestamp;
use common::wire::codec;
use common::wire::frame::HEADER_BYTES;
use common::wire::message::peer::SnapshotPart;
use common::wire::message::{Control, Which};
use coordinator::replica::incoming::{Incoming, Taken, TransferError};
use coordinator::scheduler::command::{Command, Entry, Origin};
use coordinator::scheduler::state::State;

use super::values::{self, Sample};
use super::{Read, kept};

/// One entry of the log, applied to a state with a bit of everything.
pub(super) fn entry(input: &[u8]) -> Read {
    let entry = Entry::decode(input).ok()?;
    assert!(entry.encode().expect("encodes") == input, "an entry with two spellings");
    if is_proposed(&entry.command) {
        let mut state = full_state().clone();
        let index = state.applied + 1;
        state.apply(index, entry.clone());
        assert_eq!(state.applied, index);
        reread(&state);
    }
    kept(entry)
}

/// A leader proposes no study that it would not take from an operator; one this large is left out
/// because it takes long, not because it is refused.
fn is_proposed(command: &Command) -> bool {
    let few = |trials: Option<u64>| trials.is_some_and(|trials| trials <= TRIALS_MAX);
    match command {
        Command::Submit { study, .. } => {
            let trials = Design::try_of(study).and_then(|design| design.trials());
            few(trials) && study.is_well_named() && !study.metrics.is_empty()
        }
        Command::Control { control: Control::Extend { seeds, .. }, .. } => {
            few(Some(u64::from(*seeds)))
        }
        _ => true,
    }
}

/// A snapshot's state, and some commands on it.
pub(super) fn state(input: &[u8]) -> Read {
    let state = State::decode(input)?;
    assert!(state.encode().expect("encodes") == input, "a state with two spellings");
    let _ = (state.digest(), state.addresses(), state.planned());
    if state.applied > APPLIED_MAX {
        return kept(state);
    }
    let mut later = state.clone();
    let ids: Vec<_> = state.studies.keys().copied().collect();
    for study in ids.into_iter().take(4) {
        for control in [
            Control::Retry { trials: Which::Ranges(vec![(TrialIndex(0), TrialIndex(9))]) },
            Control::Pause,
            Control::Resume,
            Control::Cancel,
        ] {
            let command = Command::Control { study, control, at: Timestamp(7) };
            let origin = Some(Origin { client: ClientId(1), number: later.applied });
            later.apply(later.applied + 1, Entry { origin, command });
        }
    }
    reread(&later);
    kept(state)
}

/// A state that was reached is one that can be read.
fn reread(state: &State) {
    let bytes = state.encode().expect("encodes");
    let again = State::decode(&bytes).and_then(|back| back.encode().ok());
    assert!(again == Some(bytes), "a state nobody reads");
}

/// Parts of a snapshot as frames, put together.
pub(super) fn transfer(input: &[u8]) -> Read {
    let mut incoming = Incoming::default();
    let mut oracle: Option<(u64, u64, blake3::Hasher, Vec<u8>)> = None;
    let mut rest = input;
    let mut taken = Vec::new();
    while let Some((part, behind)) = part(rest) {
        rest = behind;
        match incoming.take(part.clone()) {
            Err(_) => {
                oracle = None;
                let again = SnapshotPart::State { transfer: 0, number: 0, bytes: Vec::new() };
                assert_eq!(incoming.take(again), Err(TransferError::NotBegun));
            }
            Ok(Taken::Begun) => {
                let SnapshotPart::Begin { transfer, .. } = part else { panic!("{part:?}") };
                oracle = Some((transfer, 0, blake3::Hasher::new(), Vec::new()));
            }
            Ok(Taken::Whole { state, .. }) => {
                let SnapshotPart::End { transfer, parts, digest } = part else {
                    panic!("{part:?}")
                };
                let (id, count, hasher, bytes) = oracle.take().expect("it had begun");
                assert!((id, count) == (transfer, parts) && bytes == state);
                assert!(*hasher.finalize().as_bytes() == digest);
                taken.push(state);
            }
            Ok(Taken::Nothing | Taken::Rows(_)) => {
                let (_, count, hasher, bytes) = oracle.as_mut().expect("it had begun");
                *count += 1;
                hasher.update(&codec::encode(&part).expect("encodes"));
                if let SnapshotPart::State { bytes: more, .. } = part {
                    bytes.extend(more);
                }
            }
        }
    }
    kept((incoming, taken))
}

fn part(bytes: &[u8]) -> Option<(SnapshotPart, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (body, behind) = rest.split_at_checked(u32::from_be_bytes(*header) as usize)?;
    Some((codec::decode(body).ok()?, behind))
}

fn full_state() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(values::state)
}

pub(super) fn entry_seeds() -> Vec<(String, Vec<u8>)> {
    let entries = values::entries().into_iter();
    let entries = entries.filter(|sample| sample.name.starts_with("Entry"));
    entries.map(|sample: Sample| (sample.name, sample.bytes)).collect()
}

pub(super) fn state_seeds() -> Vec<(String, Vec<u8>)> {
    let state = values::state();
    let empty = State::empty(state.cluster);
    let bytes = |state: &State| state.encode().expect("short");
    vec![("full".to_string(), bytes(&state)), ("empty".to_string(), bytes(&empty))]
}

pub(super) fn transfer_seeds() -> Vec<(String, Vec<u8>)> {
    let framed = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let parts: Vec<Vec<u8>> = values::parts().iter().map(|part| framed(&part.bytes)).collect();
    let whole = parts.concat();
    vec![
        ("whole".to_string(), whole.clone()),
        ("twice".to_string(), [whole.clone(), whole].concat()),
        ("missing".to_string(), [parts[0].clone(), parts[2].clone(), parts[3].clone()].concat()),
    ]
}

/// Raft hears of no entry with a higher number.
const APPLIED_MAX: u64 = 1 << 56;
const TRIALS_MAX: u64 = 10_000;
