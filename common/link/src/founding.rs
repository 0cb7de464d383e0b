//! The secret of a cluster whose replicas find each other: what each of them knows before there is one.
//!
//! A key made from it vouches for the authority that a founder draws, in the authority's certificate;
//! the tokens made from it name that key instead of a certificate. So a joiner knows whom to trust
//! before anything was founded, and who holds an agent's token can neither vouch nor become a replica.
//! Deliberately absent: who may found; see the coordinator.
//!
//! Floor: shell.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::id::ClusterId;
use common::wire::message::Role;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use thiserror::Error;
use x509_parser::der_parser::Oid;

use crate::authority::cluster_of;
use crate::error::LinkError;
use crate::identity;
use crate::token::{JoinToken, Secret, sha256};

/// Thirty-two bytes that all replicas of one cluster are given and nobody else.
#[derive(Clone, Debug)]
pub struct FoundingSecret(Secret<[u8; 32]>);

/// Why a text is no founding secret; it never shows the text.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FoundingError {
    #[error(
        "there is no founding secret in it; one begins with SF1. and is made by `coordinator secret`"
    )]
    Prefix,
    #[error("the founding secret is misspelt or cut off; copy all of it, which begins with SF1.")]
    Cut,
}

impl FoundingSecret {
    /// A new one.
    pub fn draw() -> Result<Self, LinkError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| LinkError::Random)?;
        Ok(Self(Secret::new(bytes)))
    }

    /// The whole secret, for the file that replicas are given.
    pub fn expose(&self) -> String {
        format!("{PREFIX}.{}", URL_SAFE_NO_PAD.encode(self.0.expose()))
    }

    /// The token of one role, which a founder lets in from the beginning.
    pub fn token(&self, role: Role) -> Result<JoinToken, LinkError> {
        let id = self.derive(&[TOKEN_ID, role.name().as_bytes()]);
        let secret = self.derive(&[TOKEN_SECRET, role.name().as_bytes()]);
        let mut short = [0; 6];
        short.copy_from_slice(&id[..6]);
        Ok(JoinToken::of_parts(self.key_hash()?, short, secret))
    }

    /// SHA-256 of the public key that vouches: whom the tokens trust.
    fn key_hash(&self) -> Result<[u8; 32], LinkError> {
        Ok(sha256(self.key()?.public_key().as_ref()))
    }

    /// What the certificate of an authority says of who vouches for it, in DER.
    pub(crate) fn vouch(&self, cluster: ClusterId, authority: &[u8]) -> Result<Vec<u8>, LinkError> {
        let key = self.key()?;
        let signature = key.sign(&vouched_for(cluster, authority));
        Ok([&OCTET_STRING, key.public_key().as_ref(), signature.as_ref()].concat())
    }

    fn key(&self) -> Result<Ed25519KeyPair, LinkError> {
        let seed = self.derive(&[KEY_SEED]);
        Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| LinkError::Certificate { what: "the founding secret makes no key" })
    }

    fn derive(&self, label: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(HMAC_SHA256, self.0.expose());
        let mut derived = [0; 32];
        derived.copy_from_slice(hmac::sign(&key, &label.concat()).as_ref());
        derived
    }
}

impl FromStr for FoundingSecret {
    type Err = FoundingError;

    /// Reads what [`FoundingSecret::expose`] wrote.
    fn from_str(text: &str) -> Result<Self, FoundingError> {
        let rest = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.ok_or(FoundingError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(rest).map_err(|_| FoundingError::Cut)?;
        Ok(Self(Secret::new(bytes.try_into().map_err(|_| FoundingError::Cut)?)))
    }
}

/// Whether a key with this hash vouches for the authority of a certificate.
pub(crate) fn is_vouched_for(certificate: &[u8], key_hash: &[u8; 32]) -> bool {
    vouched(certificate, key_hash).unwrap_or(false)
}

fn vouched(certificate: &[u8], key_hash: &[u8; 32]) -> Option<bool> {
    let parsed = identity::parse(certificate).ok()?;
    let oid = Oid::from(&VOUCHER).ok()?;
    let voucher = parsed.get_extension_unique(&oid).ok()??;
    let (key, signature) = voucher.value.strip_prefix(&OCTET_STRING)?.split_at_checked(32)?;
    let signed = vouched_for(cluster_of(certificate)?, &identity::public_key(certificate).ok()?);
    let holds = UnparsedPublicKey::new(&ED25519, key).verify(&signed, signature).is_ok();
    Some(holds && sha256(key) == *key_hash)
}

fn vouched_for(cluster: ClusterId, authority: &[u8]) -> Vec<u8> {
    [VOUCHES, &cluster.0, authority].concat()
}

const PREFIX: &str = "SF1";
/// Each use of the secret, and of the key, is set apart from every other.
const TOKEN_ID: &[u8] = b"seedsweep founding token id ";
const TOKEN_SECRET: &[u8] = b"seedsweep founding token secret ";
const KEY_SEED: &[u8] = b"seedsweep founding key";
const VOUCHES: &[u8] = b"seedsweep founding authority ";
/// Of a key and a signature, 96 bytes.
const OCTET_STRING: [u8; 2] = [0x04, 96];
/// Below the arc of UUIDs (ITU-T X.667), in a number that fits; nobody else's.
pub(crate) const VOUCHER: [u64; 4] = [2, 25, 1_797_230_461, 1];

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::authority::Authority;

