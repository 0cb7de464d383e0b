//! The rest of what a driver does for a node: the disk, what leaves, snapshots, admissions; and how its
//! process goes wrong.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::rc::Rc;

use common::id::ReplicaId;
use common::wire::message::peer::PeerMessage;
use common::wire::message::{Answer, ToAgent};
use coordinator::disk::RowChange;
use coordinator::node::{Enrolment, Join, NodeError, Output, Room};
use coordinator::replica::log::{Persist, Source};

use super::disk::Disk;
use super::invariants::{Broken, Seen};
use super::network::Machine;
use super::operators::Task;
use super::plan::{Bug, Point};
use super::replicas::{Asker, Image, Inbound, Joining, Replica};
use super::world::{Event, World};

impl World {
    /// Writes a commit; returns how long it took.
    pub(super) fn persists(&mut self, place: usize, persist: &Persist) -> Result<u64, Broken> {
        if persist.is_empty() {
            return Ok(0);
        }
        let replica = &self.replicas[place];
        let members = replica.process.as_ref().map(|process| process.node.replica().voters());
        let changed = members.is_some_and(|members| members != replica.members_then);
        if self.dies(place, Point::BeforeWrite) || (changed && self.dies(place, Point::Changed)) {
            return Ok(0);
        }
        let in_write =
            self.replicas[place].crash_at.map(|(point, _)| point) == Some(Point::InWrite);
        if in_write && self.rng.chance(500) {
            self.dies(place, Point::InWrite);
            return Ok(0);
        }
        let replica = &mut self.replicas[place];
        let Some(process) = &mut replica.process else { return Ok(0) };
        let source = persist.snapshot.as_ref().map(|save| save.source);
        if source == Some(Source::Leader) {
            process.staged.clear();
        }
        let staged = std::mem::take(&mut process.staged);
        replica.disk.commit(persist, &staged);
        if let (Some(Source::Own { offered: true, .. }), Some(save)) = (source, &persist.snapshot) {
            let (index, state) = (save.record.meta.index, save.record.state.clone());
            let rows = replica.disk.rows.clone();
            process.image = Some(Rc::new(Image { index, state, rows }));
        }
        self.figures.snapshots += u64::from(source == Some(Source::Leader));
        self.figures.entries += persist.entries.len() as u64;
        let replica = &self.replicas[place];
        let seen = Seen::Persisted { replica: replica.id, recovered: &replica.disk.recovered };
        self.watch.see(&seen)?;
        let (until, each) = replica.slow;
        let takes = if self.now < until { each } else { self.plan.ambient.disk_ms };
        let took = self.rng.below(takes + 1);
        if self.dies(place, Point::InWrite) || self.dies(place, Point::AfterWrite) {
            return Ok(0);
        }
        Ok(took)
    }

    /// What a turn changed, for the invariants.
    pub(super) fn observe(&mut self, place: usize) -> Result<(), Broken> {
        let replica = &self.replicas[place];
        let Some(process) = &replica.process else { return Ok(()) };
        let (replica, node) = (replica.id, &process.node);
        self.watch.see(&Seen::Applied { replica, node })
    }

    /// Sends what the node put out; returns how much it was.
    pub(super) fn puts_out(&mut self, place: usize, leaves: u64) -> Result<usize, Broken> {
        let Some(process) = &mut self.replicas[place].process else { return Ok(0) };
        let mut outputs = process.node.outputs();
        let count = outputs.len();
        let armed = self.replicas[place].crash_at.map(|(point, _)| point);
        let dies = armed == Some(Point::InSend) && count > 0;
        if dies {
            outputs.truncate(self.rng.below(count as u64) as usize);
        }
        for output in outputs {
            self.put_out(place, output, leaves)?;
            if self.replicas[place].process.is_none() {
                return Ok(0);
            }
        }
        if dies {
            self.dies(place, Point::InSend);
        }
        Ok(count)
    }

