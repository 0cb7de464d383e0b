//! What can go wrong between two processes, said so that a person knows what to change.
//!
//! [`LinkError::is_refusal`] separates a decision, which stands however often one asks, from an
//! accident, which is worth another try. No error carries a secret.
//!
//! Floor: shell.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use common::wire::frame::FrameError;
use quinn::{ConnectError, ConnectionError};
use thiserror::Error;

use crate::closing::{Closing, printable};

#[derive(Debug, Error)]
pub enum LinkError {
    #[error("cannot find {address}; an address is HOST:PORT")]
    Address { address: String, source: io::Error },
    #[error("{address} names no machine; an address is HOST:PORT")]
    NoAddress { address: String },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: ConnectError },
    #[error(
        "nothing listens at {address}; check the port, and that `coordinator start` runs there"
    )]
    NothingListens { address: String, source: io::Error },
    #[error(
        "no answer from {address} within {seconds} s; check the address, that the coordinator \
         runs, and that no firewall drops its UDP port"
    )]
    NoAnswer { address: String, seconds: u64 },
    #[error("the connection to {address} failed while it was being made")]
    Handshake { address: String, source: ConnectionError },
    #[error(
        "the coordinator at {address} is not the one this token was made by: the token belongs to \
         another cluster; nothing secret was sent; check the address, or ask that coordinator's \
         operator for a token (`coordinator token create`)"
    )]
    OtherCluster { address: String },
    #[error(
        "the certificate of the coordinator at {address} is not trusted: check that the address \
         is of the cluster that was joined, and both machines' clocks"
    )]
    UntrustedCoordinator { address: String, source: ConnectionError },
    #[error(
        "the coordinator at {address} does not accept this machine's certificate: it is of \
         another cluster or has expired; join again with a new token"
    )]
    CertificateRefused { address: String, source: ConnectionError },
    #[error(
        "the program at {address} does not speak seedsweep/1; check the port, and install the \
         same version on both sides"
    )]
    OtherProtocol { address: String, source: ConnectionError },
    #[error("{address}: {why}")]
    Version { address: String, why: String },
    #[error(
        "the coordinator at {address} no longer has this machine as a member: its membership was \
         revoked; join again with a new token"
    )]
    Revoked { address: String },
    #[error(
        "the coordinator refused this token; ask its operator for a new one \
         (`coordinator token create`)"
    )]
    TokenRefused,
    #[error("no coordinator leads just now, says the one at {address}; try again in a moment")]
    Leaderless { address: String },
    #[error(
        "the coordinator at {address} looks for its cluster, or founds one; try again in a moment"
    )]
    Unfounded { address: String },
    #[error("the coordinator at {address} has no room now: {why}")]
    Busy { address: String, why: String },
    #[error("{address} closed the connection: {why}")]
    Closed { address: String, why: String },
    #[error("the connection to {address} was lost")]
    Lost { address: String, source: ConnectionError },
    #[error("{address} ended a stream in the middle of a frame")]
    CutShort { address: String },
    #[error("{address} gave up a stream")]
    Reset { address: String },
    #[error("{address} did not complete a frame within {seconds} s")]
    Slow { address: String, seconds: u64 },
    #[error("{address} took nothing of what was sent for {seconds} s")]
    Stalled { address: String, seconds: u64 },
    #[error("{address} sent something else than the protocol's next message")]
    Unexpected { address: String },
    #[error("a frame to or from {address} is not as agreed")]
    Frame { address: String, source: FrameError },
    #[error("cannot listen at {address}; choose another with `--listen`")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot open a socket")]
    Socket { source: io::Error },
    #[error("cannot keep {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}; restore it from a backup, or remove it and join again")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("a certificate cannot be used: {what}")]
    Certificate { what: &'static str },
    #[error("no coordinator accepts this certificate")]
    NotAccepted { source: rustls::Error },
    #[error("the coordinator's answer is no certificate for this machine's key")]
    WrongCertificate { source: rustls::Error },
    #[error("the coordinator at {address} did not renew this machine's certificate: {why}")]
    RenewalRefused { address: String, why: String },
    #[error("a certificate cannot be made")]
    Issue { source: rcgen::Error },
    #[error("the time {seconds} s after 1970 fits no certificate; check this machine's clock")]
    Time { seconds: u64 },
    #[error("TLS cannot be set up with this identity")]
    Tls { source: rustls::Error },
    #[error("this machine gives no randomness")]
    Random,
}

