//! Every limit a peer meets, each once.
//!
//! A limit bounds what one peer, or all strangers together, can make this process hold or wait
//! for. The frame's own limits are in `common::wire::frame`. Deliberately absent: limits on what
//! messages ask for; those are the coordinator's.
//!
//! Floor: shell.

use std::time::Duration;

pub use common::wire::frame::{FIRST_FRAME_MAX, FRAME_MAX};

/// What the code consults. Tests shorten single entries; programs always use [`Limits::standard`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub frame: Duration,
    pub first_frame: Duration,
    pub join_request: Duration,
    pub join_answer: Duration,
    pub handshake: Duration,
    pub connect: Duration,
    pub send_stalled: Duration,
    pub idle: Duration,
    pub keep_alive: Option<Duration>,
    pub pending: usize,
    pub pending_unvalidated: usize,
    pub per_member: usize,
    pub per_operator: usize,
    pub per_address: usize,
    pub connections: usize,
    pub refused_joins: usize,
    pub refused_joins_window: Duration,
    pub hop_pause: Duration,
}

impl Limits {
    pub(crate) const fn standard() -> Self {
        Self {
            frame: FRAME_WITHIN,
            first_frame: FIRST_FRAME_WITHIN,
            join_request: JOIN_REQUEST_WITHIN,
            join_answer: JOIN_ANSWER_WITHIN,
            handshake: HANDSHAKE_WITHIN,
            connect: CONNECT_WITHIN,
            send_stalled: SEND_STALLED_MAX,
            idle: IDLE_MAX,
            keep_alive: Some(KEEP_ALIVE),
            pending: PENDING_MAX,
            pending_unvalidated: PENDING_UNVALIDATED_MAX,
            per_member: CONNECTIONS_PER_MEMBER_MAX,
            per_operator: CONNECTIONS_PER_OPERATOR_MAX,
            per_address: UNAUTHENTICATED_PER_ADDRESS_MAX,
            connections: CONNECTIONS_MAX,
            refused_joins: REFUSED_JOINS_MAX,
            refused_joins_window: REFUSED_JOINS_WINDOW,
            hop_pause: JOIN_HOP_PAUSE,
        }
    }
}

impl Limits {
    /// Between replicas: a cut must be noticed, and its end, well before a study suffers.
    pub(crate) const fn peer() -> Self {
        Self {
            connect: PEER_CONNECT_WITHIN,
            idle: PEER_IDLE_MAX,
            keep_alive: Some(PEER_KEEP_ALIVE),
            send_stalled: PEER_IDLE_MAX,
            ..Self::standard()
        }
    }
}

/// A frame is complete this long after its first byte, or its sender is cut off.
pub const FRAME_WITHIN: Duration = Duration::from_secs(10);

/// After connecting, the first frame each way is complete within this.
pub const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(3);

/// A peer without a certificate has sent its whole join request within this.
pub const JOIN_REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// The bytes of a join request: token id, secret, Ed25519 public key.
pub const JOIN_REQUEST_BYTES: usize = 6 + 32 + 32;

/// How long a joiner waits for the coordinator's decision, which needs a committed log entry.
pub const JOIN_ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Longest answer to a join request: one byte of verdict, then a certificate or a text.
pub const JOIN_ANSWER_MAX: usize = 8 << 10;

/// How often one call of `join` sends its request when answers get lost.
pub const JOIN_TRIES: u32 = 3;

/// The serving side gives up a TLS handshake after this.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);

/// The connecting side gives up after this; QUIC has sent its first packet three times by then.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A send in which the peer takes no byte for this long ends the connection.
pub const SEND_STALLED_MAX: Duration = Duration::from_secs(30);

/// Streams a peer may have open, of each direction.
pub const STREAMS_MAX: u32 = 16;

/// Streams before a peer is known to be a member: the one that joins or greets.
pub const STREAMS_STRANGER_MAX: u32 = 1;

/// Bytes a peer may have in flight on one stream.
pub const STREAM_WINDOW: u32 = 1 << 20;

/// Bytes a member may have in flight on all streams.
pub const CONNECTION_WINDOW: u32 = 8 << 20;

/// Bytes in flight before a peer is known to be a member.
pub const STRANGER_WINDOW: u32 = 64 << 10;

/// Bytes sent and not yet acknowledged that are kept for a peer.
pub const SEND_WINDOW: u64 = 8 << 20;

/// A connection that is silent for this long is dead.
pub const IDLE_MAX: Duration = Duration::from_secs(20);

/// A connection says something at least this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Between replicas. After a cut, a connection that waits longer and longer to try again is worth
/// less than a new one.
pub const PEER_CONNECT_WITHIN: Duration = Duration::from_millis(1_500);
pub const PEER_IDLE_MAX: Duration = Duration::from_secs(4);
pub const PEER_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Other addresses that a joiner is sent to, at most.
pub const JOIN_HOPS_MAX: usize = 8;

/// Before a joiner that was sent on tries there: an election takes a second.
pub const JOIN_HOP_PAUSE: Duration = Duration::from_millis(300);

/// TLS handshakes under way; further ones are ignored, and QUIC's own retransmission backs off.
pub const PENDING_MAX: usize = 128;

/// Above this many handshakes, an address must first prove that it receives what is sent to it.
pub const PENDING_UNVALIDATED_MAX: usize = 32;

/// Packets not yet looked at: each handshake, all of them.
pub const PENDING_BYTES_EACH: u64 = 64 << 10;
pub const PENDING_BYTES_ALL: u64 = 8 << 20;

/// Connections of one member. The oldest makes room: after a crash it is already dead.
pub const CONNECTIONS_PER_MEMBER_MAX: usize = 4;

/// A person and their scripts run several commands at once, each with a connection of its own.
pub const CONNECTIONS_PER_OPERATOR_MAX: usize = 32;

/// Connections without a certificate from one IPv4 address or IPv6 /64.
pub const UNAUTHENTICATED_PER_ADDRESS_MAX: usize = 8;

pub const CONNECTIONS_MAX: usize = 20_000;

/// Refused joins from one address within [`REFUSED_JOINS_WINDOW`]; then its joins are not read for
/// as long. Members at that address are not held up.
pub const REFUSED_JOINS_MAX: usize = 10;
pub const REFUSED_JOINS_WINDOW: Duration = Duration::from_secs(60);

/// A certificate is renewed when less than this is left of it: a third of [`LEAF_VALID`].
pub const RENEW_BEFORE: Duration = Duration::from_secs(10 * 24 * 3600);

/// A leaf certificate is good this long; the CA's own ten years.
pub const LEAF_VALID: Duration = Duration::from_secs(30 * 24 * 3600);
pub const AUTHORITY_VALID: Duration = Duration::from_secs(3652 * 24 * 3600);

/// Certificates begin to be good this long before they are made: laboratory clocks differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);