    fn put_out(&mut self, place: usize, output: Output, leaves: u64) -> Result<(), Broken> {
        let id = self.replicas[place].id;
        let Some(process) = &mut self.replicas[place].process else { return Ok(()) };
        match output {
            Output::ToAgent { session, message } => {
                let conn = process.sessions.get(&session).copied();
                let node = &process.node;
                self.watch.see(&Seen::ToAgent { replica: id, node, message: &message })?;
                if let Some(conn) = conn {
                    let agent = self.conns[conn].agent;
                    self.tell(|| format!("{id} tells agent {agent}: {}", in_short(&message)));
                    self.say_down(conn, message, leaves, false);
                }
            }
            Output::CloseAgent { session, last } => {
                if let Some(conn) = process.sessions.remove(&session) {
                    process.by_conn.remove(&conn);
                    self.conns[conn].replica_open = false;
                    self.say_down(conn, last, leaves, true);
                }
            }
            Output::Answer { id, answer } => {
                if let Some(Asker::Operator { operator, number }) = process.requests.remove(&id) {
                    self.send_answer(place, operator, number, answer, leaves)?;
                }
            }
            Output::Admission { id, join, .. } => {
                if let Some(Asker::Joining(joining)) = process.requests.remove(&id) {
                    self.admitted(joining, join);
                }
            }
            Output::Enrolled { id, enrolled } => {
                if let Some(Asker::Joining(joining)) = process.requests.remove(&id) {
                    self.enrolled(joining, enrolled);
                }
            }
            Output::ToPeer { to, message } => self.send_peer(place, to, message, leaves)?,
            Output::SendSnapshot { to, number, message } => {
                self.send_snapshot(place, (to, number), *message, leaves);
            }
            Output::Withdraw => process.image = None,
            Output::Keep { study, row } => {
                let change = RowChange::Keep(study, *row);
                self.see_row(place, &change)?;
            }
            Output::Drop { study, trial } => {
                let change = RowChange::Drop(study, trial);
                self.see_row(place, &change)?;
            }
            Output::Installed => {
                let rows = self.replicas[place].rows();
                if let Some(process) = &self.replicas[place].process {
                    let (replica, rows, node) = (id, &rows, &process.node);
                    self.watch.see(&Seen::Installed { replica, rows, node })?;
                }
            }
            // Whether they can still be had changes nothing of what is trained.
            Output::Unpark { .. } | Output::MemberRemoved { .. } | Output::MembersChanged => {}
        }
        Ok(())
    }

    /// A replica hears from another that it is none of the cluster, and goes when most of those that
    /// decide say so.
    pub(super) fn refused(&mut self, from: ReplicaId, by: ReplicaId) {
        let Some(place) = self.place_of(from) else { return };
        let Some(process) = &mut self.replicas[place].process else { return };
        process.refused_by.insert(by);
        let Some(left_to) = process.node.left_to() else { return };
        let refuse = left_to.iter().filter(|id| process.refused_by.contains(id)).count();
        if 2 * refuse > left_to.len() {
            self.tell(|| format!("{from} is removed"));
            self.kill(place);
            self.replicas[place].is_dead = true;
        }
    }

    fn see_row(&mut self, place: usize, change: &RowChange) -> Result<(), Broken> {
        let replica = &mut self.replicas[place];
        let Some(process) = &mut replica.process else { return Ok(()) };
        self.watch.see(&Seen::Row { replica: replica.id, change })?;
        process.staged.push(change.clone());
        Ok(())
    }

    fn send_answer(
        &mut self,
        place: usize,
        operator: usize,
        number: u64,
        answer: Answer,
        leaves: u64,
    ) -> Result<(), Broken> {
        self.watch.see(&Seen::Answers { answer: &answer })?;
        let (from, to) = (Machine::Replica(place), Machine::Operator(operator));
        for arrives in self.net.arrivals(from, to, leaves, &mut self.rng).into_iter().flatten() {
            let answer = Box::new(answer.clone());
            self.at(arrives, Event::Answered { operator, number, answer });
        }
        Ok(())
    }

    fn send_peer(
        &mut self,
        place: usize,
        to: ReplicaId,
        message: PeerMessage,
        leaves: u64,
    ) -> Result<(), Broken> {
        let from = self.replicas[place].id;
        self.tell(|| format!("{from} to {to}: {}", of_peer(&message)));
        self.watch.see(&Seen::ToPeer { replica: from, message: &message })?;
        let there = self.place_of(to).filter(|at| self.replicas[*at].process.is_some());
        let Some(there) = there else {
            if self.rng.chance(300) {
                self.inbound(place, Inbound::Unreachable { to });
            }
            return Ok(());
        };
        let (ends, message) =
            ((Machine::Replica(place), Machine::Replica(there)), Box::new(message));
        let [first, second] = self.net.arrivals(ends.0, ends.1, leaves, &mut self.rng);
        if let Some(arrives) = second {
            let message = message.clone();
            self.at(arrives, Event::Peer { to: there, from, message });
        }
        if let Some(arrives) = first {
            self.at(arrives, Event::Peer { to: there, from, message });
        }
        Ok(())
    }

