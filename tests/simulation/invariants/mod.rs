//! The rules that must hold after every step, one file each.
//!
//! Floor: wiring.

mod acknowledged;
mod agree;
mod bought;
mod choices;
mod commands;
mod failures;
mod forgotten;
mod full;
mod leases;
mod looks;
mod never_back;
mod outcome_once;
mod repeats;
mod report;
mod terms;
mod waste;

use common::id::{LeaseId, MemberId, ReplicaId};
use common::time::Timestamp;
use common::trial::{Attempt, Report};
use common::wire::message::peer::PeerMessage;
use common::wire::message::{Answer, ToAgent};
use coordinator::disk::RowChange;
use coordinator::node::Node;
use coordinator::replica::log::Recovered;

use super::disk::Rows;
use super::operators::Task;
use super::plan::Plan;
use super::world::World;

/// A rule that was broken, and how.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: String,
    pub what: String,
}

/// Something that happened.
pub enum Seen<'a> {
    Started {
        replica: ReplicaId,
    },
    /// A commit is on the disk.
    Persisted {
        replica: ReplicaId,
        recovered: &'a Recovered,
    },
    /// A leader's snapshot took the place of what a replica had.
    Installed {
        replica: ReplicaId,
        rows: &'a Rows,
        node: &'a Node,
    },
    /// Entries may have been applied.
    Applied {
        replica: ReplicaId,
        node: &'a Node,
    },
    /// A leader has done what there was to do.
    Leads {
        replica: ReplicaId,
        node: &'a Node,
        mono: Timestamp,
    },
    /// A turn is over, and all that it puts out is out.
    Turned {
        replica: ReplicaId,
    },
    ToAgent {
        replica: ReplicaId,
        node: &'a Node,
        message: &'a ToAgent,
    },
    ToPeer {
        replica: ReplicaId,
        message: &'a PeerMessage,
    },
    /// An outcome's row is kept or dropped.
    Row {
        replica: ReplicaId,
        change: &'a RowChange,
    },
    /// An answer leaves a replica.
    Answers {
        answer: &'a Answer,
    },
    Asks {
        operator: usize,
        first: bool,
    },
    /// An answer is believed; `seen` are the entries that this operator had seen before.
    Answered {
        operator: usize,
        task: &'a Task,
        answer: &'a Answer,
        seen: u64,
    },
    Room {
        replica: ReplicaId,
        is_full: bool,
    },
    /// A report is durable on its agent.
    Spooled {
        report: &'a Report,
    },
    Trains {
        agent: MemberId,
        attempt: Attempt,
    },
    /// An agent is made to stop what it trains.
    Stopped {
        lease: LeaseId,
    },
}

/// A rule over everything that happens.
trait Invariant {
    /// The rule in words.
    const RULE: &'static str;

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;

    /// Looks once more when everything is at rest.
    fn at_rest(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}

macro_rules! watch {
    ($($name:ident: $kind:ty,)*) => {
        /// All rules.
        pub struct Watch {
            $($name: $kind,)*
        }

        impl Watch {
            pub fn new(plan: &Plan) -> Self {
                Self { $($name: <$kind>::new(plan),)* }
            }

            pub fn see(&mut self, seen: &Seen<'_>) -> Result<(), Broken> {
                $(broken::<$kind>(self.$name.see(seen))?;)*
                Ok(())
            }

            fn at_rest(&mut self, world: &World) -> Result<(), Broken> {
                $(broken::<$kind>(self.$name.at_rest(world))?;)*
                Ok(())
            }
        }
    };
}

watch! {
    outcome_once: outcome_once::OutcomeOnce,
    acknowledged: acknowledged::Acknowledged,
    forgotten: forgotten::NothingForgotten,
    agree: agree::ReplicasAgree,
    terms: terms::TermsAndCommits,
    leases: leases::OneHolder,
    failures: failures::FailuresCounted,
    never_back: never_back::NeverBack,
    report: report::ReportIsPure,
    waste: waste::NoWaste,
    commands: commands::CommandsOnce,
    full: full::FullDiskGrantsNothing,
    looks: looks::LooksCounted,
    repeats: repeats::RepeatsAgree,
    choices: choices::ChosenOnce,
    bought: bought::BoughtOnce,
}

fn broken<I: Invariant>(result: Result<(), String>) -> Result<(), Broken> {
    result.map_err(|what| Broken { rule: I::RULE.to_string(), what })
}

impl World {
    /// All rules once more, now that everything is at rest.
    pub fn check_at_rest(&mut self) -> Result<(), Broken> {
        // The rules look at the world, of which they are a part.
        let mut watch = std::mem::replace(&mut self.watch, Watch::new(&self.plan));
        let checked = watch.at_rest(self);
        self.figures.again = watch.waste.again();
        self.figures.repeats = watch.repeats.ended();
        self.figures.elections = watch.terms.elections();
        self.figures.memberships = watch.agree.memberships();
        self.figures.trials = self.studies.iter().map(|_| 0).sum::<u64>() + watch.waste.trials();
        checked
    }
}
