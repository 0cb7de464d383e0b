//! Agents as processes: a real session, a spool that outlives it, threads that take virtual time, and
//! a connection that breaks.
//!
//! Effects happen in their order, and the process may die between any two of them. What a training
//! gives is a function of the trial alone, unless the agent is one that lies when it comes late.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use agent::session::{Effect, Hears, Input, Session};
use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::seed::mix;
use common::study::Study;
use common::time::Timestamp;
use common::trial::{Attempt, Ending, FailReason, Outcome, Report};
use common::wire::message::{AgentAbout, FromAgent, ToAgent};

use super::invariants::{Broken, Seen};
use super::network::Machine;
use super::plan::{Bug, Plan};
use super::replicas::Inbound;
use super::world::{Event, World};

pub struct AgentProcess {
    pub member: MemberId,
    pub(super) session: Option<Session>,
    pub(super) spool: Spool,
    pub(super) life: u64,
    began: u64,
    pub paused_until: u64,
    /// Dies after so many more effects, and is back after a while.
    pub crash_after: Option<(u64, u64)>,
    lies: bool,
    pub(super) conn: Option<usize>,
    connecting: bool,
    /// The replica to be tried next, by its place.
    target: usize,
    pub(super) trainings: BTreeMap<LeaseId, Training>,
    /// Went away during a training: what it reports then is late.
    was_away: bool,
    pub is_idle: bool,
}

#[derive(Default)]
pub(super) struct Spool {
    started: BTreeSet<Attempt>,
    ended: BTreeMap<Attempt, Report>,
    /// Told and not yet written.
    forgotten: Vec<Attempt>,
}

pub(super) struct Training {
    study: Arc<Study>,
    id: StudyId,
    trials: Vec<TrialIndex>,
    is_stopped: bool,
}

/// Which way a message goes; which end notices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    ToReplica,
    ToAgent,
}

/// One connection of an agent.
pub struct Conn {
    pub agent: usize,
    life: u64,
    pub place: usize,
    /// Of the replica's process.
    pub run: u64,
    /// What each end still believes.
    pub(super) agent_open: bool,
    pub replica_open: bool,
    pub(super) up: VecDeque<(u64, FromAgent)>,
    down: VecDeque<(u64, ToAgent)>,
    /// The last message down is on its way.
    closing: bool,
    blocked_since: Option<u64>,
}

impl AgentProcess {
    pub fn new(plan: &Plan, at: usize) -> Self {
        Self {
            member: MemberId(FIRST_AGENT + at as u64),
            session: None,
            spool: Spool::default(),
            life: 0,
            began: 0,
            paused_until: 0,
            crash_after: None,
            lies: plan.liars[at],
            conn: None,
            connecting: false,
            target: at % plan.replicas,
            trainings: BTreeMap::new(),
            was_away: false,
            is_idle: false,
        }
    }

    pub fn heal(&mut self, now: u64) {
        self.crash_after = None;
        self.paused_until = self.paused_until.min(now);
    }

    pub fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// Outcomes that are spooled and not acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Report> {
        self.spool.ended.values()
    }

    pub(super) fn clock(&self, now: u64) -> Timestamp {
        Timestamp(now - self.began)
    }
}

impl World {
    pub fn agent_starts(&mut self, agent: usize) {
        let now = self.now;
        let process = &mut self.agents[agent];
        if process.session.is_some() {
            return;
        }
        process.life += 1;
        (process.began, process.conn, process.connecting) = (now, None, false);
        process.trainings.clear();
        process.was_away = false;
        let crashed: Vec<Attempt> = process.spool.started.iter().copied().collect();
        let reports = process.spool.ended.values().cloned().collect();
        let mut session = Session::new(about(agent), process.life, THREADS, crashed, reports);
        session.hears(Hears::all_or_little(true));
        process.session = Some(session);
        self.tell(|| format!("agent {agent} starts"));
        self.agent_connects_after(agent, 1);
    }

