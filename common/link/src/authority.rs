//! The cluster's own certificate authority: one Ed25519 key that says who is who.
//!
//! Its key never leaves the folder it is saved in and no log, error or Debug shows it. Equal
//! arguments give equal certificates, so an admission that is repeated changes nothing.
//! Deliberately absent: which members exist; certificates end by the coordinator's log, not here.
//!
//! Floor: shell.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::id::{ClusterId, MemberId, ReplicaId};
use common::wire::message::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::error::LinkError;
use crate::founding::{FoundingSecret, VOUCHER};
use crate::identity::{self, Identity};
use crate::limits::{AUTHORITY_VALID, CLOCK_TOLERANCE, LEAF_VALID};
use crate::store;
use crate::tls::SERVER_NAME;
use crate::token::{Secret, sha256};

pub struct Authority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    key: Secret<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a fresh key, good for ten years from `now`.
    pub fn create(cluster: ClusterId, now: SystemTime) -> Result<Self, LinkError> {
        Self::with_voucher(cluster, now, |_| Ok(None))
    }

    /// As [`Authority::create`], and the key of a founding secret vouches for it.
    pub fn found(
        cluster: ClusterId,
        now: SystemTime,
        secret: &FoundingSecret,
    ) -> Result<Self, LinkError> {
        Self::with_voucher(cluster, now, |public_key| secret.vouch(cluster, public_key).map(Some))
    }

    pub(crate) fn with_voucher(
        cluster: ClusterId,
        now: SystemTime,
        voucher: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, LinkError>,
    ) -> Result<Self, LinkError> {
        let key = fresh_key()?;
        let mut params = authority_params(cluster);
        (params.not_before, params.not_after) = validity(now, AUTHORITY_VALID)?;
        if let Some(content) = voucher(key.public_key_raw())? {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&VOUCHER, content)];
        }
        let certificate = params.self_signed(&key).map_err(issue)?.der().clone();
        let secret = Secret::new(key.serialize_der());
        Ok(Self { cluster, certificate, key: secret, issuer: Issuer::new(params, key) })
    }

    /// Reads what [`Authority::save`] wrote; `None` when nothing was saved there.
    pub fn load(dir: &Path) -> Result<Option<Self>, LinkError> {
        let Some(text) = store::read(dir, FILE)? else {
            return Ok(None);
        };
        let damaged = |what| LinkError::Damaged { path: dir.join(FILE), what };
        Self::of_text(&text, &damaged).map(Some)
    }

    /// Reads what [`Authority::export`] gave on another coordinator.
    pub fn import(text: &Secret<Vec<u8>>) -> Result<Self, LinkError> {
        Self::of_text(text.expose(), &|what| LinkError::Certificate { what })
    }

    fn of_text(
        text: &[u8],
        damaged: &dyn Fn(&'static str) -> LinkError,
    ) -> Result<Self, LinkError> {
        let (certificates, key) = identity::sections(text).map_err(damaged)?;
        let Ok([certificate]) = <[_; 1]>::try_from(certificates) else {
            return Err(damaged("it should hold one certificate"));
        };
        let pair = PrivatePkcs8KeyDer::from(key.expose().as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pair, &PKCS_ED25519)
            .map_err(|_| damaged("the private key is not Ed25519"))?;
        if pair.public_key_raw() != identity::public_key(&certificate)? {
            return Err(damaged("the private key is of another certificate"));
        }
        // Its hash is in every token: one changed bit of it, and nobody would be let in.
        if !identity::is_signed_by_itself(&certificate)? {
            return Err(damaged("the certificate's signature does not hold"));
        }
        let cluster =
            cluster_of(&certificate).ok_or(damaged("the certificate names no cluster"))?;
        let issuer = Issuer::new(authority_params(cluster), pair);
        Ok(Self { cluster, certificate, key, issuer })
    }

    /// Writes one file to `dir`, mode 0600, whole or not at all; makes `dir` with mode 0700.
    pub fn save(&self, dir: &Path) -> Result<(), LinkError> {
        store::write_private(dir, FILE, self.export().expose())
    }

    /// Certificate and key, for another coordinator of the same cluster.
    pub fn export(&self) -> Secret<Vec<u8>> {
        let text = [
            store::pem("CERTIFICATE", &self.certificate),
            store::pem("PRIVATE KEY", self.key.expose()),
        ];
        Secret::new(text.concat().into_bytes())
    }

    /// SHA-256 of the certificate, as tokens carry it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    #[cfg(test)]
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// When its certificate ends, and every certificate that it signs with it.
    pub fn valid_until(&self) -> Result<SystemTime, LinkError> {
        identity::ends(&self.certificate)
    }

    /// What a coordinator proves with that it forgot a connection; the same in each of its lives.
    pub(crate) fn reset_key(&self) -> Secret<[u8; 32]> {
        Secret::new(sha256(&[RESET, self.key.expose()].concat()))
    }

    /// A member's certificate in DER, good for 30 days from `issued`.
    pub fn issue(
        &self,
        public_key: &[u8; 32],
        role: Role,
        member: MemberId,
        issued: SystemTime,
    ) -> Result<Vec<u8>, LinkError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let params = self.leaf_params(public_key, role.name(), member.0, usage, issued)?;
        let certificate = params.signed_by(&BareKey(*public_key), &self.issuer).map_err(issue)?;
        Ok(certificate.der().to_vec())
    }

    /// What a coordinator serves with: a fresh key under the one name every coordinator has.
    pub fn server_identity(
        &self,
        replica: ReplicaId,
        now: SystemTime,
    ) -> Result<Identity, LinkError> {
        let key = fresh_key()?;
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let public_key = key.public_key_raw();
        let mut params = self.leaf_params(public_key, COORDINATOR, replica.0.get(), usage, now)?;
        let name = SERVER_NAME.try_into().map_err(issue)?;
        params.subject_alt_names.push(SanType::DnsName(name));
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(self.identity(certificate.der().clone(), &key))
    }

    /// A member made without a token, with a fresh key: the operator on the coordinator's machine.
    pub fn client_identity(
        &self,
        role: Role,
        member: MemberId,
        now: SystemTime,
    ) -> Result<Identity, LinkError> {
        let key = fresh_key()?;
        let mut public_key = [0; 32];
        public_key.copy_from_slice(key.public_key_raw());
        let certificate = self.issue(&public_key, role, member, now)?;
        Ok(self.identity(certificate.into(), &key))
    }

    fn identity(&self, certificate: CertificateDer<'static>, key: &KeyPair) -> Identity {
        let key = Secret::new(key.serialize_der());
        Identity { ca: self.certificate.clone(), certificate, key }
    }

    fn leaf_params(
        &self,
        public_key: &[u8],
        role: &str,
        number: u64,
        usage: ExtendedKeyUsagePurpose,
        issued: SystemTime,
    ) -> Result<CertificateParams, LinkError> {
        let mut params = CertificateParams::default();
        let uri = identity::uri(self.cluster, role, number);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("seedsweep {role} {number}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = validity(issued, LEAF_VALID)?;
        let begins = params.not_before.unix_timestamp().to_be_bytes();
        params.serial_number = Some(serial(&[public_key, uri.as_bytes(), &begins].concat()));
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(issue)?)];
        Ok(params)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A new Ed25519 key.
