//! A state as bytes: what a snapshot holds, and whether bytes are a state that could have been.
//!
//! What programs of before knew comes first, so that they read what is below a level.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::StudyId;
use common::ledger::{Ledger, Sealing};
use common::wire::codec::{self, CodecError};

use super::buying::Buying;
use super::choices::Choices;
use super::command::{BUYING_LEVEL, LEDGER_LEVEL, NESTED_LEVEL, SEALS_LEVEL};
use super::state::{State, StudyRecord};

impl State {
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let (ledgers, sealings, choices) = (&self.ledgers, &self.sealings, &self.choices);
        match self.level {
            level if level < LEDGER_LEVEL => codec::encode(self),
            level if level < SEALS_LEVEL => codec::encode(&(self, ledgers)),
            level if level < NESTED_LEVEL => codec::encode(&(self, ledgers, sealings)),
            level if level < BUYING_LEVEL => codec::encode(&(self, ledgers, sealings, choices)),
            _ => codec::encode(&(self, ledgers, sealings, choices, &self.buying)),
        }
    }

    /// Reads what [`State::encode`] wrote; `None` when it is not a state that could have been.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut state = Self::read(bytes)?;
        let (buying, choices) = (&state.buying, &state.choices);
        for (id, record) in &mut state.studies {
            record.count_never(buying.get(id));
            record.count_spared(choices.get(id));
        }
        let sound = state.ledgers.iter().all(|(study, ledger)| {
            ledger.is_sound() && ledger.looks() > 0 && state.studies.contains_key(study)
        });
        let sealed = state.sealings.iter().all(|(study, sealing)| {
            *sealing != Sealing::default() && state.studies.contains_key(study)
        });
        let consistent = state.studies.values().all(StudyRecord::is_consistent);
        let known = |id| state.studies.contains_key(id);
        let opened = consistent
            && state.choices.keys().all(known)
            && state.buying.keys().all(known)
            && state
                .studies
                .iter()
                .all(|(id, record)| record.fits(state.choices.get(id), state.buying.get(id)));
        (sound && sealed && opened).then_some(state)
    }

    /// Each form ends where the bytes do, so that they are of one form alone.
    fn read(bytes: &[u8]) -> Option<Self> {
        type Ledgers = BTreeMap<StudyId, Ledger>;
        type Sealings = BTreeMap<StudyId, Sealing>;
        type AllChoices = BTreeMap<StudyId, Choices>;
        type AllBuying = BTreeMap<StudyId, Buying>;
        let (state, levels) = if let Ok((state, ledgers, sealings, choices, buying)) =
            codec::decode::<(Self, Ledgers, Sealings, AllChoices, AllBuying)>(bytes)
        {
            (Self { ledgers, sealings, choices, buying, ..state }, BUYING_LEVEL..=u16::MAX)
        } else if let Ok((state, ledgers, sealings, choices)) =
            codec::decode::<(Self, Ledgers, Sealings, AllChoices)>(bytes)
        {
            (Self { ledgers, sealings, choices, ..state }, NESTED_LEVEL..=BUYING_LEVEL - 1)
        } else if let Ok((state, ledgers, sealings)) =
            codec::decode::<(Self, Ledgers, Sealings)>(bytes)
        {
            (Self { ledgers, sealings, ..state }, SEALS_LEVEL..=NESTED_LEVEL - 1)
        } else if let Ok((state, ledgers)) = codec::decode::<(Self, Ledgers)>(bytes) {
            (Self { ledgers, ..state }, LEDGER_LEVEL..=SEALS_LEVEL - 1)
        } else {
            (codec::decode::<Self>(bytes).ok()?, 0..=LEDGER_LEVEL - 1)
        };
        levels.contains(&state.level).then_some(state)
    }
}
