//! How a coordinator is, in numbers, for whoever watches it from outside; and whether it is of use.
//!
//! Numbers are read between two turns and change nothing. No name of an agent or number of a trial is
//! among them, so that there is a bound on how many there are.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::StudyId;
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::message::peer::Standing;
use common::wire::message::{Role, StudyState, StudyStatus};

use super::counts::Counts;
use super::members::{CAUGHT_UP_LAG, HEARD_GOOD_MS};
use super::{Node, Now, Room};

/// One look at a node.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub role: Part,
    pub leader_known: bool,
    /// Why nobody should be sent here; `None`: it has caught up and knows a leader.
    pub unready: Option<String>,
    pub term: u64,
    pub commit: u64,
    pub applied: u64,
    /// Entries that others are known to have and this replica has not applied.
    pub lag: u64,
    /// Of the cluster, and the newest of this program or the one that it is held at.
    pub level: u16,
    pub own_level: u16,
    /// Replicas of the cluster, this one among them, and those not heard of lately.
    pub replicas: u64,
    pub silent: u64,
    /// The log that is kept, and bytes of what was applied since the last snapshot.
    pub log_entries: u64,
    pub log_bytes: u64,
    pub snapshot_index: u64,
    pub disk_free: Option<u64>,
    pub room: Room,
    pub studies: BTreeMap<&'static str, u64>,
    /// Of all studies, by state.
    pub trials: BTreeMap<&'static str, u64>,
    /// Studies that go on, the newest first, and no more than [`STUDIES_MAX`].
    pub named: Vec<StudyStatus>,
    /// Attempts without an outcome, and outcomes that came again and differed.
    pub failures: BTreeMap<FailReason, u64>,
    pub differing: u64,
    pub agents: Agents,
    /// Cohorts that agents train, and those trials.
    pub leases: u64,
    pub leased: u64,
    pub tokens: u64,
    pub operators: u64,
    pub counts: Counts,
}

/// A replica's part in the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Leader,
    Follower,
    /// Catches up before it may vote, or is not yet or no longer a member.
    Learner,
}

/// What the leader knows of agents; elsewhere only how many were admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agents {
    pub admitted: u64,
    pub connected: u64,
    pub set_aside: u64,
    pub lanes: u64,
    pub offered: u64,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Leader, Part::Follower, Part::Learner];

    pub fn name(self) -> &'static str {
        match self {
            Part::Leader => "leader",
            Part::Follower => "follower",
            Part::Learner => "learner",
        }
    }
}

impl Node {
    /// One group of entries is on the disk, and that took so long.
    pub fn disk_took(&mut self, us: u64) {
        self.counting.counts.disk.add(us);
    }

    pub fn numbers(&self) -> Numbers {
        // A tick ago at most.
        let now = Now { mono: self.last_tick(), wall: Timestamp(0) };
        let state = &self.state;
        let statuses = self.statuses(now);
        let members = |role| state.members.values().filter(|m| m.role == role).count() as u64;
        let records = || state.studies.values();
        let mut failures: BTreeMap<FailReason, u64> = BTreeMap::new();
        for (reason, count) in records().flat_map(|record| &record.failures) {
            *failures.entry(*reason).or_default() += count;
        }
        Numbers {
            role: self.part(),
            leader_known: self.replica.leader().is_some(),
            unready: self.unready(),
            term: self.replica.term(),
            commit: self.replica.commit(),
            applied: state.applied,
            lag: self.lag(),
            level: state.level,
            own_level: self.settings.level,
            replicas: state.replicas.len() as u64,
            silent: self.silent(now),
            log_entries: self.replica.log_length(),
            log_bytes: self.log_bytes as u64,
            snapshot_index: self.snapshot_index,
            disk_free: self.peers.own.disk_free,
            room: self.room.clone(),
            studies: by_state(&statuses),
            trials: trials(&statuses),
            failures,
            differing: records().map(|record| record.differing).sum(),
            named: named(statuses),
            agents: self.agents_counted(members(Role::Agent)),
            leases: self.soft.leases.all().count() as u64,
            leased: self.soft.leases.all().map(|(_, lease)| lease.trials.len() as u64).sum(),
            tokens: state.tokens.len() as u64,
            operators: members(Role::Operator),
            counts: self.counting.counts.clone(),
        }
    }

