//! Who a process is to its cluster: the CA it trusts, its own certificate and key.
//!
//! A certificate says cluster, role and member in its name, `seedsweep://<cluster>/<role>/<member>`;
//! nothing else about a peer is believed. Deliberately absent: whether the member is still welcome;
//! the coordinator's log has that.
//!
//! Floor: shell.

use std::path::Path;
use std::time::{Duration, SystemTime};

use common::id::{ClusterId, MemberId};
use common::wire::message::Role;
use rcgen::{KeyPair, PKCS_ED25519};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::fresh_key;
use crate::error::LinkError;
use crate::founding;
use crate::limits::RENEW_BEFORE;
use crate::store;
use crate::tls;
use crate::token::{JoinToken, Secret, hex, sha256};

#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) certificate: CertificateDer<'static>,
    /// PKCS #8.
    pub(crate) key: Secret<Vec<u8>>,
}

/// What a certificate says of its holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Who {
    pub cluster: ClusterId,
    pub role: Role,
    pub member: MemberId,
}

impl Identity {
    /// Writes one file to `dir`, mode 0600, whole or not at all; makes `dir` with mode 0700.
    pub fn save(&self, dir: &Path) -> Result<(), LinkError> {
        let text = [
            store::pem("CERTIFICATE", &self.certificate),
            store::pem("CERTIFICATE", &self.ca),
            store::pem("PRIVATE KEY", self.key.expose()),
        ]
        .concat();
        store::write_private(dir, FILE, text.as_bytes())?;
        store::forget(dir, JOINING)
    }

    /// Reads what [`Identity::save`] wrote; `None` when nothing was saved there.
    pub fn load(dir: &Path) -> Result<Option<Self>, LinkError> {
        let Some(text) = store::read(dir, FILE)? else {
            return Ok(None);
        };
        let damaged = |what| LinkError::Damaged { path: dir.join(FILE), what };
        let (certificates, key) = sections(&text).map_err(damaged)?;
        let Ok([certificate, ca]) = <[_; 2]>::try_from(certificates) else {
            return Err(damaged("it should hold two certificates"));
        };
        Ok(Some(Self { ca, certificate, key }))
    }

    pub fn who(&self) -> Result<Who, LinkError> {
        who(&self.certificate)
    }

    /// SHA-256 of the CA's certificate, as tokens carry it.
    pub fn ca_hash(&self) -> [u8; 32] {
        sha256(&self.ca)
    }

    /// Whether a token is of this identity's cluster.
    pub fn is_of(&self, token: &JoinToken) -> bool {
        is_authority_of(&self.ca, &token.ca_hash)
    }

    /// The Ed25519 public key in the certificate.
    pub fn public_key(&self) -> Result<[u8; 32], LinkError> {
        public_key(&self.certificate)
    }

    /// When the certificate ends; from then on no coordinator accepts it.
    pub fn valid_until(&self) -> Result<SystemTime, LinkError> {
        ends(&self.certificate)
    }

    /// Whether a coordinator of its cluster would accept it at `now`: the key is the certificate's,
    /// and the certificate is the authority's and valid.
    pub fn check(&self, now: SystemTime) -> Result<(), LinkError> {
        let pair = PrivatePkcs8KeyDer::from(self.key.expose().as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pair, &PKCS_ED25519)
            .map_err(|_| LinkError::Certificate { what: "its private key is not Ed25519" })?;
        if pair.public_key_raw() != self.public_key()? {
            return Err(LinkError::Certificate { what: "its private key is of another one" });
        }
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        tls::verify_member(&self.ca, &self.certificate, UnixTime::since_unix_epoch(since_1970))
            .map_err(|source| LinkError::NotAccepted { source })
    }

    /// Whether two thirds of the certificate's time are over.
    pub fn is_due(&self, now: SystemTime) -> Result<bool, LinkError> {
        Ok(now + RENEW_BEFORE > self.valid_until()?)
    }

    /// This identity with a new certificate, in DER, which must be valid now, of the same CA, and
    /// for the same key, cluster, role and member; else an error and nothing changes.
    pub fn renewed(&self, certificate: Vec<u8>) -> Result<Self, LinkError> {
        let certificate = CertificateDer::from(certificate);
        tls::verify_member(&self.ca, &certificate, UnixTime::now())
            .map_err(|source| LinkError::WrongCertificate { source })?;
        if who(&certificate)? != self.who()? {
            return Err(LinkError::Certificate { what: "it is for another member or role" });
        }
        if public_key(&certificate)? != self.public_key()? {
            return Err(LinkError::Certificate { what: "it is for another key" });
        }
        Ok(Self { certificate, ..self.clone() })
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.expose().clone()).into()
    }
}

/// Reads the name in a certificate that TLS has already verified.
pub(crate) fn who(certificate: &[u8]) -> Result<Who, LinkError> {
    let certificate = parse(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .ok_or(LinkError::Certificate { what: "it has no name" })?;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => who_of(uri),
            _ => None,
        })
        .ok_or(LinkError::Certificate { what: "its name is no member's" })
}

