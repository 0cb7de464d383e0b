//! Which of its two commits redb's header leads to: one bit, and no checksum covers it.
//!
//! Commits take turns in two slots, and a bit says which is the last one. A file that was closed
//! properly ends with a commit of its own, so the other slot is an older one; where it is newer, the
//! bit has changed. After a crash that cannot be told from a commit that was under way.
//!
//! Floor: shell.

use std::io;

use crate::disk::overlay::Bytes;

/// Whether a file that was closed properly leads to the older one of its commits.
pub(super) fn leads_to_an_older_commit(bytes: &dyn Bytes) -> io::Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if bytes.length()? < HEADER_BYTES as u64 {
        return Ok(false);
    }
    bytes.read(0, &mut header)?;
    let flags = header[FLAGS_AT];
    let last = usize::from(flags & SECOND_IS_LAST != 0);
    let known = (0..2).all(|number| slot(&header, number)[0] == VERSION);
    let closed = flags & NOT_CLOSED == 0;
    Ok(known && closed && commit(&header, last) < commit(&header, 1 - last))
}

fn slot(header: &[u8; HEADER_BYTES], number: usize) -> &[u8] {
    &header[SLOTS_AT + number * SLOT_BYTES..][..SLOT_BYTES]
}

/// The number of the commit in a slot.
fn commit(header: &[u8; HEADER_BYTES], number: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&slot(header, number)[COMMIT_AT..COMMIT_AT + 8]);
    u64::from_le_bytes(bytes)
}

// The layout of version 3 of redb's files.
const HEADER_BYTES: usize = 320;
const FLAGS_AT: usize = 9;
const SECOND_IS_LAST: u8 = 1;
const NOT_CLOSED: u8 = 2;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const COMMIT_AT: usize = 104;
const VERSION: u8 = 3;
