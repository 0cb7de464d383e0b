//! Looks at a study's outcomes, entered into its ledger, and who may see outcomes by which look; seals
//! on outcomes, and the claims that open them.
//!
//! Outcomes are shown for a look that is in the ledger, to whoever took it, and of a sealed study only
//! after something was claimed. What agents, replicas and
//! new studies are given is no look: nobody sees a score.
//!
//! Floor: core.

use common::id::{Digest, MemberId, StudyId};
use common::ledger::{Claim, GENESIS, Ledger, Look, Purpose, Sealing, Stamp};
use common::time::Timestamp;

use super::Applied;
use super::state::{LOCAL_OPERATOR, State};

impl State {
    pub(super) fn look(
        &mut self,
        study: StudyId,
        who: MemberId,
        purpose: Purpose,
        at: Timestamp,
    ) -> Applied {
        let Some(record) = self.studies.get(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        if self.is_closed(study) {
            return Applied::Refused { why: CLOSED };
        }
        let label = self.label(who);
        let ledger = self.ledgers.entry(study).or_default();
        let number = ledger.looks() + 1;
        ledger.add(Look {
            number,
            at,
            who,
            label,
            purpose,
            outcomes: record.complete,
            study: record.study.digest(),
            split: record.study.split_digest(),
        });
        Applied::Looked { study, number }
    }

    /// Idempotent; only while nobody was shown an outcome.
    pub(super) fn seal(&mut self, study: StudyId, who: MemberId, at: Timestamp) -> Applied {
        if !self.studies.contains_key(&study) {
            return Applied::Refused { why: "there is no such study" };
        }
        let known = self.sealings.get(&study);
        if known.is_none_or(|sealing| sealing.sealed.is_none()) {
            if known.is_some() {
                return Applied::Refused { why: OPENED };
            }
            if self.looks(study) > 0 {
                return Applied::Refused { why: SHOWN };
            }
            let stamp = Stamp { at, who, label: self.label(who) };
            self.sealings.entry(study).or_default().sealed = Some(stamp);
        }
        Applied::Sealed { study }
    }

    /// Idempotent for the same text; another one is refused.
    pub(super) fn register(
        &mut self,
        study: StudyId,
        who: MemberId,
        text: String,
        at: Timestamp,
    ) -> Applied {
        let Some(record) = self.studies.get(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        let known = self.sealings.get(&study).and_then(|sealing| sealing.claim.as_ref());
        if let Some(known) = known {
            let same = known.text == text;
            return if same {
                Applied::Sealed { study }
            } else {
                Applied::Refused { why: CLAIMED }
            };
        }
        let split = record.study.split_digest();
        let claim = Claim {
            text,
            stamp: Stamp { at, who, label: self.label(who) },
            outcomes: record.complete,
            looks: self.looks_at_rows(&split),
            head: self.ledgers.get(&study).map_or(GENESIS, Ledger::head),
            study: record.study.digest(),
            split,
        };
        self.sealings.entry(study).or_default().claim = Some(claim);
        Applied::Sealed { study }
    }

    /// Whether no outcome of a study may be shown.
    pub fn is_closed(&self, study: StudyId) -> bool {
        self.sealings.get(&study).is_some_and(Sealing::is_closed)
    }

    /// Looks at all studies that test on these rows: whoever saw another one's scores has seen what the
    /// rows are like.
    fn looks_at_rows(&self, split: &Digest) -> u64 {
        let of_rows = |study: &&StudyId| {
            self.studies.get(study).is_some_and(|record| record.study.split_digest() == *split)
        };
        self.ledgers.keys().filter(of_rows).map(|study| self.looks(*study)).sum()
    }

    fn label(&self, who: MemberId) -> String {
        match self.members.get(&who) {
            Some(member) => member.label.clone(),
            None if who == LOCAL_OPERATOR => LOCAL.to_string(),
            None => String::new(),
        }
    }

    /// Whether outcomes of a study may be shown to `who` for look `number`, or why not.
    pub fn may_show(&self, study: StudyId, number: u64, who: MemberId) -> Result<(), String> {
        if self.is_closed(study) {
            return Err(CLOSED.to_string());
        }
        let look = self.ledgers.get(&study).and_then(|ledger| ledger.look(number));
        match look {
            Some(look) if look.who == who => Ok(()),
            Some(look) => Err(format!("look {number} at study {study} was taken by {}", look.who)),
            None => Err(format!(
                "look {number} at study {study} is not among the latest of its ledger: look again"
            )),
        }
    }
}

/// Whoever works on a coordinator's own machine.
const LOCAL: &str = "local";

/// Of a sealed study.
pub const CLOSED: &str = "the scores of this study's test folds are sealed until what it should show is \
                          registered: `coordinator register STUDY --claim \"…\"`";
const SHOWN: &str = "outcomes of this study were shown already, so it cannot be sealed; `coordinator \
                     ledger` says to whom";
const OPENED: &str =
    "what this study should show is registered already, so a seal would hide nothing";
const CLAIMED: &str = "another claim is registered for this study, and it stands; `coordinator ledger` \
                       shows it";

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use common::id::{ClientId, ClusterId, ReplicaId};
    use common::wire::message::Role;

    use super::*;
    use crate::sample;
    use crate::scheduler::command::{Command, Entry, LEDGER_LEVEL, Origin, SEALS_LEVEL};
    use crate::scheduler::state::{Member, Reply};

    const DESK: MemberId = MemberId(20);

    fn state(level: u16) -> (State, StudyId) {
        let first = ReplicaId(NonZeroU64::MIN);
        let mut state = State::new(ClusterId([1; 16]), first, None, level);
        let (role, label) = (Role::Operator, "desk".to_string());
        let member =
            Member { role, label, joined: Timestamp(1), public_key: [1; 32], token_id: [1; 6] };
        state.members.insert(DESK, member);
        let study = sample::study(2);
        let id = study.id();
        let command =
            Command::Submit { study: Box::new(study), text: String::new(), at: Timestamp(1) };
        state.apply(1, Entry { origin: None, command });
        (state, id)
    }

    fn look_for(state: &mut State, study: StudyId, who: MemberId, number: u64) -> Applied {
        let command = Command::Look { study, who, purpose: Purpose::Report, at: Timestamp(9) };
        let origin = Some(Origin { client: ClientId(5), number });
        state.apply(state.applied + 1, Entry { origin, command })
    }

    #[test]
    fn a_look_asked_for_again_is_one_look() {
        let (mut state, study) = state(LEDGER_LEVEL);
        let first = look_for(&mut state, study, DESK, 1);
        let again = look_for(&mut state, study, DESK, 1);
        let second = look_for(&mut state, study, DESK, 2);
        assert_eq!(first, Applied::Looked { study, number: 1 });
        assert_eq!(again, Applied::Replied(Reply::Looked { number: 1 }));
        assert_eq!(second, Applied::Looked { study, number: 2 });
        assert_eq!(state.looks(study), 2);
        let first = state.ledgers[&study].first().cloned().expect("two");
        let (record, label) = (&state.studies[&study].study, "desk".to_string());
        let expected = Look {
            number: 1,
            at: Timestamp(9),
            who: DESK,
            label,
            purpose: Purpose::Report,
            outcomes: 0,
            study: record.digest(),
            split: record.split_digest(),
        };
        assert_eq!(first, expected);
    }

    #[test]
    fn outcomes_are_shown_to_whoever_took_the_look_and_to_nobody_else() {
        let (mut state, study) = state(LEDGER_LEVEL);
        look_for(&mut state, study, DESK, 1);
        assert_eq!(state.may_show(study, 1, DESK), Ok(()));
        for (number, who) in [(1, LOCAL_OPERATOR), (0, DESK), (2, DESK), (u64::MAX, DESK)] {
            assert!(state.may_show(study, number, who).is_err(), "{number} {who}");
        }
        assert!(state.may_show(StudyId(7), 1, DESK).is_err());
        let refused = look_for(&mut state, StudyId(7), DESK, 2);
        assert!(matches!(refused, Applied::Refused { .. }), "{refused:?}");
    }

    fn said(state: &mut State, command: Command) -> Applied {
        state.apply(state.applied + 1, Entry { origin: None, command })
    }

    #[test]
    fn a_sealed_study_is_shown_to_nobody_until_its_claim_is_registered() {
        let (mut state, study) = state(SEALS_LEVEL);
        let at = Timestamp(3);
        let seal = Command::Seal { study, who: DESK, at };
        assert_eq!(said(&mut state, seal.clone()), Applied::Sealed { study });
        let refused = look_for(&mut state, study, LOCAL_OPERATOR, 1);
        assert_eq!(refused, Applied::Refused { why: CLOSED });
        assert_eq!(state.looks(study), 0, "what was refused is no look");
        assert_eq!(state.may_show(study, 1, LOCAL_OPERATOR), Err(CLOSED.to_string()));

        let register = |claim: &str| {
            let (who, claim, at) = (DESK, claim.to_string(), Timestamp(4));
            Command::Register { study, who, claim, at }
        };
        assert_eq!(said(&mut state, register("b beats a")), Applied::Sealed { study });
        assert_eq!(said(&mut state, register("b beats a")), Applied::Sealed { study });
        assert_eq!(said(&mut state, register("a beats b")), Applied::Refused { why: CLAIMED });
        assert_eq!(look_for(&mut state, study, DESK, 2), Applied::Looked { study, number: 1 });
        assert_eq!(said(&mut state, seal), Applied::Sealed { study }, "it was sealed before");
        let claim = state.sealings[&study].claim.as_ref().expect("registered");
        assert_eq!((claim.looks, claim.head, claim.stamp.at), (0, GENESIS, Timestamp(4)));
        let bytes = state.encode().expect("encodes");
        assert_eq!(State::decode(&bytes).as_ref(), Some(&state));
    }

    #[test]
    fn what_was_shown_cannot_be_sealed_and_a_claim_of_then_counts_the_looks() {
        let (mut state, study) = state(SEALS_LEVEL);
        look_for(&mut state, study, DESK, 1);
        let (who, at) = (DESK, Timestamp(3));
        let refused = said(&mut state, Command::Seal { study, who, at });
        assert_eq!(refused, Applied::Refused { why: SHOWN });
        assert!([CLOSED, SHOWN, OPENED, CLAIMED].iter().all(|why| !why.contains("  ")));
        let digest = state.digest();
        said(&mut state, Command::Register { study, who, claim: "late".to_string(), at });
        let claim = state.sealings[&study].claim.as_ref().expect("registered");
        assert_eq!((claim.looks, claim.head), (1, state.ledgers[&study].head()));
        assert!(!state.is_closed(study));
        let before = State { applied: state.applied - 1, ..state.clone() };
        assert_ne!(before.digest(), digest, "replicas that differ in a claim differ");
        let refused = said(&mut state, Command::Seal { study, who, at });
        assert_eq!(refused, Applied::Refused { why: OPENED }, "nothing is left to hide");
        let stray = Command::Seal { study: StudyId(7), who, at };
        assert!(matches!(said(&mut state, stray), Applied::Refused { .. }));
    }

    #[test]
    fn a_look_at_another_study_of_the_same_rows_counts_before_a_claim() {
        let (mut state, study) = state(SEALS_LEVEL);
        let mut copy = sample::study(2);
        copy.name = "copy".to_string();
        let other = copy.id();
        let (text, at) = (String::new(), Timestamp(1));
        said(&mut state, Command::Submit { study: Box::new(copy), text, at });
        look_for(&mut state, other, DESK, 1);
        said(&mut state, Command::Register { study, who: DESK, claim: "late".to_string(), at });
        let claim = state.sealings[&study].claim.as_ref().expect("registered");
        assert_eq!((claim.looks, claim.head), (1, GENESIS));
    }

    #[test]
    fn a_state_of_before_seals_is_written_as_it_was_then() {
        let (mut state, study) = state(SEALS_LEVEL - 1);
        look_for(&mut state, study, DESK, 1);
        let old = (state.encode().expect("encodes"), state.digest());
        assert_eq!(State::decode(&old.0).as_ref(), Some(&state));
        state.sealings.entry(study).or_default();
        assert_eq!((state.encode().expect("encodes"), state.digest()), old);
        let raised = Command::RaiseLevel { level: SEALS_LEVEL };
        said(&mut state, raised);
        assert_eq!(
            State::decode(&state.encode().expect("encodes")),
            None,
            "nothing is sealed there"
        );
        state.sealings.clear();
        assert_eq!(State::decode(&state.encode().expect("encodes")).as_ref(), Some(&state));
    }

    #[test]
    fn a_state_of_before_the_ledger_is_written_as_it_was_then() {
        let (mut state, study) = state(LEDGER_LEVEL - 1);
        let old = state.encode().expect("encodes");
        let back = State::decode(&old).expect("decodes");
        assert_eq!(back, state);
        let digest = state.digest();
        state.ledgers.entry(study).or_default();
        assert_eq!((state.encode().expect("encodes"), state.digest()), (old.clone(), digest));
        state.ledgers.clear();

        let command = Command::RaiseLevel { level: LEDGER_LEVEL };
        state.apply(state.applied + 1, Entry { origin: None, command });
        look_for(&mut state, study, LOCAL_OPERATOR, 1);
        let new = state.encode().expect("encodes");
        let back = State::decode(&new).expect("decodes");
        assert_eq!((&back, back.digest()), (&state, state.digest()));
        assert_eq!(back.ledgers[&study].last().map(|look| look.label.as_str()), Some(LOCAL));
        assert!(State::decode(&new[..new.len() - 1]).is_none());
        assert!(State::decode(&[new.as_slice(), &[0]].concat()).is_none());
    }

    #[test]
    fn a_state_whose_chain_does_not_hold_is_none() {
        let (mut state, study) = state(LEDGER_LEVEL);
        (1..=3).for_each(|number| drop(look_for(&mut state, study, DESK, number)));
        let bytes = state.encode().expect("encodes");
        assert!(State::decode(&bytes).is_some());
        let head = state.ledgers[&study].head().0;
        let at = bytes.windows(32).position(|bytes| bytes == head).expect("it is there");
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(State::decode(&changed).is_none());
        // A ledger of a study that nobody submitted.
        let mut stray = state.clone();
        let ledger = stray.ledgers[&study].clone();
        stray.ledgers.insert(StudyId(7), ledger);
        assert!(State::decode(&stray.encode().expect("encodes")).is_none());
    }

    #[test]
    fn every_look_changes_the_states_digest() {
        let (mut state, study) = state(LEDGER_LEVEL);
        let mut digests = std::collections::BTreeSet::new();
        for number in 0..4 {
            if number > 0 {
                look_for(&mut state, study, DESK, 1);
                state.clients.clear();
            }
            // Without the entry's number, which alone would tell them apart.
            let alone = State { applied: 0, ..state.clone() };
            assert!(digests.insert(alone.digest()), "look {number}");
        }
    }
}
