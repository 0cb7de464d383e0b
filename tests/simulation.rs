//! A whole cluster in one thread: the pure nodes and sessions over a virtual clock, network and disks,
//! all of it drawn from one seed.
//!
//! The cores are the ones that ship. What is played here is what drivers do: queues, disks, streams,
//! processes that die at every point between persisting, applying and sending. After every step the
//! invariants look at what happened. In the end everything is healed, and the studies must finish. A
//! schedule that fails is made shorter and told with the command that plays it again.
//!
//! Floor: wiring.

mod agents;
mod disk;
mod drives;
mod invariants;
mod leaving;
mod network;
mod operators;
pub mod plan;
mod replicas;
mod rng;
pub mod shrink;
mod streams;
pub mod sweep;
mod world;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use plan::{Bug, Plan};
use world::World;

/// What one schedule did, when nothing was wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    pub virtual_ms: u64,
    pub steps: u64,
    pub messages: u64,
    pub entries: u64,
    pub crashes: u64,
    pub elections: u64,
    pub snapshots: u64,
    pub memberships: u64,
    pub trials: u64,
    /// Trainings beyond one a trial.
    pub again: u64,
    /// Complete trials that were trained again because an operator asked for it.
    pub repeats: u64,
    pub answers: u64,
    /// Equal for equal schedules.
    pub trace: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.virtual_ms += other.virtual_ms;
        self.steps += other.steps;
        self.messages += other.messages;
        self.entries += other.entries;
        self.crashes += other.crashes;
        self.elections += other.elections;
        self.snapshots += other.snapshots;
        self.memberships += other.memberships;
        self.trials += other.trials;
        self.again += other.again;
        self.repeats += other.repeats;
        self.answers += other.answers;
        // Whatever the order in which they were played.
        self.trace = self.trace.wrapping_add(other.trace);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_ms as f64 / 3_600_000.0;
        let Self { steps, messages, entries, crashes, elections, snapshots, .. } = self;
        let Self { memberships, trials, again, repeats, answers, trace, .. } = self;
        write!(
            f,
            "{hours:.1} virtual hours, {steps} steps, {messages} messages, {entries} entries written, \
             {crashes} crashes, {elections} elections, {snapshots} snapshots installed, \
             {memberships} changes of the membership, {trials} trials and {again} trainings beyond \
             one a trial, {repeats} of complete ones to compare, {answers} answers; trace {trace:016x}"
        )
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    pub seed: u64,
    /// Virtual milliseconds.
    pub at: u64,
    pub rule: String,
    pub what: String,
    /// What happened before, where it was asked for.
    pub transcript: Vec<String>,
}

/// Plays the schedule of a seed.
pub fn play(seed: u64, bug: Option<Bug>) -> Result<Figures, Box<Violation>> {
    play_plan(&Plan::of(seed, bug), false)
}

/// Plays a schedule, with what happens in it told when it is asked for.
pub fn play_plan(plan: &Plan, told: bool) -> Result<Figures, Box<Violation>> {
    silence();
    let mut world = World::new(plan.clone(), told);
    PLAYS.set(true);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    PLAYS.set(false);
    let (rule, what) = match played {
        Ok(Ok(figures)) => return Ok(figures),
        Ok(Err(broken)) => (broken.rule, broken.what),
        // Assertions of the cores hold in the release too: breaking one stops the process.
        Err(panic) => ("no assertion fails".to_string(), words_of(panic.as_ref())),
    };
    let (at, transcript) = world.ended();
    Err(Box::new(Violation { seed: plan.seed, at, rule, what, transcript }))
}

thread_local! {
    /// Whether a schedule is played on this thread.
    static PLAYS: Cell<bool> = const { Cell::new(false) };
}

/// A broken assertion of a schedule is told as a violation, not as a panic.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !PLAYS.get() {
                usual(info);
            }
        }));
    });
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_string())
}
