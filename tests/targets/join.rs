//! What a stranger may say, what it is answered, and the token behind it.
//!
//! Floor: wiring.

use std::time::SystemTime;

use common::id::{ClusterId, MemberId};
use common::wire::message::Role;
use link::{Authority, Identity, JoinAnswer, JoinRequest, JoinToken};

use super::{Read, kept};

/// A text with a token in it, or not.
pub(super) fn token(input: &[u8]) -> Read {
    let text = std::str::from_utf8(input).ok()?;
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.expose(), text.trim(), "a token with two spellings");
    }
    match JoinToken::find(text) {
        Ok(token) => {
            let exposed = token.expose();
            assert!(text.split_whitespace().any(|word| word == exposed));
            let secret = exposed.rsplit('.').next().expect("four parts");
            assert!(!format!("{token:?}").contains(secret));
            kept(token)
        }
        Err(error) => {
            // What is said of a bad token quotes none of it.
            let said = format!("{error} {error:?}");
            let words = text.split(|c: char| c.is_whitespace() || c == '.');
            let long = words.filter(|word| word.len() >= 20);
            long.for_each(|word| assert!(!said.contains(word)));
            None
        }
    }
}

/// The first byte says which side reads the others.
pub(super) fn run(input: &[u8]) -> Read {
    let (side, bytes) = input.split_first()?;
    if side % 2 == 0 {
        let request = JoinRequest::read(bytes)?;
        assert!(bytes.starts_with(&request.token_id) && bytes.ends_with(&request.public_key));
        return kept(request);
    }
    let answer = JoinAnswer::read(bytes)?;
    match &answer {
        JoinAnswer::Admitted(certificate) => {
            let renewed = identity().renewed(certificate.clone());
            assert!(
                renewed.is_err(),
                "no bytes from elsewhere are a certificate of this authority"
            );
        }
        JoinAnswer::Elsewhere(addresses) => {
            assert!(addresses.len() <= 8);
            assert!(addresses.iter().all(|address| !address.chars().any(char::is_control)));
        }
        JoinAnswer::Refused | JoinAnswer::Unfounded(_) => {}
    }
    kept(answer)
}

/// Somebody with a certificate, of an authority that nobody else has.
fn identity() -> &'static Identity {
    static IDENTITY: std::sync::OnceLock<Identity> = std::sync::OnceLock::new();
    IDENTITY.get_or_init(|| {
        let now = SystemTime::now();
        let authority = Authority::create(ClusterId([1; 16]), now).expect("made");
        authority.client_identity(Role::Agent, MemberId(16), now).expect("issued")
    })
}

pub(super) fn token_seeds() -> Vec<(String, Vec<u8>)> {
    // Zeros, so that the corpus holds nothing that looks like a secret of somebody's.
    let bare = format!("SW1.{}.{}.{}", "A".repeat(43), "A".repeat(8), "A".repeat(43));
    vec![
        ("bare".to_string(), bare.clone().into_bytes()),
        ("line".to_string(), format!("agent join a:1 --token {bare}\n").into_bytes()),
        ("two".to_string(), format!("{bare} {bare}").into_bytes()),
        ("cut".to_string(), bare.as_bytes()[..60].to_vec()),
        ("behind".to_string(), format!("{bare}.x").into_bytes()),
    ]
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![("request".to_string(), vec![0; 71])];
    // The beginning of a certificate; a whole one is in the corpus, made once.
    let certificate = vec![0x30, 0x82, 1, 0, 0x30, 0x81, 0xb3, 0xa0, 3, 2, 1, 2];
    let addresses = ["10.0.0.5:7461", "[::1]:7461"].map(str::to_string).to_vec();
    for (name, answer) in [
        ("admitted", JoinAnswer::Admitted(certificate)),
        ("elsewhere", JoinAnswer::Elsewhere(addresses)),
        ("refused", JoinAnswer::Refused),
    ] {
        seeds.push((name.to_string(), [&[1], answer.bytes().as_slice()].concat()));
    }
    seeds
}
