//! TLS 1.3 with the cluster's CA as the only root, and QUIC's own settings.
//!
//! Every connection proves its key anew: no resumption, no early data. A joiner trusts exactly the
//! CA that its token names, and otherwise runs the ordinary checks of chain, name and time.
//!
//! Floor: shell.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac::{self, HMAC_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerIncompatible, RootCertStore, ServerConfig, SignatureScheme,
};
use thiserror::Error;

use crate::authority::Authority;
use crate::error::LinkError;
use crate::identity::{Identity, fingerprint, is_authority_of};
use crate::limits::{self, Limits};
use crate::token::sha256;

/// The serving side: client certificates are asked for, not required; the caller looks.
pub(crate) fn server(
    identity: &Identity,
    limits: &Limits,
) -> Result<quinn::ServerConfig, LinkError> {
    let crypto = server_crypto(identity).map_err(|source| LinkError::Tls { source })?;
    quic_server(crypto, limits)
}

/// What packets of an earlier life are answered with: a reset that its peer believes, since the key
/// is the authority's.
pub(crate) fn endpoint(authority: &Authority) -> EndpointConfig {
    let key = authority.reset_key();
    // Connection ids are sent in the clear, so what they are made from tells nothing of the key.
    let mut ids = [0; 8];
    ids.copy_from_slice(&sha256(key.expose())[..8]);
    let ids = u64::from_be_bytes(ids);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(HMAC_SHA256, key.expose())));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// A member that connects.
pub(crate) fn client(
    identity: &Identity,
    limits: &Limits,
) -> Result<quinn::ClientConfig, LinkError> {
    let crypto = member_crypto(identity).map_err(|source| LinkError::Tls { source })?;
    quic_client(crypto, limits)
}

/// A stranger that joins, trusting `pin` alone.
pub(crate) fn joiner(pin: Arc<Pin>, limits: &Limits) -> Result<quinn::ClientConfig, LinkError> {
    let builder = client_builder().map_err(|source| LinkError::Tls { source })?;
    let verified = builder.dangerous().with_custom_certificate_verifier(pin);
    quic_client(without_resumption(verified.with_no_client_auth()), limits)
}

/// Whether `certificate` is a client's, of this CA, and valid at `now`.
pub(crate) fn verify_member(
    ca: &CertificateDer<'static>,
    certificate: &CertificateDer<'static>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    client_verifier(ca)?.verify_client_cert(certificate, &[], now).map(|_| ())
}

/// A server verifier that trusts the CA with one hash, and remembers what it saw.
pub(crate) struct Pin {
    ca_hash: [u8; 32],
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

#[derive(Clone)]
pub(crate) enum Seen {
    Nothing,
    OtherAuthority,
    Trusted(CertificateDer<'static>),
}

impl Pin {
    pub(crate) fn new(ca_hash: [u8; 32]) -> Arc<Self> {
        Arc::new(Self { ca_hash, provider: provider(), seen: Mutex::new(Seen::Nothing) })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trusted = |der: &&CertificateDer<'_>| is_authority_of(der, &self.ca_hash);
        let Some(ca) = intermediates.iter().find(trusted) else {
            self.note(Seen::OtherAuthority);
            return Err(CertificateError::UnknownIssuer.into());
        };
        let ca = ca.clone().into_owned();
        let roots = Arc::new(roots(&ca)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified =
            verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        self.note(Seen::Trusted(ca));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The ordinary client verifier, whose refusals name the certificate: the log line needs it.
#[derive(Debug)]
struct Naming(Arc<dyn ClientCertVerifier>);

#[derive(Error)]
#[error("certificate {fingerprint} refused: {source}")]
struct Refused {
    fingerprint: String,
    source: rustls::Error,
}

/// rustls shows a refusal of ours by its Debug, to people.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ClientCertVerifier for Naming {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).map_err(|source| {
            let refused = Refused { fingerprint: fingerprint(end_entity), source };
            CertificateError::Other(OtherError(Arc::new(refused))).into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

pub(crate) fn server_crypto(identity: &Identity) -> Result<ServerConfig, rustls::Error> {
    let chain = vec![identity.certificate.clone(), identity.ca.clone()];
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Naming(client_verifier(&identity.ca)?)))
        .with_single_cert(chain, identity.key_der())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

pub(crate) fn quic_server(
    crypto: ServerConfig,
    limits: &Limits,
) -> Result<quinn::ServerConfig, LinkError> {
    let crypto = QuicServerConfig::try_from(crypto)
        .map_err(|error| LinkError::Tls { source: rustls::Error::General(error.to_string()) })?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport(limits);
    // Raised once the peer is known to be a member.
    transport
        .max_concurrent_bidi_streams(limits::STREAMS_STRANGER_MAX.into())
        .max_concurrent_uni_streams(0u32.into())
        .receive_window(limits::STRANGER_WINDOW.into());
    config
        .transport_config(Arc::new(transport))
        .incoming_buffer_size(limits::PENDING_BYTES_EACH)
        .incoming_buffer_size_total(limits::PENDING_BYTES_ALL);
    Ok(config)
}

pub(crate) fn member_crypto(identity: &Identity) -> Result<ClientConfig, rustls::Error> {
    let config = client_builder()?
        .with_root_certificates(roots(&identity.ca)?)
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key_der())?;
    Ok(without_resumption(config))
}

pub(crate) fn quic_client(
    crypto: ClientConfig,
    limits: &Limits,
) -> Result<quinn::ClientConfig, LinkError> {
    let crypto = QuicClientConfig::try_from(crypto)
        .map_err(|error| LinkError::Tls { source: rustls::Error::General(error.to_string()) })?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits)));
    Ok(config)
}

fn client_builder()
-> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
}

/// Also sets the protocol's name, without which QUIC makes no connection.
fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

pub(crate) fn transport(limits: &Limits) -> TransportConfig {
    // A time beyond what QUIC can say is no limit, which is what `None` means.
    let idle = IdleTimeout::try_from(limits.idle).ok();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits::STREAMS_MAX.into())
        .max_concurrent_uni_streams(limits::STREAMS_MAX.into())
        .stream_receive_window(limits::STREAM_WINDOW.into())
        .receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW))
        .send_window(limits::SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle)
        .keep_alive_interval(limits.keep_alive);
    transport
}

fn client_verifier(
    ca: &CertificateDer<'static>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

fn roots(ca: &CertificateDer<'static>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The name in every coordinator's certificate, whatever machine it runs on.
pub(crate) const SERVER_NAME: &str = "coordinator.seedsweep";

const ALPN: &[u8] = b"seedsweep/1";
