//! Compressed bytes, piece by piece.
//!
//! What comes out is never held here beyond one piece, so that a few bytes that stand for very many
//! cost no memory unless the caller keeps them.
//!
//! Floor: common.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Gives `each` what a raw deflate stream stands for, until it says that it has enough. What is
/// behind the stream, where it was read to its end.
///
/// Errors: `None` where the stream is damaged or ends early.
pub fn inflate<'a>(mut input: &'a [u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Option<&'a [u8]> {
    let mut stream = Decompress::new(false);
    let mut piece = vec![0; PIECE];
    loop {
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, &mut piece, FlushDecompress::None).ok()?;
        let (taken, given) = (stream.total_in() - taken, stream.total_out() - given);
        input = input.get(taken as usize..)?;
        if !each(piece.get(..given as usize)?) || status == Status::StreamEnd {
            return Some(input);
        }
        if taken == 0 && given == 0 {
            return None;
        }
    }
}

/// All of a gzip file's content, of at most `most` bytes, as its sum and length say. A file that is
/// not gzip, or that was changed, is `None`.
pub fn gunzip(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    let (mut content, mut rest) = (Vec::new(), bytes);
    // A file may be several behind one another.
    while content.is_empty() || is_gzip(rest) {
        let (mut fits, mut sum) = (true, Crc::new());
        rest = inflate(gzip_body(rest)?, &mut |piece| {
            fits = content.len() + piece.len() <= most;
            if fits {
                sum.update(piece);
                content.extend(piece);
            }
            fits
        })?;
        let (said, behind) = rest.split_first_chunk::<8>()?;
        if !fits || *said != [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat()[..] {
            return None;
        }
        rest = behind;
    }
    Some(content)
}

/// The same in pieces, until `each` has enough.
pub fn gunzip_pieces(bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> bool) -> Option<()> {
    inflate(gzip_body(bytes)?, each).map(|_| ())
}

pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// What is behind a gzip header (RFC 1952, 2.3).
fn gzip_body(bytes: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = bytes.split_first_chunk::<10>()?;
    if !is_gzip(header) || header[2] != 8 {
        return None;
    }
    let flags = header[3];
    if flags & 4 != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // A name and a comment, each up to a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

/// A stream of as many bytes stands for no more than so many times as many.
pub const RATIO_MAX: usize = 1032;
const PIECE: usize = 1 << 16;
