//! What people are told of programs while they run: how far they are, and what they wrote.
//!
//! Lossy on purpose: none of it is kept by anybody but this agent.
//!
//! Floor: shell.

use std::sync::Arc;

use common::id::{StudyId, TrialIndex};
use common::wire::message::FromAgent;

use super::Driver;

impl Driver {
    /// At each tick, when somebody listens.
    pub(super) fn tell_progress(&mut self) {
        if self.line.is_none() || !self.session.is_registered() {
            return;
        }
        let items = self.trainer.programs().map(|programs| programs.progress()).unwrap_or_default();
        if !items.is_empty() {
            self.send(FromAgent::Progress { items });
        }
    }

    /// Answers apart from all else: a log is read from a file.
    pub(super) fn send_log(&self, number: u64, study: StudyId, trial: TrialIndex, from: u64) {
        let Some((up, _)) = &self.line else { return };
        let (up, trainer) = (up.clone(), Arc::clone(&self.trainer));
        tokio::task::spawn_blocking(move || {
            let part = trainer.programs().and_then(|programs| programs.log(study, trial, from));
            // Nobody listens when the line is full or gone.
            let _ = up.try_send(FromAgent::Log { number, part });
        });
    }
}
