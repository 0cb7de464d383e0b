//! The parts of a backup file, in their order.
//!
//! After [`MAGIC`] every part is its length in four bytes, big-endian, and its encoding. Kinds of parts
//! are only ever added at the end, and a change of any is a new [`FORMAT`].
//!
//! Floor: shell.

use common::id::{ClusterId, Digest, ReplicaId};
use common::time::Timestamp;
use common::wire::message::peer::Private;
use serde::{Deserialize, Serialize};

use crate::replica::incoming::Rows;

/// One part.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Part {
    About(About),
    /// The certificate authority with its key.
    Authority(Private),
    /// Of the file with this digest, the next bytes; a file that is empty has one without any.
    Data {
        digest: Digest,
        bytes: Vec<u8>,
    },
    /// Of the encoded state, the next bytes.
    State(Vec<u8>),
    Rows(Rows),
    /// The last one. The digest is of all bytes before this part.
    End {
        rows: u64,
        digest: Digest,
    },
}

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub format: u16,
    /// Of the program that wrote it.
    pub version: String,
    pub made: Timestamp,
    pub cluster: ClusterId,
    /// Which replica wrote it.
    pub replica: ReplicaId,
    /// The last entry of the log that it covers, and the term then.
    pub index: u64,
    pub term: u64,
    /// Of the log's entries.
    pub level: u16,
    pub studies: u64,
    pub state_bytes: u64,
    /// Data files, with their lengths.
    pub data: Vec<(Digest, u64)>,
}

pub(super) const MAGIC: &[u8] = b"seedsweep backup\n";
/// Of the parts.
pub const FORMAT: u16 = 1;
/// Bytes of a file or of outcomes in one part.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// A part is believed to be this long at most: one outcome may be longer than a piece.
pub(super) const PART_BYTES_MAX: usize = 64 << 20;
