//! How a driver reaches a coordinator: over a network, or in its own process.
//!
//! A connection is a pair of message queues and a source of data files; the driver knows no more.
//!
//! Floor: shell.

use std::sync::Arc;
use std::time::Duration;

use common::wire::message::{FromAgent, ToAgent};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::dataset::DataSource;
use crate::session::Hears;

/// Makes connections, one after another.
pub trait Connector: Send + 'static {
    /// Tries every way to a coordinator once.
    fn connect(&mut self) -> impl Future<Output = Result<Connection, ConnectError>> + Send;

    /// What the coordinator said: it may tell where others are.
    fn hear(&mut self, _: &ToAgent) {}

    /// How long to wait before the next try, when there is a good reason not to wait as usual: it is
    /// known who leads.
    fn soon(&mut self) -> Option<Duration> {
        None
    }
}

/// One connection. Dropping `up` ends it; so does the other side, by ending `down`.
pub struct Connection {
    /// For people: `m7 at 10.0.0.5:7461`.
    pub name: String,
    pub up: mpsc::Sender<FromAgent>,
    pub down: mpsc::Receiver<ToAgent>,
    pub data: Arc<dyn DataSource>,
    /// What is understood there.
    pub hears: Hears,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Trying again may help.
    #[error("{why}")]
    Later { why: String },
    /// Trying again would give the same answer.
    #[error("{why}")]
    Refused { why: String },
    /// The coordinator of this process is gone.
    #[error("the coordinator has ended")]
    Ended,
}

/// A connector to a coordinator in this process, and the coordinator's end of it.
///
/// Files come from `data`, after the agent's shared folders were looked into.
pub fn embedded(data: Arc<dyn DataSource>) -> (Embedded, Seats) {
    let (offer, seats) = mpsc::channel(1);
    (Embedded { offer, data }, Seats { seats })
}

/// The agent's end.
pub struct Embedded {
    offer: mpsc::Sender<Seat>,
    data: Arc<dyn DataSource>,
}

/// The coordinator's end: a [`Seat`] for every connection the agent makes.
pub struct Seats {
    seats: mpsc::Receiver<Seat>,
}

/// The coordinator's end of one connection.
pub struct Seat {
    pub from_agent: mpsc::Receiver<FromAgent>,
    pub to_agent: mpsc::Sender<ToAgent>,
}

impl Seats {
    /// The agent's next connection; `None` when the agent has ended.
    pub async fn next(&mut self) -> Option<Seat> {
        self.seats.recv().await
    }
}

impl Connector for Embedded {
    async fn connect(&mut self) -> Result<Connection, ConnectError> {
        let (up, from_agent) = mpsc::channel(QUEUE_MESSAGES);
        let (to_agent, down) = mpsc::channel(QUEUE_MESSAGES);
        let seat = Seat { from_agent, to_agent };
        self.offer.send(seat).await.map_err(|_| ConnectError::Ended)?;
        let data = Arc::clone(&self.data);
        // There is no other agent: what this one reached its next life finds in the folder.
        let (name, hears) = ("this process".to_string(), Hears::of_one_process());
        Ok(Connection { name, up, down, data, hears })
    }
}

/// Messages in a queue each way. Above the greatest number of `Reports` that may be unacknowledged,
/// so that a full queue means a coordinator that reads nothing.
pub const QUEUE_MESSAGES: usize = 8_192;
