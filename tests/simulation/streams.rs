//! Snapshots between replicas: the parts of each sending on a stream of its own.
//!
//! Floor: wiring.

use std::rc::Rc;

use common::id::ReplicaId;
use common::wire::message::peer::{RaftKind, RaftMessage, SnapshotPart};
use coordinator::node::Input;
use coordinator::replica::incoming::{Cutter, Taken};

use super::network::Machine;
use super::plan::Bug;
use super::replicas::Inbound;
use super::world::{Event, World};

impl World {
    /// Cuts the offered snapshot into parts and sends them one behind the other, as a stream does; it
    /// breaks when a part is lost.
    pub(super) fn send_snapshot(
        &mut self,
        place: usize,
        (to, number): (ReplicaId, u64),
        message: RaftMessage,
        leaves: u64,
    ) {
        debug_assert_eq!(message.kind, RaftKind::Snapshot);
        let run = (self.replicas[place].runs, number);
        let Some(process) = &self.replicas[place].process else { return };
        let wanted = message.snapshot.as_ref().map(|meta| meta.index);
        let image = process.image.clone().filter(|image| Some(image.index) == wanted);
        let there = self.place_of(to).filter(|at| self.replicas[*at].process.is_some());
        let (Some(image), Some(there)) = (image, there) else {
            let fails = self.rng.within(10, 500);
            self.at(leaves + fails, Event::SnapshotSent { from: place, run, to, arrived: false });
            return;
        };
        let transfer = self.rng.next();
        let (mut cutter, begin) = Cutter::begin(message, transfer);
        let mut parts = vec![begin];
        parts
            .extend(image.state.chunks(STATE_PART_BYTES).map(|piece| cutter.state(piece.to_vec())));
        let rows: Vec<_> =
            image.rows.iter().map(|((study, _), row)| (*study, (**row).clone())).collect();
        parts.extend(rows.chunks(ROWS_A_PART).map(|rows| cutter.rows(rows.to_vec())));
        parts.push(cutter.end());
        let last = parts.len() - 1;
        let mut at = leaves;
        for (place_of_part, part) in parts.into_iter().enumerate() {
            at += self.net.delay(&mut self.rng);
            let lost = self.rng.chance(self.net.ambient.drop / 4)
                || self.net.is_cut(Machine::Replica(place), Machine::Replica(there), at);
            if lost {
                let fails = at + self.rng.within(50, 1_500);
                self.at(fails, Event::SnapshotSent { from: place, run, to, arrived: false });
                return;
            }
            let last = place_of_part == last;
            self.at(at, Event::Part { to: there, from: place, run, part: Box::new(part), last });
        }
    }

    /// A receiver takes one stream at a time, as the lock of a real one has it: parts of a stream that it
    /// has given up, or never heard the beginning of, disturb no other one and are told to its sender.
    pub(super) fn takes_part(
        &mut self,
        place: usize,
        (from, run): (usize, (u64, u64)),
        part: SnapshotPart,
        last: bool,
    ) {
        let mixed = self.plan.bug == Some(Bug::MixedParts);
        let replica = &mut self.replicas[place];
        let to = replica.id;
        let Some(process) = &mut replica.process else { return };
        if matches!(part, SnapshotPart::Begin { .. }) {
            process.stream = Some((from, run));
        } else if process.stream != Some((from, run)) && !mixed {
            let tells = self.net.delay(&mut self.rng);
            self.after(tells, Event::SnapshotSent { from, run, to, arrived: false });
            return;
        }
        let taken = if mixed {
            match part {
                SnapshotPart::Begin { message, .. } => {
                    process.mixed_message = Some(message);
                    replica.disk.incoming.get_or_insert_default();
                    Ok(Taken::Nothing)
                }
                SnapshotPart::State { bytes, .. } => {
                    process.mixed.extend(bytes);
                    Ok(Taken::Nothing)
                }
                SnapshotPart::Rows { rows, .. } => Ok(Taken::Rows(rows)),
                SnapshotPart::End { .. } => {
                    let state = std::mem::take(&mut process.mixed);
                    let message = process.mixed_message.clone().unwrap_or_default();
                    Ok(Taken::Whole { message, state })
                }
            }
        } else {
            process.incoming.take(part)
        };
        let mut arrived = None;
        match taken {
            Ok(Taken::Begun) => replica.disk.incoming = Some(Default::default()),
            Ok(Taken::Nothing) => {}
            Ok(Taken::Rows(rows)) => {
                let incoming = replica.disk.incoming.get_or_insert_default();
                incoming.extend(rows.into_iter().map(|(s, row)| ((s, row.trial), Rc::new(row))));
            }
            Ok(Taken::Whole { message, state }) => {
                // The next one may begin before this one is installed.
                let index = message.snapshot.as_ref().map_or(0, |meta| meta.index);
                let rows = replica.disk.incoming.take().unwrap_or_default();
                replica.disk.arrived.insert(index, rows);
                self.step(place, Input::SnapshotArrived { message, state });
                arrived = Some(true);
            }
            Err(_) => arrived = Some(false),
        }
        if let Some(arrived) = arrived.or_else(|| last.then_some(false)) {
            if let Some(process) = &mut self.replicas[place].process {
                process.stream = None;
            }
            let tells = self.net.delay(&mut self.rng);
            self.after(tells, Event::SnapshotSent { from, run, to, arrived });
        }
    }

    pub(super) fn snapshot_sent(
        &mut self,
        from: usize,
        (run, number): (u64, u64),
        to: ReplicaId,
        arrived: bool,
    ) {
        if self.replicas[from].run() == Some(run) {
            self.inbound(from, Inbound::Sent { to, number, arrived });
        }
    }
}

const STATE_PART_BYTES: usize = 700;
const ROWS_A_PART: usize = 4;
