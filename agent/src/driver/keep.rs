//! Keeping a connection: one after another, with growing random pauses between the attempts.
//!
//! Pauses are drawn from zero to a limit that doubles from 1 s to 30 s, so that ten thousand agents
//! do not come back in step.
//!
//! Floor: shell.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::wire::message::{FromAgent, ToAgent};
use tokio::sync::mpsc;

use super::Event;
use super::connect::{ConnectError, Connection, Connector};
use crate::dataset::DataSource;
use crate::session::Hears;

/// What happens to the connection.
pub enum Line {
    Up {
        name: String,
        up: mpsc::Sender<FromAgent>,
        data: Arc<dyn DataSource>,
        hears: Hears,
    },
    Message(ToAgent),
    Down,
    /// No connection; the next attempt comes after `again`.
    Apart {
        why: String,
        again: Duration,
    },
    /// There will be no further attempt.
    Refused {
        why: String,
    },
    /// No coordinator answered in all the time allowed for the first contact.
    Unreached {
        why: String,
    },
    /// The coordinator of this process is gone.
    Ended,
}

/// Connects again and again, and tells everything in order. Ends when nobody listens, when `over` is
/// set and the connection ends, and after `Refused`, `Unreached` and `Ended`.
pub async fn keep_connected<C: Connector>(
    mut connector: C,
    first_contact: Option<Duration>,
    listener: mpsc::Sender<Event>,
    over: Arc<AtomicBool>,
) {
    let line = |line| {
        let (listener, over) = (listener.clone(), Arc::clone(&over));
        async move { listener.send(Event::Line(line)).await.is_ok() && !over.load(Ordering::Relaxed) }
    };
    let began = Instant::now();
    let mut reached = false;
    let mut pauses = Pauses::new();
    loop {
        let why = match connector.connect().await {
            Ok(Connection { name, up, mut down, data, hears }) => {
                reached = true;
                if !line(Line::Up { name, up, data, hears }).await {
                    return;
                }
                while let Some(message) = down.recv().await {
                    pauses.begin_anew();
                    connector.hear(&message);
                    if !line(Line::Message(message)).await {
                        return;
                    }
                }
                if !line(Line::Down).await {
                    return;
                }
                "the connection was lost".to_string()
            }
            Err(ConnectError::Later { why }) => why,
            Err(ConnectError::Refused { why }) => {
                line(Line::Refused { why }).await;
                return;
            }
            Err(ConnectError::Ended) => {
                line(Line::Ended).await;
                return;
            }
        };
        if !reached && first_contact.is_some_and(|allowed| began.elapsed() >= allowed) {
            line(Line::Unreached { why }).await;
            return;
        }
        // One that was sent on to the leader needs no telling.
        let soon = connector.soon();
        let again = soon.unwrap_or_else(|| pauses.draw());
        if soon.is_none() && !line(Line::Apart { why, again }).await {
            return;
        }
        tokio::time::sleep(again).await;
    }
}

/// Random pauses under a limit that doubles with each.
struct Pauses {
    limit: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { limit: PAUSE_FIRST }
    }

    fn begin_anew(&mut self) {
        self.limit = PAUSE_FIRST;
    }

    /// Between zero and the limit.
    fn draw(&mut self) -> Duration {
        let pause = self.limit.mul_f64(random() as f64 / u64::MAX as f64);
        self.limit = (self.limit * 2).min(PAUSE_LONGEST);
        pause
    }
}

/// The standard library's hash keys are the only randomness here.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    struct NobodyThere;

    impl Connector for NobodyThere {
        async fn connect(&mut self) -> Result<Connection, ConnectError> {
            Err(ConnectError::Later { why: "nobody there".to_string() })
        }
    }

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_message() {
        let limits = [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs);
        let mut longest = limits.map(|_| Duration::ZERO);
        let mut pauses = Pauses::new();
        for _ in 0..60 {
            longest.iter_mut().for_each(|longest| *longest = pauses.draw().max(*longest));
            pauses.begin_anew();
        }
        for (longest, limit) in longest.iter().zip(limits) {
            assert!(*longest <= limit && *longest > limit / 2, "{longest:?} of {limit:?}");
        }
    }

    #[tokio::test]
    async fn a_first_contact_that_never_comes_is_given_up() {
        let (listener, mut told) = mpsc::channel(1);
        let allowed = Some(Duration::ZERO);
        tokio::spawn(keep_connected(NobodyThere, allowed, listener, Arc::default()));

        let first = told.recv().await;
        assert!(
            matches!(first, Some(Event::Line(Line::Unreached { why })) if why == "nobody there")
        );
        assert!(told.recv().await.is_none(), "no further attempt");
    }
}
