//! The byte format of messages, log entries and spooled outcomes. The only file that names bincode.
//!
//! Decoding takes hostile bytes: it never reads past its input, never allocates by a claimed length
//! beyond the limit, refuses trailing bytes and refuses a second encoding of the same value. For
//! this to hold no message has a recursive type, a zero-size element in a list, or a hash map.
//!
//! Floor: common.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::modest::Modest;

/// Canonical bytes of `value`.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|source| CodecError::Encode { source })
}

/// Reads what [`encode`] wrote. `bytes` longer than [`DECODE_MAX`] are refused unread.
pub fn decode<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > DECODE_MAX {
        return Err(CodecError::TooLong { bytes: bytes.len(), bytes_max: DECODE_MAX });
    }
    let config = bincode::config::standard().with_limit::<DECODE_MAX>();
    let decoded = bincode::serde::borrow_decode_from_slice::<Modest<T>, _>(bytes, config);
    let (Modest(value), used) = decoded.map_err(|source| CodecError::Decode { source })?;
    if used != bytes.len() {
        return Err(CodecError::Trailing { used, bytes: bytes.len() });
    }
    // Variable-length integers have longer spellings; one value must have one encoding.
    if encode(&value)? != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

/// Why bytes are not a value, or a value has no bytes.
#[derive(Debug, Error)]
pub enum CodecError {
    #[error("the value cannot be encoded")]
    Encode { source: bincode::error::EncodeError },
    #[error("the bytes cannot be decoded")]
    Decode { source: bincode::error::DecodeError },
    #[error("{bytes} bytes are more than the {bytes_max} that are decoded")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("{used} of {bytes} bytes were used; the rest should not be there")]
    Trailing { used: usize, bytes: usize },
    #[error("the bytes are not the canonical encoding of their value")]
    NotCanonical,
}

/// Longest encoding that is decoded: a snapshot of the coordinator's state fits, 1 TiB claims do not.
pub const DECODE_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_the_same_in_every_release() {
        let bytes =
            encode(&(7u32, "seed".to_string(), vec![1.5f64], None::<u64>)).expect("encodes");
        assert_eq!(bytes, [7, 4, b's', b'e', b'e', b'd', 1, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0]);
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut bytes = vec![253];
        bytes.extend_from_slice(&(1u64 << 40).to_le_bytes());
        assert!(matches!(decode::<Vec<u8>>(&bytes), Err(CodecError::Decode { .. })));
        assert!(matches!(decode::<Vec<String>>(&bytes), Err(CodecError::Decode { .. })));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(matches!(decode::<u8>(&[5, 9]), Err(CodecError::Trailing { used: 1, bytes: 2 })));
    }

    #[test]
    fn a_second_encoding_is_refused() {
        let long = [253, 5, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(decode::<u64>(&long), Err(CodecError::NotCanonical)));
    }

    #[test]
    fn not_a_number_survives() {
        let bytes = encode(&vec![f64::NAN, f64::INFINITY]).expect("encodes");
        let back: Vec<f64> = decode(&bytes).expect("decodes");
        assert!(back[0].is_nan() && back[1].is_infinite());
    }
}