    fn agent_connects_after(&mut self, agent: usize, ms: u64) {
        if !std::mem::replace(&mut self.agents[agent].connecting, true) {
            self.after(ms, Event::AgentConnect(agent));
        }
    }

    pub fn agent_ticks(&mut self, agent: usize) -> Result<(), Broken> {
        self.after(AGENT_TICK_MS, Event::AgentTick(agent));
        if self.now < self.agents[agent].paused_until || !self.agents[agent].is_up() {
            return Ok(());
        }
        let process = &mut self.agents[agent];
        if let Some(conn) = process.conn {
            let (from, to) = (Machine::Agent(agent), Machine::Replica(self.conns[conn].place));
            let cut = self.net.is_cut(from, to, self.now) || self.net.is_cut(to, from, self.now);
            let since = self.conns[conn].blocked_since.get_or_insert(self.now);
            if !cut {
                self.conns[conn].blocked_since = None;
            } else if self.now - *since > IDLE_MS {
                self.drop_connection(conn);
            }
            let breaks = self.net.ambient.breaks * AGENT_TICK_MS / 1_000;
            if self.rng.chance(breaks) {
                self.drop_connection(conn);
            }
        }
        self.write_forgotten(agent);
        self.session_steps(agent, vec![Input::Tick])
    }

    pub(super) fn write_forgotten(&mut self, agent: usize) {
        let spool = &mut self.agents[agent].spool;
        for attempt in std::mem::take(&mut spool.forgotten) {
            spool.started.remove(&attempt);
            spool.ended.remove(&attempt);
        }
    }

    /// Both ends will notice, each in its own time.
    pub fn drop_connection(&mut self, conn: usize) {
        let (soon, later) = (self.rng.below(300), self.rng.below(2_000));
        self.after(soon, Event::Lost(conn, Way::ToAgent));
        self.after(later, Event::Lost(conn, Way::ToReplica));
    }

    pub fn break_connection(&mut self, agent: usize) {
        if let Some(conn) = self.agents[agent].conn {
            self.drop_connection(conn);
        }
    }

    pub fn lost(&mut self, conn: usize, way: Way) -> Result<(), Broken> {
        match way {
            Way::ToReplica => {
                if std::mem::take(&mut self.conns[conn].replica_open) {
                    let (place, run) = (self.conns[conn].place, self.conns[conn].run);
                    self.inbound(place, Inbound::Gone { conn, run });
                }
            }
            Way::ToAgent => {
                let (agent, life) = (self.conns[conn].agent, self.conns[conn].life);
                let open = std::mem::take(&mut self.conns[conn].agent_open);
                let process = &mut self.agents[agent];
                if open && process.life == life && process.conn == Some(conn) {
                    process.conn = None;
                    let again = self.rng.within(1, 400);
                    self.agent_connects_after(agent, again);
                    return self.session_steps(agent, vec![Input::Disconnected]);
                }
            }
        }
        Ok(())
    }

    pub fn agent_connects(&mut self, agent: usize) -> Result<(), Broken> {
        self.agents[agent].connecting = false;
        let process = &self.agents[agent];
        if process.session.is_none() || process.conn.is_some() {
            return Ok(());
        }
        if self.now < process.paused_until {
            let left = process.paused_until - self.now;
            self.agent_connects_after(agent, left);
            return Ok(());
        }
        let (place, life) = (process.target, process.life);
        let (from, to) = (Machine::Agent(agent), Machine::Replica(place));
        let cut = self.net.is_cut(from, to, self.now) || self.net.is_cut(to, from, self.now);
        let run = self.replicas.get(place).and_then(|replica| replica.run());
        let Some(run) = run.filter(|_| !cut) else {
            self.agents[agent].target = self.rng.below(self.replicas.len() as u64) as usize;
            let again = self.rng.within(20, 800);
            self.agent_connects_after(agent, again);
            return Ok(());
        };
        let number = self.conns.len();
        self.conns.push(Conn {
            agent,
            life,
            place,
            run,
            agent_open: true,
            replica_open: true,
            up: VecDeque::new(),
            down: VecDeque::new(),
            closing: false,
            blocked_since: None,
        });
        self.agents[agent].conn = Some(number);
        let member = self.agents[agent].member;
        self.inbound(place, Inbound::Arrived { conn: number, run, member });
        self.session_steps(agent, vec![Input::Connected])
    }