    /// Why nobody should be sent to this replica: it has not caught up, or knows no leader.
    pub fn unready(&self) -> Option<String> {
        if self.state.level == 0 {
            return Some("this replica waits for its first snapshot from the leader".into());
        }
        if self.part() == Part::Learner {
            return Some("this replica is no voter: it catches up, or was removed".into());
        }
        let Some(leader) = self.replica.leader() else {
            return Some(
                "no leader is known: a majority of the replicas must reach each other".into(),
            );
        };
        if leader == self.replica.id() && !self.soft.leading {
            return Some("this replica was elected and has not begun to lead".into());
        }
        let lag = self.lag();
        let behind = lag > CAUGHT_UP_LAG;
        behind.then(|| format!("this replica catches up: it lacks {lag} entries of the log"))
    }

    fn part(&self) -> Part {
        match self.replica.voters().standing(self.replica.id()) {
            _ if self.replica.is_leader() => Part::Leader,
            Standing::Voter => Part::Follower,
            Standing::Learner | Standing::Gone => Part::Learner,
        }
    }

    fn lag(&self) -> u64 {
        let now = self.last_tick();
        let heard = self.peers.heard.values();
        let lately = heard.filter(|heard| now.since_ms(heard.at) < HEARD_GOOD_MS);
        let highest = lately.map(|heard| heard.said.commit).max().unwrap_or_default();
        highest.max(self.replica.commit()).saturating_sub(self.state.applied)
    }

    fn silent(&self, now: Now) -> u64 {
        let others = self.state.replicas.keys().filter(|id| **id != self.replica.id());
        let heard = |id| {
            let heard = self.peers.heard.get(id);
            heard.is_some_and(|heard| now.mono.since_ms(heard.at) < HEARD_GOOD_MS)
        };
        others.filter(|id| !heard(id)).count() as u64
    }

    fn agents_counted(&self, admitted: u64) -> Agents {
        let registered = || self.sessions.values().filter(|session| session.about.is_some());
        let aside = |member| self.health_of(member).is_some_and(|h| h.set_aside.is_some());
        let lanes = |session: &super::agents::Session| u64::from(super::grants::lanes(session).0);
        Agents {
            admitted,
            connected: registered().count() as u64,
            set_aside: registered().filter(|session| aside(session.member)).count() as u64,
            lanes: registered().map(lanes).sum(),
            offered: registered().map(|session| u64::from(session.offered)).sum(),
        }
    }
}

fn by_state(statuses: &[StudyStatus]) -> BTreeMap<&'static str, u64> {
    let states =
        [StudyState::Active, StudyState::Paused, StudyState::Finished, StudyState::Cancelled];
    let count = |state| statuses.iter().filter(|status| status.state == state).count() as u64;
    states.into_iter().map(|state| (state_name(state), count(state))).collect()
}

pub fn state_name(state: StudyState) -> &'static str {
    match state {
        StudyState::Active => "active",
        StudyState::Paused => "paused",
        StudyState::Finished => "finished",
        StudyState::Cancelled => "cancelled",
    }
}

/// Trials of one study by state, as its status says.
pub fn trials_of(status: &StudyStatus) -> [(&'static str, u64); 5] {
    [
        ("waiting", status.waiting),
        ("leased", status.leased),
        ("complete", status.complete),
        ("failed", status.failed),
        ("cancelled", status.cancelled),
    ]
}

fn trials(statuses: &[StudyStatus]) -> BTreeMap<&'static str, u64> {
    let none = ["waiting", "leased", "complete", "failed", "cancelled"].map(|state| (state, 0));
    let mut all = BTreeMap::from(none);
    for (state, count) in statuses.iter().flat_map(trials_of) {
        *all.entry(state).or_default() += count;
    }
    all
}

fn named(mut statuses: Vec<StudyStatus>) -> Vec<StudyStatus> {
    statuses.retain(|status| status.state.goes_on());
    let newest = |status: &StudyStatus| (std::cmp::Reverse(status.submitted), status.id);
    statuses.sort_by_key(|status| -> (_, StudyId) { newest(status) });
    statuses.truncate(STUDIES_MAX);
    statuses
}

/// Studies that have numbers of their own.
pub const STUDIES_MAX: usize = 50;
