//! The bytes of a join: a request of fixed layout, and its answer.
//!
//! The request is all that a stranger can say, and no parser runs on it: 70 bytes are cut in three.
//! Deliberately absent: which tokens are good, and what a certificate says.
//!
//! Floor: shell.

use crate::limits::{JOIN_HOPS_MAX, JOIN_REQUEST_BYTES};
use crate::token::{Secret, sha256};

/// What a stranger asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JoinRequest {
    pub token_id: [u8; 6],
    /// Of the secret that was sent; the secret itself is dropped at once.
    pub secret_hash: [u8; 32],
    /// Ed25519.
    pub public_key: [u8; 32],
}

impl JoinRequest {
    /// The bytes that are sent.
    pub(crate) fn bytes(token_id: &[u8; 6], secret: &[u8; 32], key: &[u8]) -> Secret<Vec<u8>> {
        let request = [&token_id[..], secret, key].concat();
        debug_assert_eq!(request.len(), JOIN_REQUEST_BYTES);
        Secret::new(request)
    }

    /// Reads them; `None` unless they are exactly as many as a request has.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; JOIN_REQUEST_BYTES] = bytes.try_into().ok()?;
        let (token_id, rest) = bytes.split_first_chunk()?;
        let (secret, key) = rest.split_at(32);
        let public_key = key.try_into().ok()?;
        Some(Self { token_id: *token_id, secret_hash: sha256(secret), public_key })
    }
}

/// What a coordinator answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JoinAnswer {
    /// With the certificate, in DER.
    Admitted(Vec<u8>),
    /// Ask there, in this order.
    Elsewhere(Vec<String>),
    Refused,
    /// There is no cluster here yet. The number is drawn anew by every life of who answers.
    Unfounded([u8; 16]),
}

impl JoinAnswer {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Admitted(certificate) => [&[ADMITTED], certificate.as_slice()].concat(),
            Self::Elsewhere(addresses) => [&[ELSEWHERE], addresses.join("\n").as_bytes()].concat(),
            Self::Refused => vec![REFUSED],
            Self::Unfounded(life) => [&[UNFOUNDED], life.as_slice()].concat(),
        }
    }

    /// Reads an answer; `None` when it is none. Addresses are cut to what a joiner follows, and
    /// nothing in them moves a cursor.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ADMITTED, certificate) => Some(Self::Admitted(certificate.to_vec())),
            (&ELSEWHERE, addresses) => {
                let text = String::from_utf8_lossy(addresses);
                let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
                Some(Self::Elsewhere(text.lines().take(JOIN_HOPS_MAX).map(plain).collect()))
            }
            (&REFUSED, _) => Some(Self::Refused),
            (&UNFOUNDED, life) => Some(Self::Unfounded(life.try_into().ok()?)),
            _ => None,
        }
    }
}

const REFUSED: u8 = 0;
const ADMITTED: u8 = 1;
/// Behind it, addresses, a line each.
const ELSEWHERE: u8 = 2;
const UNFOUNDED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_cut_where_it_was_put_together() {
        let bytes = JoinRequest::bytes(&[1; 6], &[2; 32], &[3; 32]);
        let read = JoinRequest::read(bytes.expose()).expect("70 bytes");
        assert_eq!((read.token_id, read.public_key), ([1; 6], [3; 32]));
        assert_eq!(read.secret_hash, sha256(&[2; 32]));
        for length in [0, 69, 71] {
            assert_eq!(JoinRequest::read(&vec![7; length]), None);
        }
    }

    #[test]
    fn every_answer_is_read_back() {
        let elsewhere = vec!["a:1".to_string(), "b:2".to_string()];
        for answer in [
            JoinAnswer::Admitted(vec![4, 5]),
            JoinAnswer::Elsewhere(elsewhere),
            JoinAnswer::Refused,
            JoinAnswer::Unfounded([6; 16]),
        ] {
            assert_eq!(JoinAnswer::read(&answer.bytes()), Some(answer));
        }
        assert_eq!(JoinAnswer::read(&[]), None);
        assert_eq!(JoinAnswer::read(&[3]), None);
        assert_eq!(JoinAnswer::read(&[4]), None);
    }

    #[test]
    fn a_joiner_follows_few_addresses_and_prints_none_that_steers_a_terminal() {
        let many = vec!["x\u{1b}[2J:1"; 99].join("\n");
        let read = JoinAnswer::read(&[&[ELSEWHERE], many.as_bytes()].concat());
        let Some(JoinAnswer::Elsewhere(addresses)) = read else { panic!("{read:?}") };
        assert_eq!(addresses, vec!["x[2J:1"; JOIN_HOPS_MAX]);
    }
}