    fn say(&mut self, conn: usize, message: FromAgent) {
        let delay = self.net.delay(&mut self.rng);
        let conn_ = &mut self.conns[conn];
        let at = conn_.up.back().map_or(0, |(at, _)| *at).max(self.now + delay);
        conn_.up.push_back((at, message));
        self.at(at, Event::Pump(conn, Way::ToReplica));
    }

    /// A replica's message to an agent, leaving at `leaves`.
    pub fn say_down(&mut self, conn: usize, message: ToAgent, leaves: u64, last: bool) {
        let delay = self.net.delay(&mut self.rng);
        let conn_ = &mut self.conns[conn];
        let at = conn_.down.back().map_or(0, |(at, _)| *at).max(leaves + delay);
        conn_.down.push_back((at, message));
        conn_.closing |= last;
        self.at(at, Event::Pump(conn, Way::ToAgent));
    }

    /// Delivers what is due on a connection, in order; what is cut off waits.
    pub fn pump(&mut self, conn: usize, way: Way) -> Result<(), Broken> {
        let (agent, place) = (self.conns[conn].agent, self.conns[conn].place);
        let (agent_end, replica_end) = (Machine::Agent(agent), Machine::Replica(place));
        let (from, to) = match way {
            Way::ToReplica => (agent_end, replica_end),
            Way::ToAgent => (replica_end, agent_end),
        };
        if self.net.is_cut(from, to, self.now) {
            self.after(CUT_AGAIN_MS, Event::Pump(conn, way));
            return Ok(());
        }
        if way == Way::ToAgent && self.now < self.agents[agent].paused_until {
            let until = self.agents[agent].paused_until;
            self.at(until, Event::Pump(conn, way));
            return Ok(());
        }
        match way {
            Way::ToReplica => {
                while self.conns[conn].up.front().is_some_and(|(at, _)| *at <= self.now) {
                    let Some((_, message)) = self.conns[conn].up.pop_front() else { break };
                    self.figures.messages += 1;
                    if self.conns[conn].replica_open {
                        let run = self.conns[conn].run;
                        self.inbound(place, Inbound::Said { conn, run, message });
                    }
                }
            }
            Way::ToAgent => {
                let mut inputs = Vec::new();
                while self.conns[conn].down.front().is_some_and(|(at, _)| *at <= self.now) {
                    let Some((_, message)) = self.conns[conn].down.pop_front() else { break };
                    self.figures.messages += 1;
                    let current = self.agents[agent].conn == Some(conn)
                        && self.agents[agent].life == self.conns[conn].life;
                    if self.conns[conn].agent_open && current {
                        self.agent_notes(agent, &message);
                        inputs.push(Input::Message(message));
                    }
                }
                if !inputs.is_empty() {
                    self.session_steps(agent, inputs)?;
                }
                if self.conns[conn].closing && self.conns[conn].down.is_empty() {
                    self.lost(conn, Way::ToAgent)?;
                    self.lost(conn, Way::ToReplica)?;
                }
            }
        }
        Ok(())
    }

    /// Where the next connection goes.
    fn agent_notes(&mut self, agent: usize, message: &ToAgent) {
        if let ToAgent::Elsewhere { leader, .. } = message {
            let known = leader.as_deref().and_then(|address| self.place_at(address));
            let any = self.rng.below(self.replicas.len() as u64) as usize;
            self.agents[agent].target = known.unwrap_or(any);
        }
    }

