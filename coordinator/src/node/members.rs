//! Who belongs to the cluster: admissions, and the leader's work on Raft's membership.
//!
//! The replicated state says which replicas there should be; the leader brings Raft's membership in
//! line, one change at a time: a new replica learns, votes when it has caught up, and one that was
//! removed is taken out. No change comes from anywhere else.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::ReplicaId;
use common::wire::message::peer::Standing;
use common::wire::message::{ReplicaRole, ReplicaStatus};

use super::io::Enrolment;
use super::{Asker, Join, Node, Now, Output, RequestId};
use crate::planted::planted;
use crate::replica::log::Change;
use crate::scheduler::command::{Admission, Command};
use crate::scheduler::{Applied, REPLICAS_MAX};

impl Node {
    pub(super) fn join(
        &mut self,
        id: RequestId,
        token_id: [u8; 6],
        secret_hash: [u8; 32],
        public_key: [u8; 32],
        now: Now,
    ) {
        if !self.soft.leading {
            let join = Join::Elsewhere(self.leadership());
            self.outputs.push(Output::Admission { id, public_key, join });
            return;
        }
        // A guessed token costs no entry of the log.
        let token = self.state.tokens.get(&token_id);
        let good =
            token.is_some_and(|token| token.secret_hash == secret_hash && now.wall < token.expires);
        if !good {
            self.counting.counts.refused += 1;
            self.outputs.push(Output::Admission { id, public_key, join: Join::Refused });
            return;
        }
        let admission = Admission { token_id, secret_hash, public_key, at: now.wall };
        self.propose(Command::Admit(admission), Asker::Join(id, public_key));
    }

    /// An admitted replica has come, or one that was here before says where it is now.
    pub(super) fn enrol(&mut self, id: RequestId, replica: ReplicaId, address: String, level: u16) {
        if !self.soft.leading {
            return self.enrol_elsewhere(id);
        }
        let why = match self.state.replicas.get(&replica) {
            None => Some("this replica was removed; join again with a new token".to_string()),
            Some(_) if level < self.state.level => Some(format!(
                "the cluster is at level {}, this program knows {level}; install the newer version",
                self.state.level
            )),
            Some(record) if record.address.as_deref() == Some(address.as_str()) => {
                return self.outputs.push(Output::Enrolled { id, enrolled: Ok(()) });
            }
            Some(_) => None,
        };
        match why {
            Some(why) => {
                let enrolled = Err(Enrolment::Refused { why });
                self.outputs.push(Output::Enrolled { id, enrolled });
            }
            None => {
                self.propose(Command::Place { replica, address }, Asker::Enrol(id, replica));
            }
        }
    }

    pub(super) fn enrol_elsewhere(&mut self, id: RequestId) {
        let enrolled = Err(Enrolment::Elsewhere(self.leadership()));
        self.outputs.push(Output::Enrolled { id, enrolled });
    }

    pub(super) fn enrolled(&mut self, id: RequestId, replica: ReplicaId, applied: &Applied) {
        let enrolled = match applied {
            Applied::ReplicaPlaced { replica: placed } if *placed == replica => Ok(()),
            _ => Err(Enrolment::Refused { why: "this replica was removed".to_string() }),
        };
        self.outputs.push(Output::Enrolled { id, enrolled });
    }

    /// The leader's housekeeping, at every tick.
    pub(super) fn tend_members(&mut self, now: Now) {
        self.follow_addresses();
        self.change_membership();
        self.raise_level(now);
        self.tell_digests(now);
    }

    /// A replica that was started elsewhere says so in its announcements.
    fn follow_addresses(&mut self) {
        let moved = self.peers.heard.iter().find_map(|(id, heard)| {
            let record = self.state.replicas.get(id)?;
            let address = &heard.said.address;
            let other = record.address.as_ref().is_some_and(|known| known != address);
            (other && !address.is_empty()).then(|| (*id, address.clone()))
        });
        let own = self.replica.id();
        let address = &self.peers.own.address;
        let known = self.state.replicas.get(&own).map(|record| record.address.as_ref());
        let own_moved = known.is_some_and(|known| known != Some(address)) && !address.is_empty();
        let moved = moved.or_else(|| own_moved.then(|| (own, address.clone())));
        if let Some((replica, address)) = moved
            && self.may_change()
        {
            self.soft.change_until = self.replica.last_index() + 1;
            self.propose(Command::Place { replica, address }, Asker::Nobody);
        }
    }

    /// Whether the last change has come to an end.
    fn may_change(&self) -> bool {
        self.state.applied >= self.soft.change_until
    }

    fn change_membership(&mut self) {
        if !self.may_change() {
            return;
        }
        let Some(change) = self.next_change() else { return };
        if change.replica == self.replica.id() {
            // Another one takes this leader out.
            return self.hand_over();
        }
        self.soft.change_until = self.replica.last_index() + 1;
        if let Err(error) = self.replica.propose_change(change) {
            tracing::debug!(%error, "a change of the membership was not proposed");
        }
    }

