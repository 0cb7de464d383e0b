//! All that a coordinator has applied, as it is at one moment.
//!
//! Floor: shell.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::{Event, Handle};
use crate::disk::Image;

impl Handle {
    /// The state and the outcomes that belong to it, once entry `at_least` is applied here; and the term.
    /// Or why there is none.
    pub async fn image(&self, at_least: u64) -> Result<(Image, u64), String> {
        let until = Instant::now() + APPLIED_WITHIN;
        let term = loop {
            let look = self.look(|node| {
                let state = node.state();
                (state.level > 0).then_some((state.applied, node.replica().term()))
            });
            match look.await {
                Some(Some((applied, term))) if applied >= at_least => break term,
                _ if Instant::now() >= until => {
                    return Err("this replica has not caught up; ask another one".to_string());
                }
                _ => sleep(LOOK_AGAIN).await,
            }
        };
        let (answer, image) = oneshot::channel();
        self.send(Event::Image { answer });
        let image = image.await.map_err(|_| {
            "the outcomes cannot be read: the disk is full, or the coordinator stops".to_string()
        })?;
        Ok((image, term))
    }
}

const APPLIED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
