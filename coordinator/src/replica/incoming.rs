//! A snapshot on its way: cut into parts by the sender, put together by the receiver.
//!
//! Parts are numbered within a transfer and hashed in order: one that is missing, doubled, altered or
//! of another transfer refuses the whole, and nothing of it is installed. Deliberately absent: the
//! stream that carries parts, and where the receiver keeps the outcomes meanwhile.
//!
//! Floor: core.

use common::id::StudyId;
use common::wire::codec;
use common::wire::message::OutcomeRow;
use common::wire::message::peer::{RaftMessage, SnapshotPart};
use thiserror::Error;

/// Outcomes of one part.
pub type Rows = Vec<(StudyId, OutcomeRow)>;

/// Cuts one snapshot into parts.
pub struct Cutter {
    transfer: u64,
    number: u64,
    hasher: blake3::Hasher,
}

impl Cutter {
    /// The first part; `transfer` is drawn anew for every try.
    pub fn begin(message: RaftMessage, transfer: u64) -> (Self, SnapshotPart) {
        let cutter = Self { transfer, number: 0, hasher: blake3::Hasher::new() };
        (cutter, SnapshotPart::Begin { message: Box::new(message), transfer })
    }

    pub fn state(&mut self, bytes: Vec<u8>) -> SnapshotPart {
        let (transfer, number) = (self.transfer, self.number);
        self.counted(SnapshotPart::State { transfer, number, bytes })
    }

    pub fn rows(&mut self, rows: Rows) -> SnapshotPart {
        let (transfer, number) = (self.transfer, self.number);
        self.counted(SnapshotPart::Rows { transfer, number, rows })
    }

    /// The last part.
    pub fn end(self) -> SnapshotPart {
        let digest = *self.hasher.finalize().as_bytes();
        SnapshotPart::End { transfer: self.transfer, parts: self.number, digest }
    }

    fn counted(&mut self, part: SnapshotPart) -> SnapshotPart {
        hash(&mut self.hasher, &part);
        self.number += 1;
        part
    }
}

/// Puts parts together.
#[derive(Debug, Default)]
pub struct Incoming {
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    message: RaftMessage,
    transfer: u64,
    number: u64,
    state: Vec<u8>,
    hasher: blake3::Hasher,
}

/// What a part gives the receiver to do.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// A transfer begins: what was kept of an earlier one is to be dropped.
    Begun,
    Nothing,
    /// To be kept until the end.
    Rows(Rows),
    /// All is here: the message that asks to install it, and the state.
    Whole {
        message: Box<RaftMessage>,
        state: Vec<u8>,
    },
}

/// Why a transfer is given up.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TransferError {
    #[error("a part came before the transfer's beginning")]
    NotBegun,
    #[error("a part is of another transfer")]
    OtherTransfer,
    #[error("a part is missing or came twice")]
    OutOfOrder,
    #[error("the parts are not those that were sent")]
    Altered,
    #[error("the state is longer than {STATE_BYTES_MAX} bytes")]
    TooLong,
}

impl Incoming {
    /// Takes the next part. After an error nothing is under way.
    pub fn take(&mut self, part: SnapshotPart) -> Result<Taken, TransferError> {
        let taken = self.take_in_order(part);
        if taken.is_err() {
            self.under_way = None;
        }
        taken
    }

    fn take_in_order(&mut self, part: SnapshotPart) -> Result<Taken, TransferError> {
        if let SnapshotPart::Begin { message, transfer } = part {
            let message = *message;
            let hasher = blake3::Hasher::new();
            let state = Vec::new();
            self.under_way = Some(UnderWay { message, transfer, number: 0, state, hasher });
            return Ok(Taken::Begun);
        }
        let under_way = self.under_way.as_mut().ok_or(TransferError::NotBegun)?;
        under_way.check(&part)?;
        match part {
            SnapshotPart::Begin { .. } => Ok(Taken::Begun),
            SnapshotPart::State { bytes, .. } => {
                if under_way.state.len() + bytes.len() > STATE_BYTES_MAX {
                    return Err(TransferError::TooLong);
                }
                under_way.state.extend(bytes);
                Ok(Taken::Nothing)
            }
            SnapshotPart::Rows { rows, .. } => Ok(Taken::Rows(rows)),
            SnapshotPart::End { .. } => match self.under_way.take() {
                Some(UnderWay { message, state, .. }) => {
                    Ok(Taken::Whole { message: Box::new(message), state })
                }
                None => Err(TransferError::NotBegun),
            },
        }
    }
}

