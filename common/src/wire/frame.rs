//! One frame: a length and that many bytes of one message.
//!
//! The length is checked before anything is allocated for it.
//!
//! Floor: common.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::codec::{self, CodecError};

/// Four bytes of length, big-endian, then the message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = codec::encode(message).map_err(|source| FrameError::Codec { source })?;
    let length = length_checked(body.len(), FRAME_MAX)?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// The body's length as the header claims it, refused above `bytes_max` before anything is read.
pub fn body_length(header: [u8; HEADER_BYTES], bytes_max: usize) -> Result<usize, FrameError> {
    let claimed = u32::from_be_bytes(header) as usize;
    length_checked(claimed, bytes_max).map(|length| length as usize)
}

/// The message in a whole body.
pub fn decode_body<T: DeserializeOwned + Serialize>(body: &[u8]) -> Result<T, FrameError> {
    codec::decode(body).map_err(|source| FrameError::Codec { source })
}

fn length_checked(bytes: usize, bytes_max: usize) -> Result<u32, FrameError> {
    if bytes > bytes_max {
        return Err(FrameError::TooLong { bytes, bytes_max });
    }
    Ok(bytes as u32)
}

/// Why a frame is refused.
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is longer than the {bytes_max} allowed here")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("the frame's message cannot be read")]
    Codec { source: CodecError },
}

pub const HEADER_BYTES: usize = 4;

/// Longest message on a control stream, and longest chunk of a bulk stream.
pub const FRAME_MAX: usize = 1 << 20;

/// Longest first message on a connection.
pub const FIRST_FRAME_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_4_gib_is_refused_by_its_header() {
        let refused = body_length([0xff; 4], FRAME_MAX);
        assert!(matches!(refused, Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn what_was_framed_is_read_back() {
        let frame = encode(&"seven".to_string()).expect("short");
        let header: [u8; HEADER_BYTES] = frame[..HEADER_BYTES].try_into().expect("four");
        assert_eq!(body_length(header, FRAME_MAX).expect("short"), frame.len() - HEADER_BYTES);
        assert_eq!(decode_body::<String>(&frame[HEADER_BYTES..]).expect("whole"), "seven");
    }
}