    pub(super) fn session_steps(&mut self, agent: usize, inputs: Vec<Input>) -> Result<(), Broken> {
        let now = self.now;
        let process = &mut self.agents[agent];
        let clock = process.clock(now);
        let Some(session) = &mut process.session else { return Ok(()) };
        let effects = session.steps(inputs, clock);
        let load = session.load();
        process.is_idle = load.running_trials == 0 && load.waiting_trials == 0;
        for effect in effects {
            if let Some((left, down_ms)) = self.agents[agent].crash_after {
                if left == 0 {
                    self.agent_crashes(agent, down_ms);
                    return Ok(());
                }
                self.agents[agent].crash_after = Some((left - 1, down_ms));
            }
            if self.performs(agent, effect)? {
                return Ok(());
            }
        }
        Ok(())
    }

    pub fn agent_crashes(&mut self, agent: usize, down_ms: u64) {
        self.tell(|| format!("agent {agent} dies"));
        self.figures.crashes += 1;
        let process = &mut self.agents[agent];
        process.session = None;
        process.crash_after = None;
        // What was only told is lost with the process.
        process.spool.forgotten.clear();
        process.trainings.clear();
        if let Some(conn) = process.conn.take() {
            self.conns[conn].agent_open = false;
            let notices = self.rng.below(3_000);
            self.after(notices, Event::Lost(conn, Way::ToReplica));
        }
        self.after(down_ms, Event::AgentStart(agent));
    }

    /// Does what the session says. True when the process died of it.
    fn performs(&mut self, agent: usize, effect: Effect) -> Result<bool, Broken> {
        let no_marker = self.plan.bug == Some(Bug::NoMarker);
        let forgets = self.plan.bug == Some(Bug::SentIsForgotten);
        match effect {
            Effect::MarkStarted { attempts } => {
                self.write_forgotten(agent);
                if !no_marker {
                    self.agents[agent].spool.started.extend(attempts);
                }
            }
            Effect::Spool { reports } => {
                self.write_forgotten(agent);
                for report in reports {
                    self.watch.see(&Seen::Spooled { report: &report })?;
                    let spool = &mut self.agents[agent].spool;
                    spool.started.remove(&report.attempt);
                    spool.ended.insert(report.attempt, report);
                }
            }
            Effect::Forget { attempts } => self.agents[agent].spool.forgotten.extend(attempts),
            Effect::Send(message) => {
                if let (true, FromAgent::Reports { reports }) = (forgets, &message) {
                    let spool = &mut self.agents[agent].spool;
                    reports.iter().for_each(|report| drop(spool.ended.remove(&report.attempt)));
                }
                if let Some(conn) = self.agents[agent].conn {
                    self.say(conn, message);
                }
            }
            Effect::FetchData { id, .. } => {
                let (there, life) = (!self.rng.chance(100), self.agents[agent].life);
                let takes = self.rng.within(5, 60);
                self.after(takes, Event::Data { agent, life, study: id, there });
            }
            Effect::DropData { .. } => {}
            Effect::FetchCheckpoints { lease, .. } => {
                let (life, takes) = (self.agents[agent].life, self.rng.within(1, 400));
                self.after(takes, Event::Checkpoints { agent, life, lease, here: true });
            }
            Effect::HandOn { lease, id, trials, .. } => {
                let (life, takes) = (self.agents[agent].life, self.rng.within(1, 400));
                self.leaves_checkpoints(agent, lease, id, &trials);
                self.after(takes, Event::Checkpoints { agent, life, lease, here: false });
            }
            Effect::Left => {
                self.agent_left(agent);
                return Ok(true);
            }
            Effect::StartCohort { lease, id, study, trials } => {
                return self.starts(agent, lease, id, study, trials);
            }
            Effect::StopCohort { lease } => {
                self.watch.see(&Seen::Stopped { lease })?;
                if let Some(training) = self.agents[agent].trainings.get_mut(&lease) {
                    training.is_stopped = true;
                }
            }
        }
        Ok(false)
    }

