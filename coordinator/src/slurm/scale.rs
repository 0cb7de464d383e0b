//! How many agents there should be, and which allocations are of no use any more.
//!
//! What waits decides how many there are, within limits. An allocation that trains is never cancelled;
//! one that trained nothing for a while is, and so is one that still waits for its nodes when nothing
//! waits for it. A refused submission is tried again later and smaller: later each time.
//!
//! Floor: core.

use std::collections::BTreeMap;

use super::queue::{Job, JobState, agent_name};

/// Within what the number of agents moves.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub min: u32,
    pub max: u32,
    /// An allocation that trained nothing for so long is given back.
    pub idle_ms: u64,
    /// Trials that one agent is there for; `None`: as many as it trains at once.
    pub trials_per_agent: Option<u32>,
}

/// What coordinator and queue say just now.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Trials of studies that go on: without an agent, and with one.
    pub waiting: u64,
    pub leased: u64,
    /// Ours, of the queue.
    pub jobs: Vec<Job>,
    /// Agents that are connected, by name.
    pub agents: BTreeMap<String, Agent>,
}

/// One agent that is connected.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    pub leased: u64,
    /// Trials that it trains at once.
    pub lanes: u32,
}

/// When a step is made, and a number drawn for it: 0 ≤ `random` < 1.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub ms: u64,
    pub random: f64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    Submit { agents: u32 },
    Cancel { job: String, why: Why },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// It has no nodes yet, and there are enough without it.
    Surplus,
    /// It trained nothing for long.
    Idle,
}

/// Why submitting pauses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// Slurm took no more jobs.
    Rejected,
    /// Jobs ended before their agents had joined.
    NeverJoined,
    /// Agents were idle for long although trials wait: those are not for such agents.
    Useless,
}

/// Keeps the number of agents in step with what waits.
#[derive(Debug)]
pub struct Scaler {
    limits: Limits,
    jobs: BTreeMap<String, Life>,
    /// Troubles in a row.
    troubles: u32,
    not_before_ms: u64,
    /// The most that one submission may hold.
    at_once: u32,
}

/// What is remembered of one job.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    joined: bool,
    /// Which shows that such jobs are of use.
    trained: bool,
    cancelled: bool,
    idle_since_ms: Option<u64>,
}

impl Scaler {
    pub fn new(limits: Limits) -> Self {
        let at_once = limits.max.clamp(1, AT_ONCE_MAX);
        Self { limits, jobs: BTreeMap::new(), troubles: 0, not_before_ms: 0, at_once }
    }

    /// What is to be done now, and what went wrong since the last time.
    pub fn step(&mut self, seen: &Seen, moment: Moment) -> (Vec<Action>, Option<Trouble>) {
        let mut trouble = self.remember(seen, moment.ms);
        let wanted = self.wanted(seen);
        let mut actions = self.surplus(seen, wanted);
        let idle = self.idle(moment.ms);
        if !idle.is_empty() && seen.waiting > 0 {
            trouble = Some(Trouble::Useless);
        }
        actions.extend(idle);
        if trouble.is_some() {
            self.pause(moment);
        }
        // Agents have trials ahead of those that they train: what is theirs asks for nobody else.
        let sought = if seen.waiting > 0 { wanted } else { self.limits.min };
        let live = self.live();
        if live < sought && moment.ms >= self.not_before_ms {
            actions.push(Action::Submit { agents: (sought - live).min(self.at_once) });
        }
        (actions, trouble)
    }

    /// The queue did not take these to be cancelled: they are here until the next step says otherwise.
    pub fn not_cancelled(&mut self, jobs: &[String]) {
        for job in jobs {
            if let Some(life) = self.jobs.get_mut(job) {
                life.cancelled = false;
            }
        }
    }

    /// The last submission was taken.
    pub fn accepted(&mut self) {
        self.at_once = self.at_once.saturating_mul(2).min(self.limits.max.clamp(1, AT_ONCE_MAX));
    }

    /// The last submission was refused: the next one is smaller, and later.
    pub fn rejected(&mut self, moment: Moment) {
        self.at_once = (self.at_once / 2).max(1);
        self.pause(moment);
    }

    /// Until when nothing is submitted.
    pub fn paused_until_ms(&self) -> u64 {
        self.not_before_ms
    }

