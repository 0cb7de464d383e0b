//! The ledger of a study's test folds: who was shown their outcomes, when, and what for.
//!
//! It only grows, and each look is chained to the one before by a hash, so that none can be changed,
//! left out or put in later without another head. It is kept in bounded room: the count, the head,
//! how often each asker looked, the first look and the latest ones in full. It counts looks; it does
//! not say that anything was overfitted (Recht et al. 2019 found little of it where it was feared).
//! Beside it stands what was claimed before anybody looked, and whether scores were sealed till then.
//! Deliberately absent: clocks and names of people, which arrive as values.
//!
//! Floor: common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, MemberId};
use crate::time::Timestamp;

/// One time that outcomes of the outer folds were shown to somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// From 1 on, without gaps.
    pub number: u64,
    /// Unix time of the leader that took it.
    pub at: Timestamp,
    /// Whose certificate asked.
    pub who: MemberId,
    /// The label of the token that let them in, at the time of the look; may be empty.
    pub label: String,
    pub purpose: Purpose,
    /// Complete trials, all of which it could see.
    pub outcomes: u64,
    /// Of the study as it was then: it may have grown since.
    pub study: Digest,
    /// Of what decides which rows test; see [`crate::study::Study::split_digest`].
    pub split: Digest,
}

/// What outcomes were shown for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A report was written.
    Report,
    /// The outcomes were written as a table.
    Export,
    /// `coordinator run` came to its report.
    Run,
}

/// All looks at one study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    looks: u64,
    head: Digest,
    first: Option<Look>,
    /// The link that the oldest of `recent` is chained to.
    before: Digest,
    recent: Vec<Look>,
    by: BTreeMap<MemberId, Looker>,
}

/// How often somebody looked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looker {
    /// As of their latest look.
    pub label: String,
    pub looks: u64,
}

/// What stands beside a ledger: whether outcomes are shown at all, and what was claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sealing {
    /// Who had the outcomes of the outer folds sealed, before anybody was shown one.
    pub sealed: Option<Stamp>,
    /// It stands for ever: a second one is refused.
    pub claim: Option<Claim>,
}

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// Unix time of the leader that took it.
    pub at: Timestamp,
    pub who: MemberId,
    /// The label of the token that let them in, at that time; may be empty.
    pub label: String,
}

/// What somebody said that a study would show, with what could be known by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub text: String,
    pub stamp: Stamp,
    /// Complete trials at that time.
    pub outcomes: u64,
    /// Looks before it at outcomes of the rows that test, of this study or another one.
    pub looks: u64,
    /// Of the ledger at that time: a claim cannot be moved before a look.
    pub head: Digest,
    pub study: Digest,
    pub split: Digest,
}

impl Sealing {
    /// Whether no outcome may be shown: sealed, and nothing is claimed yet.
    pub fn is_closed(&self) -> bool {
        self.sealed.is_some() && self.claim.is_none()
    }
}

impl Claim {
    /// What is hashed, for whoever wants to compute it: fields with a space between them, digests in
    /// hexadecimal, the text last.
    pub fn line(&self) -> String {
        let Self { text, stamp, outcomes, looks, head, study, split } = self;
        let (head, study, split) = (head.hex(), study.hex(), split.hex());
        format!("{} {} {outcomes} {looks} {head} {study} {split} {text}", stamp.at.0, stamp.who)
    }

    /// The registration's hash, as a report prints it: blake3 of [`Claim::line`].
    pub fn hash(&self) -> Digest {
        Digest::of(self.line().as_bytes())
    }
}

/// Why a text cannot be a claim; `None`: it can.
pub fn not_a_claim(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("a claim says what the study will show, in a sentence".to_string());
    }
    if text.len() > CLAIM_MAX {
        return Some(format!("a claim has at most {CLAIM_MAX} bytes, and this one {}", text.len()));
    }
    // Marks of direction and what is not seen could make a claim read as another one.
    let unseen = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let hidden = text.chars().any(|c| c.is_control() || unseen(c));
    hidden.then(|| "a claim is one line of text, without what is not seen".to_string())
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Report => "report",
            Purpose::Export => "export",
            Purpose::Run => "run",
        }
    }
}

