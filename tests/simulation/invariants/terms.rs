//! R10: one leader a term, one vote a term, terms and commits never go back.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::ReplicaId;
use common::wire::message::peer::{PeerMessage, RaftKind};

use super::{Invariant, Plan, Seen};

pub struct TermsAndCommits {
    leaders: BTreeMap<u64, ReplicaId>,
    votes: BTreeMap<(ReplicaId, u64), u64>,
    /// Each replica's durable term and commit.
    durable: BTreeMap<ReplicaId, (u64, u64)>,
}

impl TermsAndCommits {
    pub fn new(_: &Plan) -> Self {
        Self { leaders: BTreeMap::new(), votes: BTreeMap::new(), durable: BTreeMap::new() }
    }

    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }
}

impl Invariant for TermsAndCommits {
    const RULE: &'static str =
        "R10: one leader and one vote a term; terms and commits never go back";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Leads { replica, node, .. } => {
                let term = node.replica().term();
                let first = *self.leaders.entry(term).or_insert(*replica);
                if first != *replica {
                    return Err(format!("{first} and {replica} lead in term {term}"));
                }
            }
            Seen::ToPeer { replica, message: PeerMessage::Raft(message) } => {
                let votes = message.kind == RaftKind::RequestVoteResponse && !message.reject;
                if votes {
                    let key = (*replica, message.term);
                    let first = *self.votes.entry(key).or_insert(message.to);
                    if first != message.to {
                        return Err(format!(
                            "{replica} voted for r{first} and r{} in term {}",
                            message.to, message.term
                        ));
                    }
                }
            }
            Seen::Persisted { replica, recovered } => {
                let vote = recovered.vote;
                let before = self.durable.insert(*replica, (vote.term, vote.commit));
                if before.is_some_and(|(term, commit)| vote.term < term || vote.commit < commit) {
                    return Err(format!("{replica} went back from {before:?} to {vote:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