    fn next_change(&self) -> Option<Change> {
        let voters = self.replica.voters();
        let numbers = voters.voters.iter().chain(&voters.learners);
        let members = numbers.filter_map(|n| std::num::NonZeroU64::new(*n).map(ReplicaId));
        let wanted = |id: &ReplicaId| self.state.replicas.contains_key(id);
        let mut gone: Vec<ReplicaId> = members.filter(|id| !wanted(id)).collect();
        // This leader itself goes last.
        gone.sort_by_key(|id| *id == self.replica.id());
        let come = self.state.replicas.iter().find_map(|(id, record)| {
            let new = voters.standing(*id) == Standing::Gone && record.address.is_some();
            new.then_some(Change { replica: *id, to: Standing::Learner })
        });
        let caught_up = self.state.replicas.keys().find_map(|id| {
            let learns = voters.standing(*id) == Standing::Learner;
            (learns && self.has_caught_up(*id))
                .then_some(Change { replica: *id, to: Standing::Voter })
        });
        // One that was removed is kept until it is not needed: another voter may have died since.
        let spared = gone.iter().find(|id| self.can_spare(**id));
        let first_gone = spared.map(|id| Change { replica: *id, to: Standing::Gone });
        match first_gone {
            Some(change) if change.replica != self.replica.id() => Some(change),
            own => come.or(caught_up).or(own),
        }
    }

    /// A vote is given to who has what the others have, and has said so: with one that never came the
    /// cluster would have no majority.
    fn has_caught_up(&self, id: ReplicaId) -> bool {
        self.replica.follower(id).is_some_and(|follower| {
            let lag = self.replica.last_index().saturating_sub(follower.matched);
            // Raft takes a new one for active; of one that never answered nothing is known. Where the
            // log is short it would vote, and be needed for a majority, before it was ever here.
            let spoke = follower.matched > 0 || planted!(self.settings.planted, Unheard);
            let speaks = spoke && follower.is_active;
            speaks && !follower.in_snapshot && lag <= CAUGHT_UP_LAG
        })
    }

    /// Lets the voter that is closest take over.
    pub(super) fn hand_over(&mut self) {
        let others = self.replica.voters().voters;
        let others = others.iter().filter_map(|n| std::num::NonZeroU64::new(*n).map(ReplicaId));
        let heir = others
            .filter(|id| *id != self.replica.id() && self.state.replicas.contains_key(id))
            .filter_map(|id| Some((self.replica.follower(id)?, id)))
            .filter(|(follower, _)| follower.is_active)
            .max_by_key(|(follower, _)| follower.matched);
        if let Some((_, heir)) = heir {
            self.replica.hand_over(heir);
        }
    }

    /// When every replica's program knows more kinds of entries, they may be used; one that was removed
    /// counts for as long as the log is sent to it.
    fn raise_level(&mut self, now: Now) {
        let others = self.others();
        let levels = others.iter().map(|id| {
            let heard = self.peers.heard.get(id)?;
            (now.mono.since_ms(heard.at) < HEARD_GOOD_MS).then_some(heard.said.level)
        });
        let Some(least) =
            levels.chain([Some(self.settings.level)]).min().flatten().filter(|_| self.may_raise())
        else {
            return;
        };
        if least > self.state.level {
            self.soft.level_until = self.replica.last_index() + 1;
            self.propose(Command::RaiseLevel { level: least }, Asker::Nobody);
        }
    }

    fn may_raise(&self) -> bool {
        self.state.applied >= self.soft.level_until
    }

    /// Which replicas may not use entries of this level: their programs are too old, or are held at an
    /// older one.
    pub(super) fn held_back_by(&self, needed: u16) -> String {
        let old = self.state.replicas.keys().filter(|id| {
            let level = match self.peers.heard.get(id) {
                Some(heard) => heard.said.level,
                None if **id == self.replica.id() => self.settings.level,
                None => 0,
            };
            level < needed
        });
        let names: Vec<String> = old.map(ReplicaId::to_string).collect();
        if names.is_empty() {
            return "every replica does now; try again in a moment".to_string();
        }
        format!("upgrade {0}, or start {0} without --level", names.join(", "))
    }

    pub(super) fn room_for_a_replica(&self) -> Result<(), String> {
        if self.state.replicas.len() >= REPLICAS_MAX {
            return Err(format!(
                "there are {REPLICAS_MAX} replicas, which is the most; remove one first"
            ));
        }
        Ok(())
    }

    /// Whether the cluster could go on without this replica.
    pub(super) fn could_remove(&self, replica: ReplicaId) -> Result<(), String> {
        let voters = self.replica.voters();
        if voters.standing(replica) != Standing::Voter {
            return Ok(());
        }
        let rest: Vec<ReplicaId> = voters
            .voters
            .iter()
            .filter_map(|n| std::num::NonZeroU64::new(*n).map(ReplicaId))
            .filter(|id| *id != replica && self.state.replicas.contains_key(id))
            .collect();
        if !self.has_live_majority(&rest) {
            return Err(format!(
                "without {replica} the {} that are left would have no majority that is up; start \
                 or add replicas first",
                rest.len()
            ));
        }
        Ok(())
    }

