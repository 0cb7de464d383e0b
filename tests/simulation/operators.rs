//! Operators: they submit, look, steer, and ask again when no answer comes.
//!
//! A command keeps its number until it is answered. What an operator was shown it never sees undone.
//!
//! Floor: wiring.

use std::collections::VecDeque;

use common::id::{ClientId, MemberId, ReplicaId, TrialIndex};
use common::ledger::Purpose;
use common::repeat::Again;
use common::study::Study;
use common::wire::message::{
    Answer, Ask, Control, NewToken, RepeatState, Request, Response, Role, StudyState, Which,
};

use super::invariants::{Broken, Seen};
use super::network::Machine;
use super::plan::Plan;
use super::replicas::{Process, Replica};
use super::rng::Rng;
use super::world::{Event, World};

pub struct Operator {
    pub tasks: VecDeque<Task>,
    asking: Option<Asking>,
    next: u64,
    seen: u64,
    target: usize,
    /// Its tasks are done, and it only looks.
    looks: u64,
}

/// One thing to be done.
#[derive(Clone, Debug)]
pub enum Task {
    Submit(usize),
    Status {
        fresh: bool,
    },
    Control(usize, Control),
    CreateToken(u8),
    RevokeToken(u8),
    Remove(ReplicaId),
    /// Has a look at a study's outcomes entered, to be read then.
    Look(usize),
    Seal(usize),
    Register(usize),
    /// Reads outcomes for a look, which it may not have taken.
    Read {
        study: usize,
        look: u64,
    },
    /// Has complete trials of a study trained again; asks so often.
    Verify {
        study: usize,
        number: u64,
        trials: Again,
        times: u32,
    },
    /// Looks for agents that were set aside, and starts them anew.
    Agents,
}

struct Asking {
    task: Task,
    number: u64,
    since: u64,
    tries: u32,
}

impl Operator {
    pub fn all(plan: &Plan, studies: &[Study]) -> Vec<Self> {
        let mut rng = Rng::new(plan.seed, 3);
        let mut first: VecDeque<Task> = (0..studies.len()).map(Task::Submit).collect();
        for _ in 0..rng.within(2, 8) {
            first.push_back(Task::draw(&mut rng, studies.len(), plan.is_calm));
        }
        let mut second = VecDeque::new();
        for token in 0..rng.within(1, 3) as u8 {
            second.push_back(Task::CreateToken(token));
            second.push_back(Task::Status { fresh: true });
            second.push_back(Task::RevokeToken(token));
            second.push_back(Task::Status { fresh: rng.chance(500) });
            second.push_back(Task::Look(rng.below(studies.len() as u64) as usize));
        }
        // A stream of its own: schedules without it are as they were.
        let mut verifies = Rng::new(plan.seed, 7);
        if !plan.is_calm && verifies.chance(250) {
            let study = verifies.below(studies.len() as u64) as usize;
            let (number, count) = (verifies.next(), verifies.within(1, 5) as u32);
            let trials = Again::Drawn { count, seed: number };
            second.push_back(Task::Verify { study, number, trials, times: 30 });
        }
        // So is this one's: a study is sealed, mostly before anybody looked, and opened later or never.
        let mut seals = Rng::new(plan.seed, 8);
        if seals.chance(300) {
            let study = seals.below(studies.len() as u64) as usize;
            let at = if seals.chance(700) { studies.len() } else { first.len() };
            first.insert(at, Task::Seal(study));
            if seals.chance(800) {
                let second_half = seals.within(second.len() as u64 / 2, second.len() as u64);
                second.insert(second_half as usize, Task::Register(study));
            }
        }
        let operator =
            |tasks, target| Self { tasks, asking: None, next: 1, seen: 0, target, looks: 0 };
        let targets = [rng.below(plan.replicas as u64), rng.below(plan.replicas as u64)];
        vec![operator(first, targets[0] as usize), operator(second, targets[1] as usize)]
    }

    /// Whether it has nothing left to do but look at the agents.
    pub fn is_done(&self) -> bool {
        let asks = self.asking.as_ref().is_some_and(|asking| !matches!(asking.task, Task::Agents));
        self.tasks.is_empty() && !asks
    }

    /// Whether it takes a replica out, or is about to.
    pub fn removes(&self) -> bool {
        let asking = self.asking.iter().map(|asking| &asking.task);
        self.tasks.iter().chain(asking).any(|task| matches!(task, Task::Remove(_)))
    }
}

impl Task {
    fn draw(rng: &mut Rng, studies: usize, is_calm: bool) -> Self {
        let study = rng.below(studies as u64) as usize;
        match rng.below(12) {
            0 => Task::Control(study, Control::Pause),
            1 => Task::Control(study, Control::Resume),
            2 => Task::Control(study, Control::Priority { priority: rng.below(3) as i32 }),
            3 => Task::Control(study, Control::Retry { trials: Which::Failed }),
            4 => {
                let seeds = rng.within(1, 4) as u32;
                Task::Control(study, Control::Extend { seeds, text: "grown".to_string() })
            }
            5 if rng.chance(300) && !is_calm => Task::Control(study, Control::Cancel),
            6 => Task::Submit(study),
            7 => Task::Status { fresh: true },
            8 => Task::Look(study),
            9 if rng.chance(200) => Task::Read { study, look: rng.within(1, 3) },
            _ => Task::Status { fresh: false },
        }
    }