/// When a certificate ends.
pub(crate) fn ends(certificate: &[u8]) -> Result<SystemTime, LinkError> {
    let end = parse(certificate)?.validity().not_after.timestamp();
    let seconds =
        u64::try_from(end).map_err(|_| LinkError::Certificate { what: "it ends before 1970" })?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Whether every byte of a certificate is vouched for: its signature is by its own key, and what the
/// signature does not cover is as it must be.
pub(crate) fn is_signed_by_itself(certificate: &[u8]) -> Result<bool, LinkError> {
    let parsed = parse(certificate)?;
    let (signed, signature) =
        (parsed.tbs_certificate.as_ref(), parsed.signature_value.data.as_ref());
    let inside = [signed, &SIGNATURE_BEGINS, signature].concat();
    // A certificate of this kind has some 400 bytes, so that its length takes two of them.
    let length = u16::try_from(inside.len()).unwrap_or_default().to_be_bytes();
    let whole = [&[0x30, 0x82], length.as_slice(), &inside].concat() == certificate;
    let key = UnparsedPublicKey::new(&ED25519, public_key(certificate)?);
    Ok(whole && key.verify(signed, signature).is_ok())
}

pub(crate) fn public_key(certificate: &[u8]) -> Result<[u8; 32], LinkError> {
    let certificate = parse(certificate)?;
    let key = certificate.public_key().subject_public_key.data.as_ref();
    key.try_into().map_err(|_| LinkError::Certificate { what: "its key is not Ed25519" })
}

/// Whether the authority of a certificate is the one that a token trusts.
pub(crate) fn is_authority_of(certificate: &[u8], trusted: &[u8; 32]) -> bool {
    sha256(certificate) == *trusted || founding::is_vouched_for(certificate, trusted)
}

/// The URI that [`who`] reads. `role` is a word of ours, never a peer's text.
pub(crate) fn uri(cluster: ClusterId, role: &str, number: u64) -> String {
    format!("{SCHEME}{cluster}/{role}/{number}")
}

pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex(&sha256(certificate))
}

pub(crate) fn cluster_from_hex(text: &str) -> Option<ClusterId> {
    let number = u128::from_str_radix(text, 16).ok()?;
    let cluster = ClusterId(number.to_be_bytes());
    // Refuses signs, capitals and lost zeros: one cluster, one spelling.
    (cluster.to_string() == text).then_some(cluster)
}

pub(crate) fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, LinkError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(LinkError::Certificate { what: "it is not X.509" }),
    }
}

/// The certificates and the one key in a PEM text.
pub(crate) fn sections(
    text: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Secret<Vec<u8>>), &'static str> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "a certificate cannot be read")?;
    if certificates.iter().any(|der| parse(der).is_err()) {
        return Err("a certificate cannot be read");
    }
    let key =
        PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| "the private key cannot be read")?;
    Ok((certificates, Secret::new(key.secret_pkcs8_der().to_vec())))
}

fn who_of(uri: &str) -> Option<Who> {
    let mut parts = uri.strip_prefix(SCHEME)?.split('/');
    let who = Who {
        cluster: cluster_from_hex(parts.next()?)?,
        role: parts.next()?.parse().ok()?,
        member: MemberId(parts.next()?.parse().ok()?),
    };
    parts.next().is_none().then_some(who)
}

/// The key that this folder joins with, kept until the join has succeeded: one that is repeated after
/// a crash spends no second use of its token.
pub(crate) fn joining_key(dir: &Path) -> Result<KeyPair, LinkError> {
    if let Some(text) = store::read(dir, JOINING)? {
        let damaged = |what| LinkError::Damaged { path: dir.join(JOINING), what };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|_| damaged("the private key cannot be read"))?;
        return KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)
            .map_err(|_| damaged("the private key is not Ed25519"));
    }
    let key = fresh_key()?;
    let text = store::pem("PRIVATE KEY", &key.serialize_der());
    store::write_private(dir, JOINING, text.as_bytes())?;
    Ok(key)
}

const FILE: &str = "identity.pem";
const JOINING: &str = "joining.pem";
const SCHEME: &str = "seedsweep://";
/// What stands in DER between what is signed and an Ed25519 signature: the algorithm, and the
/// beginning of a bit string of 64 bytes.
const SIGNATURE_BEGINS: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([0x0a; 16]);

    #[test]
    fn a_name_is_read_back() {
        let who = Who { cluster: CLUSTER, role: Role::Operator, member: MemberId(7) };
        assert_eq!(who_of(&uri(CLUSTER, "operator", 7)), Some(who));
    }

    #[test]
    fn other_names_are_nobody() {
        let good = uri(CLUSTER, "agent", 7);
        assert!(who_of(&good).is_some());
        for bad in [
            good.replace("seedsweep", "http"),
            good.replace("agent", "coordinator"),
            good.replace('a', "A"),
            good.replace("/7", "/-7"),
            format!("{good}/8"),
            uri(CLUSTER, "", 7),
        ] {
            assert_eq!(who_of(&bad), None, "{bad}");
        }
    }
}