    /// The process dies when it was to die at this point.
    pub(super) fn dies(&mut self, place: usize, point: Point) -> bool {
        match self.replicas[place].crash_at {
            Some((at, down_ms)) if at == point => {
                self.crash(place, down_ms);
                true
            }
            _ => false,
        }
    }

    fn crash(&mut self, place: usize, down_ms: u64) {
        let id = self.replicas[place].id;
        self.tell(|| format!("{id} dies"));
        self.figures.crashes += 1;
        self.kill(place);
        self.after(down_ms, Event::Start(place));
    }

    /// Ends the process; what it had not written is gone.
    fn kill(&mut self, place: usize) {
        let replica = &mut self.replicas[place];
        replica.crash_at = None;
        replica.process = None;
        replica.inbox.clear();
        replica.disk.crash();
        let run = replica.runs;
        for conn in 0..self.conns.len() {
            let ours = self.conns[conn].place == place && self.conns[conn].run == run;
            if ours && std::mem::take(&mut self.conns[conn].replica_open) {
                let notices = self.rng.within(10, 1_500);
                self.after(notices, Event::Lost(conn, super::agents::Way::ToAgent));
            }
        }
    }

    /// A node that cannot go on stops its process: nothing in a schedule is a reason for that.
    pub(super) fn stops(&mut self, place: usize, error: &NodeError) -> Result<(), Broken> {
        let id = self.replicas[place].id;
        Err(Broken {
            rule: "no replica stops by itself".to_string(),
            what: format!("{id} stopped: {error}"),
        })
    }