impl LinkError {
    /// Whether trying again with the same identity, token and program cannot help.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::OtherCluster { .. }
                | Self::CertificateRefused { .. }
                | Self::OtherProtocol { .. }
                | Self::Version { .. }
                | Self::Revoked { .. }
                | Self::TokenRefused
        )
    }

    /// Whether nobody was there, or nobody who could decide just now.
    pub fn is_unreached(&self) -> bool {
        matches!(
            self,
            Self::Address { .. }
                | Self::NoAddress { .. }
                | Self::Connect { .. }
                | Self::NothingListens { .. }
                | Self::NoAnswer { .. }
                | Self::Handshake { .. }
                | Self::Leaderless { .. }
                | Self::Unfounded { .. }
                | Self::Busy { .. }
                | Self::Closed { .. }
                | Self::Lost { .. }
        )
    }

    /// A connection that ended while it was being made, seen from the connecting side.
    pub(crate) fn of_handshake(address: String, source: ConnectionError) -> Self {
        match &source {
            ConnectionError::TransportError(error) => match alert(error.code.into()) {
                Some(NO_APPLICATION_PROTOCOL) => Self::OtherProtocol { address, source },
                Some(_) => Self::UntrustedCoordinator { address, source },
                None => Self::Handshake { address, source },
            },
            ConnectionError::TimedOut | ConnectionError::Reset => {
                Self::Handshake { address, source }
            }
            _ => Self::of_connection(address, source),
        }
    }

    /// A connection that ended.
    pub(crate) fn of_connection(address: String, source: ConnectionError) -> Self {
        match &source {
            ConnectionError::ApplicationClosed(close) => {
                let mut why = printable(&String::from_utf8_lossy(&close.reason));
                if why.is_empty() {
                    why.push_str("it gave no reason");
                }
                match Closing::of(close.error_code) {
                    Closing::Revoked => Self::Revoked { address },
                    Closing::Busy => Self::Busy { address, why },
                    Closing::Version => Self::Version { address, why },
                    _ => Self::Closed { address, why },
                }
            }
            // A certificate is judged after the connecting side has finished its own handshake.
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into()) {
                Some(NO_APPLICATION_PROTOCOL) => Self::OtherProtocol { address, source },
                Some(alert) if CERTIFICATE_ALERTS.contains(&alert) => {
                    Self::CertificateRefused { address, source }
                }
                _ => Self::Lost { address, source },
            },
            _ => Self::Lost { address, source },
        }
    }
}

/// Why a text is not a join token.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TokenError {
    #[error("there is no join token in this text; copy the token, which begins with SW1.")]
    Prefix,
    #[error(
        "the join token is cut off before its {part}; copy all of the token, which begins with SW1."
    )]
    Missing { part: &'static str },
    #[error(
        "the join token's {part} is misspelt or cut off; copy all of the token, which begins with SW1."
    )]
    Part { part: &'static str },
    #[error("the join token goes on after its end; copy just the token")]
    Trailing,
}

/// The TLS alert in a QUIC error code (RFC 9001, section 4.8).
fn alert(code: u64) -> Option<u64> {
    (code >> 8 == 1).then_some(code & 0xff)
}

const NO_APPLICATION_PROTOCOL: u64 = 120;

/// From bad_certificate to unknown_ca, access_denied, and certificate_required (RFC 8446, section 6).
const CERTIFICATE_ALERTS: [u64; 9] = [42, 43, 44, 45, 46, 48, 49, 51, 116];
