//! One replica, and three that hear each other without delay.
//!
//! Floor: core.

use std::num::NonZeroU64;

use common::wire::message::peer::Standing;

use super::log::Vote;
use super::*;

fn id(number: u64) -> ReplicaId {
    ReplicaId(NonZeroU64::new(number).expect("not zero"))
}

fn logger() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

/// What a disk keeps of one replica.
struct Kept {
    recovered: Recovered,
    number: u64,
}

impl Kept {
    fn first() -> Self {
        Self { recovered: Recovered::first(1, b"state".to_vec()), number: 1 }
    }

    fn start(&self) -> Replica {
        let timing = Timing { seed: Some(7), ..Timing::default() };
        Replica::new(id(self.number), self.recovered.clone(), timing, &logger()).expect("starts")
    }

    fn keep(&mut self, persist: Persist) {
        let Recovered { snapshot, base, vote, entries } = &mut self.recovered;
        if let Some(first) = persist.entries.first() {
            entries.retain(|entry| entry.index < first.index);
        }
        if let Some(Save { record, source }) = persist.snapshot {
            *base = match source {
                Source::Own { base, .. } => base,
                Source::Leader => {
                    entries.clear();
                    Base { index: record.meta.index, term: record.meta.term }
                }
            };
            *snapshot = record;
        }
        entries.extend(persist.entries);
        entries.retain(|entry| entry.index > base.index);
        *vote = persist.vote.unwrap_or(*vote);
    }

    /// Drives the replica to rest; returns what was committed.
    fn settle(&mut self, replica: &mut Replica) -> Vec<Committed> {
        let mut committed = Vec::new();
        while let Some(persist) = replica.ready() {
            self.keep(persist);
            committed.extend(replica.persisted().expect("advances").committed);
        }
        committed
    }
}

fn propose(replica: &mut Replica, number: u64, data: &[u8]) {
    replica.propose(Proposal { run: 1, number }, data.to_vec()).expect("leads");
}

const NO_MARGIN: Margin = Margin { entries: 0, bytes: 0 };

#[test]
fn one_replica_leads_at_once_and_commits_what_is_proposed() {
    let mut kept = Kept::first();
    let mut replica = kept.start();
    kept.settle(&mut replica);
    assert!(replica.is_leader());

    propose(&mut replica, 4, b"seven");
    let committed = kept.settle(&mut replica);

    let proposal = Some(Proposal { run: 1, number: 4 });
    assert_eq!(committed.len(), 1);
    assert_eq!((committed[0].proposal, &committed[0].data[..]), (proposal, &b"seven"[..]));
}

#[test]
fn nothing_is_committed_before_it_is_persisted() {
    let mut kept = Kept::first();
    let mut replica = kept.start();
    kept.settle(&mut replica);
    propose(&mut replica, 1, b"x");
    let persist = replica.ready().expect("has entries");
    assert_eq!(persist.entries.len(), 1);
    assert!(replica.commit() < persist.entries[0].index);
}

#[test]
fn a_replica_that_restarts_commits_its_log_again() {
    let mut kept = Kept::first();
    let mut replica = kept.start();
    kept.settle(&mut replica);
    propose(&mut replica, 1, b"kept");
    kept.settle(&mut replica);

    let mut again = kept.start();
    let committed = kept.settle(&mut again);

    assert!(again.is_leader() && again.term() > replica.term());
    assert!(committed.iter().any(|entry| entry.data == b"kept"));
}

#[test]
fn a_change_of_the_membership_is_on_the_disk_as_decided_before_anybody_is_let_go() {
    let mut kept = Kept::first();
    let mut replica = kept.start();
    kept.settle(&mut replica);
    for to in [Standing::Learner, Standing::Gone] {
        replica.propose_change(Change { replica: id(2), to }).expect("leads");
        let before = replica.kept_voters().standing(id(2));
        while let Some(persist) = replica.ready() {
            kept.keep(persist);
            replica.persisted().expect("advances");
            let decided = kept.recovered.vote.commit == replica.last_index();
            let expected = if decided { to } else { before };
            assert_eq!(replica.kept_voters().standing(id(2)), expected);
        }
        assert_eq!(replica.kept_voters().standing(id(2)), to);
        assert_eq!(kept.recovered.vote.commit, replica.last_index());
    }
}

#[test]
fn a_snapshot_shortens_the_log_and_a_restart_begins_at_it() {
    let mut kept = Kept::first();
    let mut replica = kept.start();
    kept.settle(&mut replica);
    (0..10).for_each(|number| propose(&mut replica, number, &[number as u8]));
    let index = kept.settle(&mut replica).last().expect("ten").index;
    let persist = replica.snapshot(index, b"later".to_vec(), NO_MARGIN, false).expect("applied");
    kept.keep(persist);
    replica.persisted().expect("advances");
    assert_eq!(replica.log_length(), 0);

    let mut again = kept.start();
    let committed = kept.settle(&mut again);
    assert!(committed.iter().all(|entry| entry.index > index));
    propose(&mut again, 0, b"new");
    assert!(kept.settle(&mut again).iter().any(|entry| entry.data == b"new"));
}