impl UnderWay {
    fn check(&mut self, part: &SnapshotPart) -> Result<(), TransferError> {
        let (transfer, number) = match part {
            SnapshotPart::Begin { transfer, .. } => (*transfer, 0),
            SnapshotPart::State { transfer, number, .. }
            | SnapshotPart::Rows { transfer, number, .. } => (*transfer, *number),
            SnapshotPart::End { transfer, parts, .. } => (*transfer, *parts),
        };
        if transfer != self.transfer {
            return Err(TransferError::OtherTransfer);
        }
        if number != self.number {
            return Err(TransferError::OutOfOrder);
        }
        if let SnapshotPart::End { digest, .. } = part {
            let whole = *digest == *self.hasher.finalize().as_bytes();
            return if whole { Ok(()) } else { Err(TransferError::Altered) };
        }
        hash(&mut self.hasher, part);
        self.number += 1;
        Ok(())
    }
}

fn hash(hasher: &mut blake3::Hasher, part: &SnapshotPart) {
    // What has no encoding cannot have been sent.
    hasher.update(&codec::encode(part).unwrap_or_default());
}

/// As long as a state can be decoded.
const STATE_BYTES_MAX: usize = codec::DECODE_MAX;

/// Bytes of state in one part; outcomes are cut about as fine.
pub const PART_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use common::id::{MemberId, TrialIndex};
    use common::time::Timestamp;
    use common::wire::message::RowEnd;

    use super::*;

    fn row(trial: u64) -> (StudyId, OutcomeRow) {
        let end = RowEnd::Failed { reason: "error".into(), detail: "x".into() };
        let (ended, agent) = (Timestamp(1), MemberId(16));
        (StudyId(7), OutcomeRow { trial: TrialIndex(trial), ended, agent, end })
    }

    fn parts(transfer: u64) -> Vec<SnapshotPart> {
        let (mut cutter, begin) = Cutter::begin(RaftMessage::default(), transfer);
        let state = cutter.state(vec![1, 2]);
        let more = cutter.state(vec![3]);
        let rows = cutter.rows(vec![row(0), row(1)]);
        vec![begin, state, more, rows, cutter.end()]
    }

    fn take_all(parts: Vec<SnapshotPart>) -> Result<Taken, TransferError> {
        let mut incoming = Incoming::default();
        let mut last = Err(TransferError::NotBegun);
        for part in parts {
            last = incoming.take(part);
            if last.is_err() {
                break;
            }
        }
        last
    }

    #[test]
    fn what_was_cut_is_put_together() {
        let whole = take_all(parts(5)).expect("whole");
        let message = Box::new(RaftMessage::default());
        assert_eq!(whole, Taken::Whole { message, state: vec![1, 2, 3] });
    }

    #[test]
    fn a_part_that_is_missing_or_doubled_refuses_the_whole() {
        for at in 1..4 {
            let mut missing = parts(5);
            missing.remove(at);
            assert_eq!(take_all(missing), Err(TransferError::OutOfOrder));
            let mut doubled = parts(5);
            doubled.insert(at, doubled[at].clone());
            assert_eq!(take_all(doubled), Err(TransferError::OutOfOrder));
        }
    }

    #[test]
    fn parts_of_two_transfers_do_not_mix() {
        let mut mixed = parts(5);
        mixed[3] = parts(6)[3].clone();
        assert_eq!(take_all(mixed), Err(TransferError::OtherTransfer));
    }

    #[test]
    fn altered_bytes_are_noticed_at_the_end() {
        let mut altered = parts(5);
        altered[1] = SnapshotPart::State { transfer: 5, number: 0, bytes: vec![1, 9] };
        assert_eq!(take_all(altered), Err(TransferError::Altered));
    }

    #[test]
    fn a_new_beginning_drops_what_was_under_way() {
        let mut twice = parts(5);
        twice.truncate(3);
        twice.extend(parts(6));
        assert!(matches!(take_all(twice), Ok(Taken::Whole { state, .. }) if state == [1, 2, 3]));
    }

    #[test]
    fn after_an_error_nothing_is_under_way() {
        let mut incoming = Incoming::default();
        let [begin, _, more, ..] = &parts(5)[..] else { unreachable!("five parts") };
        assert_eq!(incoming.take(begin.clone()), Ok(Taken::Begun));
        assert_eq!(incoming.take(more.clone()), Err(TransferError::OutOfOrder));
        assert_eq!(incoming.take(more.clone()), Err(TransferError::NotBegun));
    }
}