pub(crate) fn fresh_key() -> Result<KeyPair, LinkError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(issue)
}

/// The 32 bytes of an Ed25519 key: no parser runs on a stranger's bytes.
struct BareKey([u8; 32]);

impl PublicKeyData for BareKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

fn authority_params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{AUTHORITY_NAME}{cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn cluster_of(certificate: &[u8]) -> Option<ClusterId> {
    let certificate = identity::parse(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    identity::cluster_from_hex(name.strip_prefix(AUTHORITY_NAME)?)
}

/// From an hour before `from`, for clocks that lag, to `length` after it.
fn validity(
    from: SystemTime,
    length: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), LinkError> {
    let since_1970 = from.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = |instant: Duration| {
        let seconds = instant.as_secs();
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or(LinkError::Time { seconds })
    };
    Ok((at(since_1970.saturating_sub(CLOCK_TOLERANCE))?, at(since_1970.saturating_add(length))?))
}

/// Positive and never zero, as RFC 5280, section 4.1.2.2 asks.
fn serial(of: &[u8]) -> SerialNumber {
    let mut bytes = sha256(of)[..16].to_vec();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from(bytes)
}

fn issue(source: rcgen::Error) -> LinkError {
    LinkError::Issue { source }
}

/// Sets the digest apart from every other use of the key.
const RESET: &[u8] = b"seedsweep stateless reset";
const FILE: &str = "authority.pem";
const AUTHORITY_NAME: &str = "seedsweep cluster ";
const COORDINATOR: &str = "coordinator";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_authority_with_any_bit_changed_is_refused_or_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let authority = Authority::create(ClusterId([5; 16]), now).expect("made");
        authority.save(folder.path()).expect("saved");
        let path = folder.path().join(FILE);
        let good = fs::read(&path).expect("there");
        let mut same = 0;
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).expect("written");
            if let Ok(Some(found)) = Authority::load(folder.path()) {
                assert!(found.export().expose() == authority.export().expose(), "bit {bit}");
                same += 1;
            }
        }
        assert!(same < good.len() / 10, "line ends and the like: {same}");
    }
}
