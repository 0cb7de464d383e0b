//! The join token: one line that lets a machine trust a cluster and a cluster trust a machine.
//!
//! `SW1.<CA hash>.<id>.<secret>`, base64url without padding. The secret leaves this process only by
//! [`JoinToken::expose`], for the operator, and in a join request, for a coordinator whose CA
//! matched. Deliberately absent: role, uses and expiry; the coordinator's log has them.
//!
//! Floor: shell.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{LinkError, TokenError};

#[derive(Clone, Debug)]
pub struct JoinToken {
    /// SHA-256 of the CA's certificate, or of the key that vouches for it: whom the joiner trusts.
    pub ca_hash: [u8; 32],
    /// Names the token in the log; not secret.
    pub id: [u8; 6],
    secret: Secret<[u8; 32]>,
}

impl JoinToken {
    /// A new token for the cluster whose CA has this hash.
    pub fn mint(ca_hash: [u8; 32]) -> Result<Self, LinkError> {
        let (mut id, mut secret) = ([0; 6], [0; 32]);
        let random = SystemRandom::new();
        random.fill(&mut id).map_err(|_| LinkError::Random)?;
        random.fill(&mut secret).map_err(|_| LinkError::Random)?;
        Ok(Self { ca_hash, id, secret: Secret(secret) })
    }

    pub(crate) fn of_parts(ca_hash: [u8; 32], id: [u8; 6], secret: [u8; 32]) -> Self {
        Self { ca_hash, id, secret: Secret(secret) }
    }

    /// The token in a text such as the line that makes a machine an agent: the last word that is one.
    pub fn find(text: &str) -> Result<Self, TokenError> {
        let words = || text.split_whitespace().rev();
        words().find_map(|word| word.parse().ok()).map_or_else(
            || match words().find(|word| word.starts_with(PREFIX)) {
                Some(nearly) => nearly.parse(),
                None => Err(TokenError::Prefix),
            },
            Ok,
        )
    }

    /// SHA-256 of the secret: all of it that the coordinator keeps.
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(self.secret.expose())
    }

    /// The whole token, for the operator's eyes and the token file.
    pub fn expose(&self) -> String {
        let [hash, id, secret] = [&self.ca_hash[..], &self.id, self.secret.expose()]
            .map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{PREFIX}.{hash}.{id}.{secret}")
    }

    /// The id in hexadecimal, as `coordinator token list` prints it.
    pub fn id_hex(&self) -> String {
        hex(&self.id)
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        self.secret.expose()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads what [`JoinToken::expose`] wrote; errors name the part, never its text.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        if parts.next() != Some(PREFIX) {
            return Err(TokenError::Prefix);
        }
        let token = Self {
            ca_hash: part(parts.next(), "CA hash")?,
            id: part(parts.next(), "id")?,
            secret: Secret(part(parts.next(), "secret")?),
        };
        if parts.next().is_some() {
            return Err(TokenError::Trailing);
        }
        Ok(token)
    }
}

/// A value that no log shows.
#[derive(Clone)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn part<const N: usize>(text: Option<&str>, name: &'static str) -> Result<[u8; N], TokenError> {
    let text = text.ok_or(TokenError::Missing { part: name })?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Part { part: name })?;
    bytes.try_into().map_err(|_| TokenError::Part { part: name })
}

const PREFIX: &str = "SW1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_printing_and_reading() {
        let token = JoinToken::mint([7; 32]).expect("randomness");
        let text = token.expose();
        let read: JoinToken = text.parse().expect("just printed");
        assert_eq!((read.ca_hash, read.id), (token.ca_hash, token.id));
        assert_eq!(read.secret_hash(), token.secret_hash());
        assert_eq!(format!("{text}\n").parse::<JoinToken>().expect("trimmed").id, token.id);
        assert_eq!(text.len(), 3 + 1 + 43 + 1 + 8 + 1 + 43);
    }

    #[test]
    fn a_token_is_found_in_the_line_that_uses_it() {
        let token = JoinToken::mint([7; 32]).expect("randomness");
        let text = token.expose();
        for line in [
            text.clone(),
            format!(" {text}\n"),
            format!("agent join 10.0.0.5:7461 --token {text}\n"),
            format!("agent join --token {text} 10.0.0.5:7461"),
        ] {
            assert_eq!(JoinToken::find(&line).expect("one").secret(), token.secret(), "{line}");
        }
        let found = |line: &str| JoinToken::find(line).err();
        assert_eq!(found("agent join 10.0.0.5:7461"), Some(TokenError::Prefix));
        let cut = format!("agent join 10.0.0.5:7461 --token {}", &text[..20]);
        assert_eq!(found(&cut), Some(TokenError::Part { part: "CA hash" }));
    }

    #[test]
    fn no_two_tokens_are_equal() {
        let [one, two] = [(); 2].map(|()| JoinToken::mint([0; 32]).expect("randomness"));
        assert_ne!(one.secret_hash(), two.secret_hash());
        assert_ne!(one.id, two.id);
    }

    #[test]
    fn no_cut_or_second_spelling_of_a_token_is_read() {
        let text = JoinToken::mint([7; 32]).expect("randomness").expose();
        for end in 0..text.len() {
            assert!(text[..end].parse::<JoinToken>().is_err(), "{end} characters");
        }
        assert_eq!(format!("{text}.x").parse::<JoinToken>().err(), Some(TokenError::Trailing));
        assert!(format!("{text}=").parse::<JoinToken>().is_err());
        assert!(text.replace("SW1", "SW2").parse::<JoinToken>().is_err());
    }

    #[test]
    fn debug_and_errors_hide_the_secret() {
        let token = JoinToken::mint([7; 32]).expect("randomness");
        let exposed = token.expose();
        let secret = exposed.rsplit('.').next().expect("four parts");
        let bytes = format!("{:?}", token.secret());
        let shown = format!("{token:?} {token:#?}");
        assert!(shown.contains("***"));
        assert!(!shown.contains(secret) && !shown.contains(&bytes));
        let error = format!("{exposed}!").parse::<JoinToken>().expect_err("not base64");
        assert!(!format!("{error} {error:?}").contains(secret));
    }
}