    /// Whether the voters that would be left decide without this one.
    fn can_spare(&self, replica: ReplicaId) -> bool {
        let voters = self.replica.voters();
        let rest = voters.voters.iter().filter_map(|n| std::num::NonZeroU64::new(*n));
        let rest: Vec<ReplicaId> = rest.map(ReplicaId).filter(|id| *id != replica).collect();
        voters.standing(replica) != Standing::Voter || self.has_live_majority(&rest)
    }

    fn has_live_majority(&self, voters: &[ReplicaId]) -> bool {
        let own = self.replica.id();
        let active = |id: &&ReplicaId| {
            **id == own || self.replica.follower(**id).is_some_and(|follower| follower.is_active)
        };
        2 * voters.iter().filter(active).count() > voters.len()
    }

    pub(super) fn replicas(&self, now: Now) -> Vec<ReplicaStatus> {
        let mut all = self.others();
        all.push(self.replica.id());
        all.sort_unstable();
        let commit = self.replica.commit();
        let highest = self.peers.heard.values().map(|heard| heard.said.commit);
        let highest = highest.chain([commit]).max().unwrap_or_default();
        all.into_iter().map(|id| self.replica_status(id, highest, now)).collect()
    }

    fn replica_status(&self, id: ReplicaId, highest: u64, now: Now) -> ReplicaStatus {
        let own = id == self.replica.id();
        let heard = self.peers.heard.get(&id);
        let said = match heard {
            _ if own => Some(self.announcement(now)),
            heard => heard.map(|heard| heard.said.clone()),
        };
        let standing = self.replica.voters().standing(id);
        let role = match standing {
            _ if !self.state.replicas.contains_key(&id) => ReplicaRole::Leaving,
            Standing::Gone => ReplicaRole::Joining,
            Standing::Learner => ReplicaRole::Learner,
            Standing::Voter if self.replica.leader() == Some(id) => ReplicaRole::Leader,
            Standing::Voter => ReplicaRole::Follower,
        };
        ReplicaStatus {
            replica: id,
            address: self.state.address_of(id),
            role,
            term: said.as_ref().map_or(0, |said| said.term),
            commit: said.as_ref().map_or(0, |said| said.commit),
            lag: highest.saturating_sub(said.as_ref().map_or(0, |said| said.commit)),
            disk_free: said.as_ref().and_then(|said| said.disk_free),
            version: said.as_ref().map(|said| said.version.clone()).unwrap_or_default(),
            clock: said.as_ref().map(|said| said.clock),
            silent_ms: match heard {
                _ if own => Some(0),
                heard => heard.map(|heard| now.mono.since_ms(heard.at)),
            },
        }
    }

    /// Whether this peer may speak. One that was removed must be heard until it is out of Raft's
    /// membership: its vote may be needed for that. One that came while this replica was away may lead.
    pub fn knows_replica(&self, id: ReplicaId) -> bool {
        self.state.replicas.contains_key(&id)
            || self.replica.voters().standing(id) != Standing::Gone
            || self.replica.kept_voters().standing(id) != Standing::Gone
            || self.is_newer(id)
    }

    /// Whether the number was given out after what this replica has applied.
    pub(super) fn is_newer(&self, id: ReplicaId) -> bool {
        let known = planted!(self.settings.planted, Stranger) && self.state.level > 0;
        id.0.get() >= self.state.next_replica && !known
    }

    /// Where the others are reached, as far as it is known.
    pub fn addresses_of_others(&self) -> BTreeMap<ReplicaId, String> {
        let newer = self.peers.heard.iter().filter(|(id, _)| self.is_newer(**id));
        let newer = newer.map(|(id, heard)| (*id, heard.said.address.clone()));
        let known = self.state.replicas.iter();
        let known = known.filter_map(|(id, record)| Some((*id, record.address.clone()?)));
        let mut all: BTreeMap<ReplicaId, String> = newer.chain(known).collect();
        all.remove(&self.replica.id());
        all
    }

    /// Who decides when this replica, which was removed, is no longer needed: the voters that are left.
    /// `None` while it belongs to the cluster.
    ///
    /// It goes when most of them refuse it, not before: one that has not written down yet that the
    /// removal is decided may need this replica's vote after a crash.
    pub fn left_to(&self) -> Option<Vec<ReplicaId>> {
        let own = self.replica.id();
        if self.state.level == 0 || self.state.replicas.contains_key(&own) || self.is_newer(own) {
            return None;
        }
        let voters = self.replica.voters().voters;
        let rest = voters.iter().filter_map(|n| std::num::NonZeroU64::new(*n).map(ReplicaId));
        Some(rest.filter(|id| *id != own).collect())
    }
}

/// Entries that a learner may lack when it becomes a voter: it has them a moment later.
pub(super) const CAUGHT_UP_LAG: u64 = 200;
/// What a replica said of itself is believed so long.
pub(super) const HEARD_GOOD_MS: u64 = 5_000;
