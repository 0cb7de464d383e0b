//! QUIC between coordinators, agents and operators: who speaks, and framed messages.
//!
//! A peer without a certificate of the cluster's CA can do one thing: offer a join token, in 70
//! bytes of fixed layout. A peer with one is still refused unless the caller's [`Gate`] knows it as
//! a live member. Nothing a peer sends makes this crate allocate more than it has received.
//! Deliberately absent: what messages mean, which tokens are good, and any retry: callers decide.
//!
//! Floor: shell.

mod admission;
mod authority;
mod client;
mod closing;
mod connection;
mod error;
pub mod folder;
mod founding;
mod identity;
mod joining;
pub mod limits;
pub mod memory;
mod refusals;
mod server;
mod store;
mod stream;
mod tls;
mod token;

#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use client::{Inquiry, connect, connect_peer, inquire, join, renew};
pub use connection::Link;
pub use error::{LinkError, TokenError};
pub use founding::{FoundingError, FoundingSecret};
pub use identity::{Identity, Who};
pub use joining::{JoinAnswer, JoinRequest};
pub use refusals::Refusals;
pub use server::{Arrival, Gate, JoinAttempt, Listener};
pub use stream::{FrameReceiver, FrameSender};
pub use token::{JoinToken, Secret};

/// Where a coordinator listens unless it is told otherwise (UDP).
pub const PORT: u16 = 7461;