    /// How many agents the work asks for.
    pub fn wanted(&self, seen: &Seen) -> u32 {
        let work = seen.waiting + seen.leased;
        let agents = work.div_ceil(u64::from(self.trials_per_agent(seen)));
        u32::try_from(agents).unwrap_or(u32::MAX).clamp(self.limits.min, self.limits.max)
    }

    fn trials_per_agent(&self, seen: &Seen) -> u32 {
        let ours = self.jobs.keys().filter_map(|job| seen.agents.get(&agent_name(job)));
        let least = ours.map(|agent| agent.lanes).min();
        self.limits.trials_per_agent.or(least).unwrap_or(1).max(1)
    }

    /// Allocations that are here, or will be, and are not told to go.
    fn live(&self) -> u32 {
        self.jobs.values().filter(|life| !life.cancelled).count() as u32
    }

    fn pause(&mut self, moment: Moment) {
        let doubled = PAUSE_FIRST_MS.saturating_mul(1 << self.troubles.min(16));
        self.troubles += 1;
        let pause = doubled.min(PAUSE_MAX_MS) as f64 * (0.5 + moment.random);
        self.not_before_ms = moment.ms + pause as u64;
    }

    /// Takes over what is seen of each job.
    fn remember(&mut self, seen: &Seen, now_ms: u64) -> Option<Trouble> {
        let here = |job: &Job| job.state != JobState::Ending;
        let queue: BTreeMap<&str, &Job> =
            seen.jobs.iter().filter(|job| here(job)).map(|job| (job.id.as_str(), job)).collect();
        let mut trouble = None;
        self.jobs.retain(|id, life| {
            let gone = !queue.contains_key(id.as_str());
            if gone && !life.joined && !life.cancelled {
                trouble = Some(Trouble::NeverJoined);
            }
            !gone
        });
        for (id, job) in queue {
            let life = self.jobs.entry(id.to_string()).or_default();
            let agent = seen.agents.get(&agent_name(id));
            life.joined |= agent.is_some();
            let trains = agent.is_some_and(|agent| agent.leased > 0);
            if trains && !life.trained {
                life.trained = true;
                self.troubles = 0;
            }
            match job.state == JobState::Running && !trains {
                true => _ = life.idle_since_ms.get_or_insert(now_ms),
                false => life.idle_since_ms = None,
            }
        }
        trouble
    }

    /// The latest of those without nodes go first.
    fn surplus(&mut self, seen: &Seen, wanted: u32) -> Vec<Action> {
        let mut too_many = self.live().saturating_sub(wanted);
        let mut actions = Vec::new();
        for job in seen.jobs.iter().rev().filter(|job| job.state == JobState::Pending) {
            let Some(life) = self.jobs.get_mut(&job.id).filter(|life| !life.cancelled) else {
                continue;
            };
            if too_many == 0 {
                break;
            }
            life.cancelled = true;
            too_many -= 1;
            actions.push(Action::Cancel { job: job.id.clone(), why: Why::Surplus });
        }
        actions
    }

    fn idle(&mut self, now_ms: u64) -> Vec<Action> {
        let mut spare = self.live().saturating_sub(self.limits.min);
        let mut actions = Vec::new();
        for (id, life) in self.jobs.iter_mut().filter(|(_, life)| !life.cancelled) {
            let since = life.idle_since_ms.unwrap_or(now_ms);
            let long = life.idle_since_ms.is_some() && now_ms - since >= self.limits.idle_ms;
            if spare == 0 || !long {
                continue;
            }
            life.cancelled = true;
            spare -= 1;
            actions.push(Action::Cancel { job: id.clone(), why: Why::Idle });
        }
        actions
    }
}

