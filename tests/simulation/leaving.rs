//! Agents that are told to leave in the middle of their work, and what others go on with.
//!
//! Floor: wiring.

use agent::session::Input;
use common::id::{Digest, LeaseId, StudyId, TrialIndex};
use common::trial::{Attempt, FailReason};

use super::agents::Way;
use super::invariants::Broken;
use super::replicas::Inbound;
use super::world::{Event, World};

impl World {
    /// It is told to leave, and is back after a while.
    pub fn agent_leaves(&mut self, agent: usize, within_ms: u64) -> Result<(), Broken> {
        let process = &self.agents[agent];
        if !process.is_up() || self.now < process.paused_until {
            return Ok(());
        }
        let until = process.clock(self.now).plus_ms(within_ms);
        let why = [FailReason::Preempted, FailReason::OutOfTime][self.rng.below(2) as usize];
        self.session_steps(agent, vec![Input::Leave { until, why }])
    }

    /// The process ends by itself, with what its spool was told.
    pub(super) fn agent_left(&mut self, agent: usize) {
        self.tell(|| format!("agent {agent} has left"));
        self.write_forgotten(agent);
        let process = &mut self.agents[agent];
        process.session = None;
        process.crash_after = None;
        process.trainings.clear();
        if let Some(conn) = process.conn.take() {
            self.conns[conn].agent_open = false;
            // Its last words arrive before its end is noticed.
            let last = self.conns[conn].up.back().map_or(self.now, |(at, _)| *at);
            let notices = last.max(self.now) + 1 + self.rng.below(200);
            self.at(notices, Event::Lost(conn, Way::ToReplica));
        }
        let down_ms = self.rng.within(20, 2_000);
        self.after(down_ms, Event::AgentStart(agent));
    }

    /// What a cohort reached is with the replica that it is connected to, of some of its trials.
    pub(super) fn leaves_checkpoints(
        &mut self,
        agent: usize,
        lease: LeaseId,
        id: StudyId,
        trials: &[TrialIndex],
    ) {
        let Some(conn) = self.agents[agent].conn else { return };
        let (place, run, member) =
            (self.conns[conn].place, self.conns[conn].run, self.agents[agent].member);
        for trial in trials {
            if self.conns[conn].replica_open && self.rng.chance(700) {
                let attempt = Attempt { study: id, trial: *trial, lease };
                let digest = Digest::of(&trial.0.to_le_bytes());
                self.inbound(place, Inbound::Parked { run, member, attempt, digest });
            }
        }
    }

    /// A cohort's checkpoints were fetched, or handed on.
    pub fn checkpoints(
        &mut self,
        agent: usize,
        life: u64,
        lease: LeaseId,
        here: bool,
    ) -> Result<(), Broken> {
        if self.agents[agent].life != life {
            return Ok(());
        }
        let input = match here {
            true => Input::CheckpointsHere { lease },
            false => Input::HandedOn { lease },
        };
        self.session_steps(agent, vec![input])
    }
}