    fn secret(byte: u8) -> FoundingSecret {
        FoundingSecret(Secret::new([byte; 32]))
    }

    #[test]
    fn a_secret_is_read_back_and_makes_the_same_tokens_everywhere() {
        let drawn = FoundingSecret::draw().expect("randomness");
        let read: FoundingSecret = format!("{}\n", drawn.expose()).parse().expect("as written");
        for role in [Role::Agent, Role::Peer] {
            let [one, two] = [&drawn, &read].map(|secret| secret.token(role).expect("made"));
            assert_eq!(one.expose(), two.expose());
        }
        let [agent, peer] = [Role::Agent, Role::Peer].map(|role| drawn.token(role).expect("made"));
        assert_eq!(agent.ca_hash, peer.ca_hash);
        assert!(agent.id != peer.id && agent.secret_hash() != peer.secret_hash());
        let shown = format!("{drawn:?}");
        assert!(shown.contains("***") && !shown.contains(&drawn.expose()), "{shown}");
    }

    #[test]
    fn what_the_secret_makes_is_the_same_in_every_release() {
        let token = secret(7).token(Role::Agent).expect("made");
        assert_eq!(token.id_hex(), AGENT_ID_OF_SEVENS);
        let read = |text: &str| text.parse::<FoundingSecret>().err();
        assert_eq!(read("SW1.AAAA"), Some(FoundingError::Prefix));
        let whole = secret(7).expose();
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_some()));
        assert_eq!(read(&format!("{whole}A")), Some(FoundingError::Cut));
    }

    #[test]
    fn only_an_authority_that_the_secret_founded_is_vouched_for() {
        let (ours, now) = (secret(7), SystemTime::now());
        let hash = ours.key_hash().expect("made");
        let found = |by: &FoundingSecret| Authority::found(ClusterId([5; 16]), now, by);
        let authority = found(&ours).expect("made");
        assert!(is_vouched_for(authority.certificate(), &hash));
        let other = found(&secret(8)).expect("made");
        assert!(!is_vouched_for(other.certificate(), &hash));
        let plain = Authority::create(ClusterId([5; 16]), now).expect("made");
        assert!(!is_vouched_for(plain.certificate(), &hash));
        assert!(!is_vouched_for(b"no certificate", &hash));
    }

    #[test]
    fn a_voucher_holds_for_no_other_key_or_cluster() {
        let (ours, now) = (secret(7), SystemTime::now());
        let hash = ours.key_hash().expect("made");
        let stolen = ours.vouch(ClusterId([5; 16]), &[1; 32]).expect("made");
        let forged = Authority::with_voucher(ClusterId([5; 16]), now, |_| Ok(Some(stolen)));
        assert!(!is_vouched_for(forged.expect("made").certificate(), &hash));
        let mut key = Vec::new();
        let elsewhere = Authority::with_voucher(ClusterId([6; 16]), now, |public| {
            key.extend_from_slice(public);
            ours.vouch(ClusterId([5; 16]), public).map(Some)
        });
        assert!(!is_vouched_for(elsewhere.expect("made").certificate(), &hash));
        assert_eq!(key.len(), 32);
    }

    #[test]
    fn a_vouched_authority_is_kept_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::found(ClusterId([5; 16]), SystemTime::now(), &secret(7));
        let authority = authority.expect("made");
        authority.save(folder.path()).expect("saved");
        let read = Authority::load(folder.path()).expect("readable").expect("there");
        assert_eq!((read.hash(), read.cluster()), (authority.hash(), authority.cluster()));
    }

    const AGENT_ID_OF_SEVENS: &str = "e2e1ebcaf89e";
}