const PAUSE_FIRST_MS: u64 = 30_000;
const PAUSE_MAX_MS: u64 = 15 * 60_000;
/// Slurm's usual limit for an array is 1001.
const AT_ONCE_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: 0, max: 8, idle_ms: 60_000, trials_per_agent: None };

    fn at(ms: u64) -> Moment {
        Moment { ms, random: 0.5 }
    }

    fn job(id: &str, state: JobState) -> Job {
        let text = |text: &str| text.to_string();
        Job { id: text(id), state, name: text("s"), ran: text("0:01"), reason: text("None") }
    }

    fn seen(waiting: u64, leased: u64, jobs: &[(&str, JobState, Option<u64>)]) -> Seen {
        let agents = jobs.iter().filter_map(|(id, _, leased)| {
            leased.map(|leased| (agent_name(id), Agent { leased, lanes: 4 }))
        });
        let jobs = jobs.iter().map(|(id, state, _)| job(id, *state));
        Seen { waiting, leased, jobs: jobs.collect(), agents: agents.collect() }
    }

    fn cancel(id: &str, why: Why) -> Action {
        Action::Cancel { job: id.to_string(), why }
    }

    use JobState::{Ending, Pending, Running};

    #[test]
    fn as_many_are_submitted_as_the_waiting_trials_ask_for_within_the_limit() {
        let mut scaler = Scaler::new(LIMITS);
        assert_eq!(scaler.step(&seen(0, 0, &[]), at(0)), (vec![], None));
        let three = vec![Action::Submit { agents: 3 }];
        assert_eq!(scaler.step(&seen(3, 0, &[]), at(0)), (three, None));
        let eight = vec![Action::Submit { agents: 8 }];
        assert_eq!(scaler.step(&seen(500, 0, &[]), at(0)), (eight, None));
        let (jobs, rest) = ([("1_1", Running, Some(4)), ("1_2", Pending, None)], 6);
        let six = vec![Action::Submit { agents: rest }];
        assert_eq!(scaler.step(&seen(500, 4, &jobs), at(0)), (six, None));
    }

    #[test]
    fn an_agent_is_there_for_as_many_trials_as_it_trains_at_once() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(4))];
        let one = vec![Action::Submit { agents: 1 }];
        assert_eq!(scaler.step(&seen(4, 4, &jobs), at(0)), (one, None));
        let mut told = Scaler::new(Limits { trials_per_agent: Some(8), ..LIMITS });
        assert_eq!(told.step(&seen(4, 4, &jobs), at(0)), (vec![], None));
    }

    #[test]
    fn those_without_nodes_go_at_once_when_nothing_waits_for_them() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(2)), ("1_2", Pending, None), ("1_3", Pending, None)];
        let wanted = vec![cancel("1_3", Why::Surplus), cancel("1_2", Why::Surplus)];
        assert_eq!(scaler.step(&seen(0, 2, &jobs), at(0)), (wanted, None));
        let told = scaler.step(&seen(0, 2, &jobs), at(1));
        assert_eq!(told, (vec![], None), "nobody is told twice");
    }

    #[test]
    fn what_trains_is_kept_and_what_is_idle_for_long_goes() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(2)), ("1_2", Running, Some(0)), ("1_3", Running, None)];
        assert_eq!(scaler.step(&seen(0, 2, &jobs), at(0)), (vec![], None));
        assert_eq!(scaler.step(&seen(0, 2, &jobs), at(59_999)), (vec![], None));
        let wanted = vec![cancel("1_2", Why::Idle), cancel("1_3", Why::Idle)];
        assert_eq!(scaler.step(&seen(0, 2, &jobs), at(60_000)), (wanted, None));
        let left = [("1_1", Running, Some(2)), ("1_2", Ending, None)];
        assert_eq!(scaler.step(&seen(0, 2, &left), at(61_000)), (vec![], None));
    }

    #[test]
    fn one_that_trains_again_is_not_idle() {
        let mut scaler = Scaler::new(LIMITS);
        scaler.step(&seen(0, 0, &[("7", Running, Some(0))]), at(0));
        scaler.step(&seen(0, 1, &[("7", Running, Some(1))]), at(50_000));
        let jobs = [("7", Running, Some(0))];
        assert_eq!(scaler.step(&seen(0, 0, &jobs), at(70_000)), (vec![], None));
        let wanted = vec![cancel("7", Why::Idle)];
        assert_eq!(scaler.step(&seen(0, 0, &jobs), at(130_000)), (wanted, None));
    }

    #[test]
    fn the_least_number_stays() {
        let mut scaler = Scaler::new(Limits { min: 1, ..LIMITS });
        let jobs = [("1_1", Running, Some(0)), ("1_2", Running, Some(0))];
        scaler.step(&seen(0, 0, &jobs), at(0));
        let wanted = vec![cancel("1_1", Why::Idle)];
        assert_eq!(scaler.step(&seen(0, 0, &jobs), at(60_000)), (wanted, None));
        let rest = [("1_2", Running, Some(0))];
        assert_eq!(scaler.step(&seen(0, 0, &rest), at(200_000)), (vec![], None));
    }

    #[test]
    fn a_refused_submission_is_tried_again_later_and_smaller() {
        let mut scaler = Scaler::new(LIMITS);
        let (waiting, mut now, mut pauses, mut sizes) = (seen(500, 0, &[]), 0, vec![], vec![]);
        for _ in 0..7 {
            let (actions, _) = scaler.step(&waiting, at(now));
            let [Action::Submit { agents }] = actions[..] else { panic!("{actions:?}") };
            sizes.push(agents);
            scaler.rejected(at(now));
            let early = at(scaler.paused_until_ms() - 1);
            assert!(scaler.step(&waiting, early).0.is_empty());
            pauses.push(scaler.paused_until_ms() - now);
            now = scaler.paused_until_ms();
        }
        assert_eq!(sizes, [8, 4, 2, 1, 1, 1, 1]);
        let seconds = [30, 60, 120, 240, 480, 900, 900];
        assert_eq!(pauses, seconds.map(|seconds| seconds * 1_000));
        scaler.accepted();
        let (actions, _) = scaler.step(&waiting, at(now));
        assert_eq!(actions, [Action::Submit { agents: 2 }]);
    }

    #[test]
    fn pauses_are_spread() {
        let pause = |random| {
            let mut scaler = Scaler::new(LIMITS);
            scaler.rejected(Moment { ms: 0, random });
            scaler.paused_until_ms()
        };
        assert_eq!((pause(0.0), pause(0.999)), (15_000, 44_970));
    }

    #[test]
    fn jobs_that_end_before_they_join_are_not_poured_in_after_each_other() {
        let mut scaler = Scaler::new(LIMITS);
        scaler.step(&seen(1, 0, &[("1_1", Running, None)]), at(0));
        assert_eq!(scaler.step(&seen(1, 0, &[]), at(1)), (vec![], Some(Trouble::NeverJoined)));
        let again = scaler.step(&seen(1, 0, &[]), at(40_000));
        assert_eq!(again, (vec![Action::Submit { agents: 1 }], None));
        scaler.step(&seen(0, 1, &[("2_1", Running, Some(1))]), at(41_000));
        let after = scaler.step(&seen(1, 0, &[]), at(42_000));
        assert_eq!(after, (vec![Action::Submit { agents: 1 }], None), "it had trained");
    }

    #[test]
    fn agents_that_are_idle_although_trials_wait_are_not_replaced_at_once() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(0))];
        scaler.step(&seen(1, 0, &jobs), at(0));
        let wanted = vec![cancel("1_1", Why::Idle)];
        assert_eq!(scaler.step(&seen(1, 0, &jobs), at(60_000)), (wanted, Some(Trouble::Useless)));
        assert_eq!(scaler.step(&seen(1, 0, &[]), at(61_000)), (vec![], None));
        assert_eq!(scaler.paused_until_ms(), 90_000);
        // Nor does it help that the next one joins.
        scaler.step(&seen(1, 0, &[("2_1", Running, Some(0))]), at(100_000));
        let wanted = vec![cancel("2_1", Why::Idle)];
        let again = scaler.step(&seen(1, 0, &[("2_1", Running, Some(0))]), at(160_000));
        assert_eq!(again, (wanted, Some(Trouble::Useless)));
        assert_eq!(scaler.paused_until_ms(), 160_000 + 60_000, "longer each time");
    }

    #[test]
    fn trials_that_an_agent_has_ahead_ask_for_no_other_agent() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(8)), ("1_2", Running, Some(0))];
        assert_eq!(scaler.step(&seen(0, 8, &jobs), at(0)), (vec![], None));
        let wanted = vec![cancel("1_2", Why::Idle)];
        assert_eq!(scaler.step(&seen(0, 8, &jobs), at(60_000)), (wanted, None));
        assert_eq!(scaler.step(&seen(0, 8, &jobs[..1]), at(61_000)), (vec![], None));
    }

    #[test]
    fn what_the_queue_did_not_cancel_is_cancelled_again_and_counts_meanwhile() {
        let mut scaler = Scaler::new(LIMITS);
        let jobs = [("1_1", Running, Some(0))];
        scaler.step(&seen(0, 0, &jobs), at(0));
        let wanted = vec![cancel("1_1", Why::Idle)];
        assert_eq!(scaler.step(&seen(0, 0, &jobs), at(60_000)).0, wanted);
        scaler.not_cancelled(&["1_1".to_string()]);
        assert_eq!(scaler.step(&seen(0, 0, &jobs), at(61_000)).0, wanted);
    }
}
