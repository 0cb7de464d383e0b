//! Messages of other replicas, stepped into a replica that is a follower, a leader, or new.
//!
//! Whatever decodes may come, in any order, between ticks and turns of the disk: raft must not end
//! the process, the commit mark must not go back, and entries are handed out one after the other.
//!
//! Floor: wiring.

use common::wire::codec;
use common::wire::message::peer::{PeerMessage, RaftKind, RaftMessage};
use coordinator::replica::log::{Persist, Recovered, SnapshotMeta, Source, Vote, Voters};
use coordinator::replica::{Logger, Replica, Timing};

use super::{Read, kept, values};

/// The first byte says what the replica is; then steps of one byte, each with a message behind it
/// where it takes one: two bytes of length, and the message.
pub(super) fn run(input: &[u8]) -> Read {
    let (role, mut rest) = input.split_first()?;
    let mut one = One::new(*role);
    let mut steps = 0;
    while let Some((step, behind)) = rest.split_first() {
        rest = behind;
        steps += 1;
        match step % 4 {
            0 => (0..=*step / 16).for_each(|_| one.tick()),
            1 => one.settle(),
            how => {
                let Some((length, behind)) = rest.split_first_chunk::<2>() else { break };
                let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
                let (bytes, behind) = behind.split_at(length);
                rest = behind;
                let Ok(message) = codec::decode::<PeerMessage>(bytes) else { continue };
                if let PeerMessage::Raft(message) = message {
                    one.hear(*message, how == 3);
                }
            }
        }
        if steps == STEPS_MAX || one.is_over {
            break;
        }
    }
    one.settle();
    kept(one.replica)
}

struct One {
    replica: Replica,
    commit: u64,
    /// The last entry that was handed out.
    released: u64,
    /// It has met an entry that nobody can apply, and would stop here.
    is_over: bool,
}

impl One {
    /// Replica 1 of three, of one, or of none yet.
    fn new(role: u8) -> Self {
        let of = |voters: Vec<u64>| {
            let mut recovered = Recovered::first(1, Vec::new());
            let voters = Voters { voters, learners: Vec::new() };
            recovered.snapshot.meta = SnapshotMeta { index: 1, term: 1, voters };
            recovered.vote = Vote { term: 3, vote: 0, commit: 1 };
            recovered
        };
        let recovered = match role % 4 {
            0 | 1 => of(vec![1, 2, 3]),
            2 => of(vec![1]),
            _ => Recovered::default(),
        };
        let timing = Timing { seed: Some(7), ..Timing::default() };
        let logger = Logger::root(slog::Discard, slog::o!());
        let id = common::id::ReplicaId(std::num::NonZeroU64::MIN);
        let released = recovered.snapshot.meta.index;
        let replica = Replica::new(id, recovered, timing, &logger).expect("starts");
        let mut one = Self { replica, commit: 0, released, is_over: false };
        if role % 4 == 1 {
            one.lead();
        }
        one
    }

    /// Has itself elected by replica 2, which then has its whole log.
    fn lead(&mut self) {
        while !self.replica.is_leader() {
            self.replica.tick();
            self.settle_but(|one, asked| {
                let kind = match asked.kind {
                    RaftKind::RequestPreVote => RaftKind::RequestPreVoteResponse,
                    RaftKind::RequestVote => RaftKind::RequestVoteResponse,
                    _ => return,
                };
                one.answer(RaftMessage { kind, term: asked.term, ..RaftMessage::default() });
            });
        }
        self.settle();
        let (kind, term) = (RaftKind::AppendResponse, self.replica.term());
        let index = self.replica.last_index();
        self.answer(RaftMessage { kind, term, index, ..RaftMessage::default() });
        self.settle();
    }

    /// As the driver ticks: with a turn of the disk behind it.
    fn tick(&mut self) {
        self.replica.tick();
        self.settle();
        self.look();
    }

    fn answer(&mut self, answer: RaftMessage) {
        let answer = RaftMessage { from: 2, to: 1, ..answer };
        self.replica.step(answer, Vec::new()).expect("an answer");
    }

    /// `amended`: as if it were for this replica, from another, and of the present.
    fn hear(&mut self, mut message: RaftMessage, amended: bool) {
        if amended {
            message.to = 1;
            message.from = 2 + message.from % 2;
            if message.kind != RaftKind::ReadIndex {
                message.term = self.replica.term() + message.term % 3;
            }
        }
        let before = (self.replica.last_index(), self.replica.commit());
        if self.replica.step(message, Vec::new()).is_err() {
            assert_eq!(before, (self.replica.last_index(), self.replica.commit()));
        }
        self.look();
    }

    fn settle(&mut self) {
        self.settle_but(|_, _| {});
    }

    /// What the driver does after a group of inputs, on a disk that never fails; then what is done with
    /// each message to replica 2.
    fn settle_but(&mut self, each: impl Fn(&mut Self, RaftMessage)) {
        while let Some(persist) = self.ready() {
            let leaders = persist.snapshot.as_ref().filter(|save| save.source == Source::Leader);
            if let Some(save) = leaders {
                self.released = save.record.meta.index;
            }
            let Ok(progress) = self.replica.persisted() else {
                self.is_over = true;
                return;
            };
            for entry in progress.committed {
                assert_eq!(entry.index, self.released + 1, "entries in order");
                self.released = entry.index;
            }
            self.look();
        }
        for message in self.replica.take_messages() {
            assert_eq!(message.from, 1, "nobody speaks for another: {message:?}");
            if message.to == 2 {
                each(self, message);
            }
        }
        self.replica.take_reads();
    }

    fn ready(&mut self) -> Option<Persist> {
        if self.is_over { None } else { self.replica.ready() }
    }

    fn look(&mut self) {
        let (commit, last) = (self.replica.commit(), self.replica.last_index());
        assert!(self.commit <= commit && commit <= last, "{} {commit} {last}", self.commit);
        self.commit = commit;
    }
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let step = |how: u8, message: &RaftMessage| {
        let message = PeerMessage::Raft(Box::new(message.clone()));
        let bytes = codec::encode(&message).expect("short");
        [&[how][..], &(bytes.len() as u16).to_be_bytes(), &bytes].concat()
    };
    let messages = values::raft_messages();
    let all = |how: u8| messages.iter().flat_map(move |m| [step(how, m), vec![1]].concat());
    let mut seeds = Vec::new();
    for (role, name) in [(0, "follower"), (1, "leader"), (2, "alone"), (3, "new")] {
        seeds.push((format!("{name}-each"), [role].into_iter().chain(all(2)).collect()));
        seeds.push((format!("{name}-now"), [role].into_iter().chain(all(3)).collect()));
        for (at, message) in messages.iter().enumerate() {
            let bytes = [vec![role], step(3, message), vec![1, 60, 1]].concat();
            seeds.push((format!("{name}-{at:02}"), bytes));
        }
    }
    seeds
}

const STEPS_MAX: u32 = 64;