    fn request(&self, studies: &[Study]) -> Request {
        match self {
            Task::Submit(number) => {
                let study = Box::new(studies[*number].clone());
                Request::Submit { study, text: "text".to_string() }
            }
            Task::Status { .. } => Request::Status { study: None },
            Task::Control(number, control) => {
                Request::Control { study: studies[*number].id(), control: control.clone() }
            }
            Task::CreateToken(number) => Request::CreateToken(NewToken {
                id: token(*number),
                secret_hash: [*number; 32],
                role: Role::Agent,
                ttl_ms: u64::MAX / 4,
                uses: None,
                label: String::new(),
            }),
            Task::RevokeToken(number) => {
                let id = token(*number).iter().map(|byte| format!("{byte:02x}")).collect();
                Request::RevokeToken { id }
            }
            Task::Remove(replica) => Request::RemoveReplica { replica: *replica },
            Task::Look(number) => {
                Request::Look { study: studies[*number].id(), purpose: Purpose::Report }
            }
            Task::Seal(number) => Request::Seal { study: studies[*number].id() },
            Task::Register(number) => {
                let claim = "one arm beats the other".to_string();
                Request::Register { study: studies[*number].id(), claim }
            }
            Task::Read { study, look } => {
                let (study, from) = (studies[*study].id(), TrialIndex(0));
                Request::OutcomesFor { study, from, look: *look }
            }
            Task::Verify { study, number, trials, .. } => {
                let (study, trials) = (studies[*study].id(), trials.clone());
                Request::Repeat { study, number: *number, trials }
            }
            Task::Agents => Request::Agents,
        }
    }

    /// What is still to be asked for of trials that are trained again.
    fn goes_on(&self, response: &Response) -> Option<Task> {
        let Task::Verify { study, number, trials, times } = self else { return None };
        let trials = match response {
            Response::Repeats(repeats) => {
                let ended = |state: &RepeatState| {
                    matches!(state, RepeatState::Done { .. } | RepeatState::Failed { .. })
                };
                let left = repeats.trials.iter().filter(|repeat| !ended(&repeat.state));
                Again::These(left.map(|repeat| repeat.trial).collect())
            }
            // Nothing is complete yet.
            _ => trials.clone(),
        };
        let (study, number, times) = (*study, *number, times.checked_sub(1)?);
        (trials != Again::These(Vec::new())).then_some(Task::Verify {
            study,
            number,
            trials,
            times,
        })
    }

    fn is_fresh(&self) -> bool {
        matches!(self, Task::Status { fresh: true })
    }
}

/// Whom the cluster takes an operator for.
pub fn member(operator: usize) -> MemberId {
    MemberId(operator as u64 + 1)
}

fn token(number: u8) -> [u8; 6] {
    [100 + number; 6]
}

impl World {
    /// An operator's turn: the next task, or the last one again.
    pub fn operate(&mut self, operator: usize) -> Result<(), Broken> {
        let again = self.rng.within(300, 1_200);
        self.after(again, Event::Operate(operator));
        if self.operators[operator].asking.is_none() {
            let looks_on = !self.is_healed && self.operators[operator].looks < LOOKS;
            let task = self.operators[operator].tasks.pop_front();
            let task = match task {
                Some(task) => task,
                None if looks_on => {
                    self.operators[operator].looks += 1;
                    Task::Status { fresh: self.rng.chance(500) }
                }
                None if self.is_healed && operator == 1 => Task::Agents,
                None => return Ok(()),
            };
            let (number, since) = (self.operators[operator].next, self.now);
            self.operators[operator].next += 1;
            self.operators[operator].asking = Some(Asking { task, number, since, tries: 0 });
        }
        let replicas = self.replicas.len() as u64;
        let asker = &mut self.operators[operator];
        let Some(asking) = &mut asker.asking else { return Ok(()) };
        asking.tries += 1;
        if asking.tries > 1 {
            asker.target = self.rng.below(replicas) as usize;
        }
        let ask = Ask {
            client: ClientId(operator as u64 + 1),
            number: asking.number,
            at_least: asker.seen,
            fresh: asking.task.is_fresh(),
            request: asking.task.request(&self.studies),
        };
        let first = asking.tries == 1;
        self.watch.see(&Seen::Asks { operator, first })?;
        let to = self.operators[operator].target;
        let ends = (Machine::Operator(operator), Machine::Replica(to));
        for arrives in
            self.net.arrivals(ends.0, ends.1, self.now, &mut self.rng).into_iter().flatten()
        {
            let ask = Box::new(ask.clone());
            self.at(arrives, Event::Asked { operator, to, ask });
        }
        Ok(())
    }