    fn starts(
        &mut self,
        agent: usize,
        lease: LeaseId,
        id: StudyId,
        study: Arc<Study>,
        trials: Vec<TrialIndex>,
    ) -> Result<bool, Broken> {
        let kills = self.plan.poison.is_some_and(|(number, trial)| {
            self.studies[number].id() == id && trials.contains(&TrialIndex(trial))
        });
        for trial in &trials {
            let attempt = Attempt { study: id, trial: *trial, lease };
            let member = self.agents[agent].member;
            self.watch.see(&Seen::Trains { agent: member, attempt })?;
        }
        if kills {
            self.tell(|| format!("agent {agent} trains the poison"));
            let down = self.rng.within(10, 300);
            self.agent_crashes(agent, down);
            return Ok(true);
        }
        self.agents[agent].was_away = false;
        self.agents[agent]
            .trainings
            .insert(lease, Training { study, id, trials, is_stopped: false });
        let takes = self.rng.within(20, 300);
        let life = self.agents[agent].life;
        self.after(takes, Event::Trained { agent, life, lease });
        Ok(false)
    }

    pub fn trained(&mut self, agent: usize, life: u64, lease: LeaseId) -> Result<(), Broken> {
        let process = &mut self.agents[agent];
        if process.life != life || process.session.is_none() {
            return Ok(());
        }
        if self.now < process.paused_until {
            process.was_away = true;
            let until = process.paused_until;
            self.at(until, Event::Trained { agent, life, lease });
            return Ok(());
        }
        let Some(training) = process.trainings.remove(&lease) else { return Ok(()) };
        let lies = process.lies && process.was_away;
        let Training { study, id, trials, is_stopped } = training;
        // A cohort that was told to stop may have ended before it heard.
        let endings = (!is_stopped || self.rng.chance(300)).then(|| {
            let attempt = |trial: &TrialIndex| Attempt { study: id, trial: *trial, lease };
            trials.iter().map(|trial| self.ending(&study, attempt(trial), lies)).collect()
        });
        self.session_steps(agent, vec![Input::Ended { lease, endings }])
    }

    /// What training gives.
    fn ending(&self, study: &Study, attempt: Attempt, lies: bool) -> Ending {
        let Attempt { trial, lease, .. } = attempt;
        let drawn = mix(trial.0 ^ mix(attempt.study.0));
        let fails = |one_in: u64, drawn: u64| one_in > 0 && mix(drawn).is_multiple_of(one_in);
        if fails(self.plan.diverges, drawn) {
            let detail = "at epoch 1".to_string();
            return Ending::Failed { reason: FailReason::Diverged, detail };
        }
        if fails(self.plan.errs, drawn ^ mix(lease.counter ^ lease.term << 32)) {
            let detail = "out of luck".to_string();
            return Ending::Failed { reason: FailReason::Error, detail };
        }
        let value = (drawn >> 12) as f64 / (1u64 << 52) as f64;
        let value = if lies { -value } else { value };
        Ending::Complete(Outcome {
            metrics: vec![value; study.metrics.len()],
            rows: Vec::new(),
            epochs: 2,
            duration_us: 1,
            device: "cpu".to_string(),
            curve: None,
        })
    }

    pub fn data(
        &mut self,
        agent: usize,
        life: u64,
        study: StudyId,
        there: bool,
    ) -> Result<(), Broken> {
        if self.agents[agent].life != life {
            return Ok(());
        }
        let input = match there {
            true => Input::DataReady { study },
            false => Input::DataUnreachable { study },
        };
        self.session_steps(agent, vec![input])
    }
}

fn about(agent: usize) -> AgentAbout {
    AgentAbout {
        host: format!("a{agent}"),
        device: "cpu".to_string(),
        model: "m".to_string(),
        lanes: 4,
        cohort_lanes: 2,
        version: "0".to_string(),
    }
}

/// As the scheduler numbers members.
pub const FIRST_AGENT: u64 = 16;
const THREADS: usize = 2;
const AGENT_TICK_MS: u64 = 250;
/// Silence after which an agent gives its connection up.
const IDLE_MS: u64 = 2_000;
const CUT_AGAIN_MS: u64 = 60;