impl Look {
    /// What is chained, for whoever wants to compute it: fields with a space between them, digests
    /// in hexadecimal, the label last.
    pub fn line(&self) -> String {
        let Self { number, at, who, label, purpose, outcomes, study, split } = self;
        let (purpose, study, split) = (purpose.name(), study.hex(), split.hex());
        format!("{number} {} {who} {purpose} {outcomes} {study} {split} {label}", at.0)
    }

    /// blake3 of the link before, in hexadecimal, a line end, and [`Look::line`].
    pub fn link(&self, before: &Digest) -> Digest {
        Digest::of(format!("{}\n{}", before.hex(), self.line()).as_bytes())
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            looks: 0,
            head: GENESIS,
            first: None,
            before: GENESIS,
            recent: Vec::new(),
            by: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// Adds a look, which must have the next number.
    pub fn add(&mut self, look: Look) {
        assert_eq!(look.number, self.looks + 1, "looks are numbered without gaps");
        self.looks = look.number;
        self.head = look.link(&self.head);
        if self.by.len() < LOOKERS_KEPT || self.by.contains_key(&look.who) {
            let looker =
                self.by.entry(look.who).or_insert(Looker { label: String::new(), looks: 0 });
            looker.label.clone_from(&look.label);
            looker.looks += 1;
        }
        self.first.get_or_insert_with(|| look.clone());
        self.recent.push(look);
        if self.recent.len() > LOOKS_KEPT {
            self.before = self.recent.remove(0).link(&self.before);
        }
    }

    /// Looks ever taken.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// The link of the latest look: whoever kept an earlier one can find it in the chain.
    pub fn head(&self) -> Digest {
        self.head
    }

    pub fn first(&self) -> Option<&Look> {
        self.first.as_ref()
    }

    /// The latest looks, oldest first, each with its link.
    pub fn recent(&self) -> impl Iterator<Item = (&Look, Digest)> {
        self.recent.iter().scan(self.before, |link, look| {
            *link = look.link(link);
            Some((look, *link))
        })
    }

    pub fn last(&self) -> Option<&Look> {
        self.recent.last()
    }

    /// The look of this number, where it is among the latest.
    pub fn look(&self, number: u64) -> Option<&Look> {
        self.recent.iter().rev().find(|look| look.number == number)
    }

    /// Who looked how often. Beyond [`LOOKERS_KEPT`] of them, further ones are in the count alone.
    pub fn by(&self) -> &BTreeMap<MemberId, Looker> {
        &self.by
    }

    /// Whether the looks that are kept lead to the head by their links, and the counts are theirs.
    pub fn is_sound(&self) -> bool {
        let kept = self.recent.len() as u64;
        let oldest = (self.looks + 1).saturating_sub(kept);
        let in_order = (oldest..).zip(&self.recent).all(|(number, look)| look.number == number);
        let head = self.recent().last().map_or(self.before, |(_, link)| link);
        let first = match (&self.first, self.recent.first()) {
            (None, None) => self.before == GENESIS,
            (Some(first), Some(oldest)) if oldest.number == 1 => {
                self.before == GENESIS && first == oldest
            }
            (Some(first), Some(_)) => first.number == 1 && self.before != GENESIS,
            _ => false,
        };
        let named: u64 = self.by.values().fold(0, |sum, looker| sum.saturating_add(looker.looks));
        let whole = named == self.looks || (named < self.looks && self.by.len() == LOOKERS_KEPT);
        kept == self.looks.min(LOOKS_KEPT as u64) && in_order && head == self.head && first && whole
    }
}

/// Before the first look.
pub const GENESIS: Digest = Digest([0; 32]);

/// Of the latest looks, so many are kept in full.
pub const LOOKS_KEPT: usize = 100;

/// Bytes of a claim.
pub const CLAIM_MAX: usize = 2_000;

/// So many askers have a count of their own.
pub const LOOKERS_KEPT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn look(number: u64) -> Look {
        Look {
            number,
            at: Timestamp(1_700_000_000_000 + number),
            who: MemberId(16 + number % 3),
            label: "desk".to_string(),
            purpose: [Purpose::Report, Purpose::Export][number as usize % 2],
            outcomes: 10 * number,
            study: Digest::of(b"study"),
            split: Digest::of(b"split"),
        }
    }

