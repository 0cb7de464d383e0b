//! Writing a backup, part by part.
//!
//! Floor: shell.

use std::io::Write;

use common::id::Digest;
use common::wire::codec;
use common::wire::message::peer::Private;

use super::format::{About, FORMAT, MAGIC, PIECE_BYTES, Part};
use super::{BackupError, Source};
use crate::disk::Place;

/// Writes all of `source`; what it is of, and how many outcomes it has. Slow: for a thread of its own.
pub fn write(source: &Source, out: &mut dyn Write) -> Result<(About, u64), BackupError> {
    let mut parts = Parts { out, hasher: blake3::Hasher::new() };
    parts.bytes(MAGIC)?;
    let about = about(source)?;
    parts.write(&Part::About(about.clone()))?;
    parts.write(&Part::Authority(Private(source.authority.expose().clone())))?;
    for (digest, length) in &about.data {
        let mut at = 0;
        loop {
            let (bytes, _) = source.content.read(digest, at, PIECE_BYTES)?;
            let read = bytes.len() as u64;
            if read > 0 || *length == 0 {
                parts.write(&Part::Data { digest: *digest, bytes })?;
            }
            at += read;
            if read == 0 || at >= *length {
                break;
            }
        }
    }
    for piece in source.image.state.chunks(PIECE_BYTES) {
        parts.write(&Part::State(piece.to_vec()))?;
    }
    let (mut from, mut count) = (Some(Place::default()), 0);
    while let Some(place) = from {
        let (rows, next) = source.image.rows(place, PIECE_BYTES)?;
        count += rows.len() as u64;
        if !rows.is_empty() {
            parts.write(&Part::Rows(rows))?;
        }
        from = next;
    }
    let digest = Digest(*parts.hasher.finalize().as_bytes());
    parts.write(&Part::End { rows: count, digest })?;
    parts.out.flush().map_err(|source| BackupError::Write { source })?;
    Ok((about, count))
}

fn about(source: &Source) -> Result<About, BackupError> {
    let length = |(digest, study): (&Digest, &String)| {
        let absent = || BackupError::NoData { study: study.clone() };
        let (_, length) = source.content.read(digest, 0, 0).map_err(|_| absent())?;
        Ok((*digest, length))
    };
    let data: Result<Vec<(Digest, u64)>, BackupError> = source.data.iter().map(length).collect();
    Ok(About {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_string(),
        made: source.made,
        cluster: source.cluster,
        replica: source.replica,
        index: source.image.index,
        term: source.term,
        level: source.level,
        studies: source.studies,
        state_bytes: source.image.state.len() as u64,
        data: data?,
    })
}

/// Writes parts and takes the digest of what was written.
struct Parts<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Parts<'_> {
    fn write(&mut self, part: &Part) -> Result<(), BackupError> {
        let bytes = codec::encode(part).map_err(|source| BackupError::Encode { source })?;
        self.bytes(&(bytes.len() as u32).to_be_bytes())?;
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|source| BackupError::Write { source })
    }
}