    pub(super) fn crash_at(&mut self, place: usize, point: Point, down_ms: u64) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        let Some(process) = &replica.process else { return };
        replica.members_then = process.node.replica().voters();
        replica.crash_at = Some((point, down_ms));
        self.dies(place, Point::Now);
    }

    pub(super) fn pause_replica(&mut self, place: usize, ms: u64) {
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.busy_until = replica.busy_until.max(self.now + ms);
        }
    }

    pub(super) fn slow_disk(&mut self, place: usize, ms: u64, each_ms: u64) {
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.slow = (self.now + ms, each_ms);
        }
    }

    pub(super) fn fill_disk(&mut self, place: usize, ms: u64) {
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.full = true;
            let why = "the disk is full".to_string();
            self.inbound(place, Inbound::Room(Room::OutcomesOnly { why }));
            self.after(ms, Event::DiskHasRoom(place));
        }
    }

    pub(super) fn disk_has_room(&mut self, place: usize) {
        self.replicas[place].full = false;
        self.inbound(place, Inbound::Room(Room::Plenty));
    }

    pub(super) fn move_clock(&mut self, place: usize, by_ms: i64) {
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.wall_offset += by_ms;
        }
    }

    /// A disk is lost, where the others can go on without it.
    pub(super) fn wipe(&mut self, place: usize) {
        let Some(replica) = self.replicas.get(place) else { return };
        let (id, number) = (replica.id, replica.id.0.get());
        let steady = self.joining.iter().all(|joining| joining.is_over)
            && self.replicas.iter().all(|replica| !replica.is_dead)
            && !self.operators[0].removes();
        // Where a change of the membership is under way, another one may have been lost already.
        let mut memberships = self.replicas.iter().map(|replica| {
            let node = &replica.process.as_ref()?.node;
            let wanted: BTreeSet<u64> = node.state().replicas.keys().map(|id| id.0.get()).collect();
            let members = node.replica().voters();
            let voters: BTreeSet<u64> = members.voters.into_iter().collect();
            (members.learners.is_empty() && voters == wanted).then_some(voters)
        });
        let first = memberships.next().flatten();
        let same = memberships.all(|voters| voters == first);
        let voters = first.unwrap_or_default();
        if !steady || !same || voters.len() < 3 || !voters.contains(&number) {
            return;
        }
        self.tell(|| format!("{id} loses its disk"));
        self.kill(place);
        if self.plan.bug == Some(Bug::WipedRejoins) {
            self.replicas[place].disk = Disk::new(Default::default(), self.plan.bug);
            let down = self.rng.within(50, 500);
            self.after(down, Event::Start(place));
            return;
        }
        self.replicas[place].is_dead = true;
        self.operators[0].tasks.push_back(Task::Remove(id));
        self.begin_join();
    }

    pub(super) fn upgrade(&mut self, place: usize) {
        if let Some(replica) = self.replicas.get_mut(place)
            && replica.level < coordinator::scheduler::command::LEVEL
        {
            replica.level = coordinator::scheduler::command::LEVEL;
            if replica.process.is_some() {
                let down = self.rng.within(50, 500);
                self.crash(place, down);
            }
        }
    }

    pub(super) fn heal_replicas(&mut self) {
        for place in 0..self.replicas.len() {
            let replica = &mut self.replicas[place];
            replica.crash_at = None;
            replica.slow = (0, 0);
            if replica.full {
                self.disk_has_room(place);
            }
            if self.replicas[place].process.is_none() {
                self.after(1, Event::Start(place));
            } else if !self.replicas[place].inbox.is_empty() {
                self.after(1, Event::Wake(place));
            }
        }
    }

    pub(super) fn begin_join(&mut self) {
        let (key, target) = (self.joining.len() as u8, self.rng.below(self.plan.replicas as u64));
        self.joining.push(Joining { key, target: target as usize, id: None, is_over: false });
        self.after(1, Event::Join(usize::from(key)));
    }

    /// Asks to be let in, again and again: for a number, then for its place in the cluster.
    pub(super) fn joins(&mut self, number: usize) {
        let Joining { target, id, is_over, .. } = self.joining[number];
        if is_over || (self.is_healed && id.is_none()) {
            self.joining[number].is_over = true;
            return;
        }
        let again = self.rng.within(200, 600);
        self.after(again, Event::Join(number));
        self.joining[number].target = self.rng.below(self.replicas.len() as u64) as usize;
        self.inbound(
            target,
            match id {
                None => Inbound::Join { joining: number },
                Some(_) => Inbound::Enrol { joining: number },
            },
        );
    }

    fn admitted(&mut self, number: usize, join: Join) {
        // An answer can be lost: then the same key asks again and is the same replica.
        if self.rng.chance(200) && !self.is_healed {
            return;
        }
        match join {
            Join::Admitted(admitted) => {
                let id = std::num::NonZeroU64::new(admitted.number).map(ReplicaId);
                if self.joining[number].id.is_none() {
                    self.joining[number].id = id;
                }
            }
            Join::Refused => self.joining[number].is_over = true,
            Join::Elsewhere(leadership) => self.turns(number, leadership.leader.as_deref()),
        }
    }

    fn turns(&mut self, number: usize, leader: Option<&str>) {
        if let Some(place) = leader.and_then(|address| self.place_at(address)) {
            self.joining[number].target = place;
        }
    }

    fn enrolled(&mut self, number: usize, enrolled: Result<(), Enrolment>) {
        if self.rng.chance(200) && !self.is_healed {
            return;
        }
        match enrolled {
            Ok(()) if !self.joining[number].is_over => {
                self.joining[number].is_over = true;
                let Some(id) = self.joining[number].id else { return };
                self.tell(|| format!("{id} joins"));
                let disk = Disk::new(Default::default(), self.plan.bug);
                let level = coordinator::scheduler::command::LEVEL;
                self.replicas.push(Replica::new(id, disk, level));
                let place = self.replicas.len() - 1;
                self.after(5, Event::Start(place));
            }
            Ok(()) => {}
            Err(Enrolment::Elsewhere(leadership)) => {
                self.turns(number, leadership.leader.as_deref());
            }
            Err(Enrolment::Refused { .. }) => self.joining[number].is_over = true,
        }
    }
}

fn of_peer(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Raft(m) => format!(
            "{:?}, term {}, index {}, commit {}, {} entries{}",
            m.kind,
            m.term,
            m.index,
            m.commit,
            m.entries.len(),
            if m.reject { ", refused" } else { "" }
        ),
        PeerMessage::Announce(_) => "who it is".to_string(),
        PeerMessage::Progress { .. } => "how studies go".to_string(),
        PeerMessage::Digest { index, .. } => format!("its digest at {index}"),
    }
}

fn in_short(message: &ToAgent) -> String {
    match message {
        ToAgent::Study { id, version, .. } => format!("study {id}, version {version}"),
        ToAgent::Assign { lease, study, trials, .. }
        | ToAgent::AssignFrom { lease, study, trials, .. } => {
            let trials: Vec<u64> = trials.iter().map(|trial| trial.0).collect();
            format!("lease {lease}: trials {trials:?} of {study}")
        }
        ToAgent::Acknowledge { attempts } => {
            let attempts: Vec<_> =
                attempts.iter().map(|a| (a.trial.0, a.lease.to_string())).collect();
            format!("acknowledged {attempts:?}")
        }
        other => format!("{other:?}"),
    }
}