/// Three replicas; what one sends the others have at once.
struct Three {
    kept: Vec<Kept>,
    replicas: Vec<Replica>,
    committed: Vec<Vec<Committed>>,
    cut: Option<u64>,
}

impl Three {
    fn new() -> Self {
        let voters = Voters { voters: vec![1, 2, 3], learners: vec![] };
        let kept: Vec<Kept> = (1..=3)
            .map(|number| {
                let mut recovered = Recovered::first(1, b"state".to_vec());
                recovered.snapshot.meta.voters = voters.clone();
                recovered.vote = Vote { term: 1, vote: 0, commit: 1 };
                Kept { recovered, number }
            })
            .collect();
        let replicas = kept.iter().map(Kept::start).collect();
        Self { kept, replicas, committed: vec![Vec::new(); 3], cut: None }
    }

    fn settle(&mut self) {
        loop {
            let mut messages = Vec::new();
            for (at, replica) in self.replicas.iter_mut().enumerate() {
                self.committed[at].extend(self.kept[at].settle(replica));
                messages.extend(replica.take_messages());
            }
            if messages.is_empty() {
                return;
            }
            for message in messages {
                let ends = [message.from, message.to];
                if self.cut.is_none_or(|cut| !ends.contains(&cut)) {
                    let to = (message.to - 1) as usize;
                    self.replicas[to].step(message, Vec::new()).expect("steps");
                }
            }
        }
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.replicas.iter_mut().for_each(Replica::tick);
            self.settle();
        }
    }

    fn leader(&self) -> usize {
        let leads = |at: &usize| self.replicas[*at].is_leader() && self.cut != Some(*at as u64 + 1);
        (0..3).find(leads).expect("one leads")
    }
}

#[test]
fn three_replicas_elect_one_and_all_commit_the_same() {
    let mut three = Three::new();
    three.pass(60);
    let leader = three.leader();
    propose(&mut three.replicas[leader], 1, b"x");
    three.settle();
    three.pass(5);
    for committed in &three.committed {
        assert_eq!(committed, &three.committed[leader]);
        assert!(committed.iter().any(|entry| entry.data == b"x"));
    }
}

#[test]
fn leadership_is_handed_over_within_a_tick() {
    let mut three = Three::new();
    three.pass(60);
    let (leader, heir) = (three.leader(), (three.leader() + 1) % 3);
    three.replicas[leader].hand_over(id(heir as u64 + 1));
    three.settle();
    assert_eq!(three.leader(), heir);
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_answers_no_fresh_read() {
    let mut three = Three::new();
    three.pass(60);
    let old = three.leader();
    three.cut = Some(old as u64 + 1);
    let context = ReadContext { run: 1, number: 1 };
    three.replicas[old].ask_to_read(context);
    three.pass(100);
    assert!(!three.replicas[old].is_leader());
    assert!(three.replicas[old].take_reads().is_empty());
    let new = three.leader();
    assert_ne!(new, old);
    three.replicas[new].ask_to_read(context);
    three.settle();
    let reads = three.replicas[new].take_reads();
    assert_eq!(reads, [ReadState { context, index: three.replicas[new].commit() }]);
}

#[test]
fn a_follower_that_lags_gets_a_snapshot_that_has_to_be_asked_for() {
    let mut three = Three::new();
    three.pass(60);
    let leader = three.leader();
    let away = (leader + 1) % 3;
    three.cut = Some(away as u64 + 1);
    (0..10).for_each(|number| propose(&mut three.replicas[leader], number, b"x"));
    three.pass(30);
    let index = three.replicas[leader].commit();
    let taken = three.replicas[leader].snapshot(index, b"later".to_vec(), NO_MARGIN, false);
    three.kept[leader].keep(taken.expect("applied"));
    three.replicas[leader].persisted().expect("advances");
    three.cut = None;
    three.pass(10);
    assert!(three.replicas[leader].wants_snapshot());

    let index = three.replicas[leader].commit();
    let taken = three.replicas[leader].snapshot(index, b"sent".to_vec(), NO_MARGIN, true);
    three.kept[leader].keep(taken.expect("applied"));
    three.replicas[leader].persisted().expect("advances");
    assert_eq!(three.replicas[leader].offered(), Some(index));
    three.replicas[leader].tick();
    three.replicas[leader].tick();
    three.pass(3);
    // Here messages carry no state; on the network it comes on a stream of its own.
    assert_eq!(three.kept[away].recovered.snapshot.meta.index, index);
    assert_eq!(three.replicas[away].commit(), three.replicas[leader].commit());
}