    fn of(looks: u64) -> Ledger {
        let mut ledger = Ledger::default();
        (1..=looks).for_each(|number| ledger.add(look(number)));
        ledger
    }

    #[test]
    fn links_are_those_that_anybody_can_compute() {
        let line = format!(
            "1 1700000000001 m17 export 10 {} {} desk",
            Digest::of(b"study").hex(),
            Digest::of(b"split").hex()
        );
        assert_eq!(look(1).line(), line);
        let first = Digest::of(format!("{}\n{line}", "0".repeat(64)).as_bytes());
        assert_eq!(of(1).head(), first);
        let second = Digest::of(format!("{}\n{}", first.hex(), look(2).line()).as_bytes());
        assert_eq!(of(2).head(), second);
        let hex = "79ced650b658e9274940496f21d75fa1";
        assert_eq!(&of(2).head().hex()[..32], hex, "as blake3 of another language gives it");
    }

    #[test]
    fn a_long_ledger_keeps_its_counts_its_first_look_and_the_latest() {
        for looks in [0, 1, 2, LOOKS_KEPT as u64, LOOKS_KEPT as u64 + 1, 1_000] {
            let ledger = of(looks);
            assert!(ledger.is_sound(), "{looks}");
            assert_eq!(ledger.looks(), looks);
            assert_eq!(ledger.recent().count() as u64, looks.min(LOOKS_KEPT as u64));
            assert_eq!(ledger.first(), (looks > 0).then(|| look(1)).as_ref());
            assert_eq!(ledger.last(), (looks > 0).then(|| look(looks)).as_ref());
            assert_eq!(ledger.look(looks), ledger.last());
            assert_eq!(ledger.by().values().map(|looker| looker.looks).sum::<u64>(), looks);
        }
        let (short, long) = (of(950), of(1_000));
        let linked = long.recent().find(|(look, _)| look.number == 950);
        assert_eq!(linked.map(|(_, link)| link), Some(short.head()), "an old head is in the chain");
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let changes: [fn(&mut Ledger); 9] = [
            |ledger| ledger.looks -= 1,
            |ledger| ledger.head.0[7] ^= 1,
            |ledger| ledger.before.0[7] ^= 1,
            |ledger| ledger.recent[3].at.0 += 1,
            |ledger| ledger.recent[3].label.push('s'),
            |ledger| ledger.recent.swap(3, 4),
            |ledger| drop(ledger.recent.remove(3)),
            |ledger| drop(ledger.by.pop_first()),
            |ledger| ledger.first = None,
        ];
        for looks in [20, 500] {
            for (at, change) in changes.iter().enumerate() {
                let mut ledger = of(looks);
                change(&mut ledger);
                assert!(!ledger.is_sound(), "change {at} of {looks}");
            }
        }
    }

    #[test]
    fn a_registrations_hash_is_one_that_anybody_can_compute() {
        let stamp = Stamp { at: Timestamp(7), who: MemberId(16), label: "desk".to_string() };
        let (study, split) = (Digest::of(b"study"), Digest::of(b"split"));
        let (outcomes, looks, head) = (3, 0, GENESIS);
        let text = "b beats a".to_string();
        let claim = Claim { text, stamp, outcomes, looks, head, study, split };
        let line = format!("7 m16 3 0 {} {} {} b beats a", head.hex(), study.hex(), split.hex());
        assert_eq!(claim.line(), line);
        assert_eq!(claim.hash(), Digest::of(line.as_bytes()));
        let later = Claim { looks: 1, ..claim.clone() };
        assert_ne!(claim.hash(), later.hash());
    }

    #[test]
    fn a_claim_is_a_line_of_text() {
        assert_eq!(not_a_claim("B beats A by more than 0.01"), None);
        for text in [
            "",
            "  ",
            "two\nlines",
            "b\u{202e}a",
            "b\u{2028}a",
            "b\u{feff}",
            &"x".repeat(CLAIM_MAX + 1),
        ] {
            assert!(not_a_claim(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn many_askers_cost_no_room() {
        let mut ledger = Ledger::default();
        for number in 1..=300 {
            ledger.add(Look { who: MemberId(number), ..look(number) });
        }
        assert_eq!((ledger.by().len(), ledger.looks()), (LOOKERS_KEPT, 300));
        assert!(ledger.is_sound());
    }
}