    pub fn answered(&mut self, operator: usize, number: u64, answer: Answer) -> Result<(), Broken> {
        let asker = &self.operators[operator];
        let Some(asking) = asker.asking.as_ref().filter(|asking| asking.number == number) else {
            return Ok(());
        };
        if let Response::Elsewhere { leader } = &answer.response {
            if let Some(place) = leader.as_deref().and_then(|address| self.place_at(address)) {
                self.operators[operator].target = place;
            }
            return Ok(());
        }
        self.figures.answers += 1;
        let (task, waited) = (asking.task.clone(), self.now - asking.since);
        self.tell(|| format!("operator {operator}: {task:?} answered after {waited} ms"));
        let seen = self.operators[operator].seen;
        self.watch.see(&Seen::Answered { operator, task: &task, answer: &answer, seen })?;
        let refused = matches!(answer.response, Response::Refused { .. });
        let asker = &mut self.operators[operator];
        asker.asking = None;
        asker.seen = asker.seen.max(answer.applied);
        if let Response::Agents { agents } = &answer.response {
            let aside = agents.iter().filter(|agent| agent.connected && agent.set_aside.is_some());
            for agent in aside {
                self.agent_crashes((agent.member.0 - super::agents::FIRST_AGENT) as usize, 100);
            }
        }
        if let (Task::Look(study), Response::Looked { number: Some(look) }) =
            (&task, &answer.response)
        {
            let read = Task::Read { study: *study, look: *look };
            self.operators[operator].tasks.push_front(read);
        }
        if let Some(rest) = task.goes_on(&answer.response) {
            self.operators[operator].tasks.push_front(rest);
        }
        if let (Task::Remove(id), true) = (&task, refused) {
            // Without a majority that is up it is refused: again when it is.
            let wiped = self.place_of(*id).is_some_and(|place| self.replicas[place].is_dead);
            if wiped && !self.has_left(*id) {
                self.operators[operator].tasks.push_back(task);
            }
        }
        Ok(())
    }

    /// In the end every study may go on.
    pub fn heal_operators(&mut self) {
        for number in 0..self.studies.len() {
            let tasks = &mut self.operators[0].tasks;
            tasks.push_back(Task::Submit(number));
            tasks.push_back(Task::Control(number, Control::Resume));
        }
        self.operators[0].tasks.push_back(Task::Status { fresh: true });
    }

    /// Whether the studies are over, everybody agrees, and nobody waits for anything.
    pub fn is_at_rest(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What is not at rest, in words.
    pub fn unrest(&self) -> String {
        let mut reasons = Vec::new();
        if let Some(at) = self.operators.iter().position(|operator| !operator.is_done()) {
            let asking = self.operators[at].asking.as_ref().map(|asking| &asking.task);
            reasons.push(format!("operator {at} waits: {asking:?}"));
        }
        if self.joining.iter().any(|joining| !joining.is_over) {
            reasons.push("a replica is joining".to_string());
        }
        for (at, agent) in self.agents.iter().enumerate() {
            let open = agent.unacknowledged().count();
            if !agent.is_up() || !agent.is_idle || open > 0 {
                reasons.push(format!("agent {at} is not idle: {open} outcomes unacknowledged"));
            }
        }
        let live: Vec<_> = self
            .replicas
            .iter()
            .filter(|replica| !replica.is_dead)
            .map(|replica| {
                (replica.id, replica.process.as_ref().map(|process| process.node.state()))
            })
            .collect();
        let most = live.iter().filter_map(|(_, state)| Some(state.as_ref()?.applied)).max();
        for (id, state) in live {
            let Some(state) = state else {
                reasons.push(format!("{id} is down"));
                continue;
            };
            // One that was removed hears no more.
            let of_past = self.has_left(id);
            if Some(state.applied) != most && !of_past {
                reasons.push(format!("{id} has applied {} of {most:?}", state.applied));
            }
            if of_past {
                continue;
            }
            for (study, record) in &state.studies {
                let over = !record.state.goes_on();
                if !over || (record.state == StudyState::Finished && record.open() > 0) {
                    reasons.push(format!(
                        "{id}: study {study} is {:?}, {} open",
                        record.state,
                        record.open()
                    ));
                }
            }
            if state.studies.len() < self.studies.len() {
                reasons.push(format!("{id} lacks a study"));
            }
        }
        reasons.join("; ")
    }

    /// The replicas that run and are of the cluster, each with its process.
    pub fn members(&self) -> impl Iterator<Item = (&Replica, &Process)> {
        let all = self.replicas.iter().filter(|replica| !self.has_left(replica.id));
        all.filter_map(|replica| Some((replica, replica.process.as_ref()?)))
    }

    /// Whether the others no longer have this replica.
    pub fn has_left(&self, id: ReplicaId) -> bool {
        let states = self.replicas.iter().filter_map(|replica| replica.process.as_ref());
        let latest = states.map(|process| process.node.state()).max_by_key(|state| state.applied);
        latest.is_some_and(|state| !state.replicas.contains_key(&id))
    }
}

/// What an operator without tasks looks at before everything is healed.
const LOOKS: u64 = 8;
