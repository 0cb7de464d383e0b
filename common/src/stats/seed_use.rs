//! The class of a study's use of seeds, and the smallest change that makes a risky one sound.
//!
//! Classes 1 to 5 are those of Bethard (2022, arXiv 2210.13393); 6 is what a comparison should be.
//! Deliberately absent: the words for readers.
//!
//! Floor: common.

use std::collections::BTreeMap;

use crate::seed::Stream;

/// What a study did with its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Practice {
    pub purpose: Purpose,
    pub arms: u32,
    /// Configs over all arms.
    pub configs: u64,
    /// Distinct seeds, each one value per stream; 0 when no run has a score.
    pub seeds: u32,
    /// Distinct values of each stream that was set.
    pub streams: BTreeMap<Stream, u32>,
    pub partitions: u32,
    /// Of one partition.
    pub folds: u32,
    /// Seeds and folds each have a variance of their own in the analysis.
    pub modelled: bool,
}

/// What the scores are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To choose a config, on rows that no report is about.
    Select,
    /// To be averaged into one predictor.
    Ensemble,
    /// To be reported.
    Report,
}

/// Bethard's classes in his order, and the sixth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    Selection = 1,
    Ensemble = 2,
    Sensitivity = 3,
    /// Risky: one seed, whose luck is inside every number.
    SingleSeed = 4,
    /// Risky: arms compared over seeds, and nothing else varied and modelled.
    SeedsAlone = 5,
    /// Seeds and data varied, each with its own variance.
    Modelled = 6,
}

/// What would be enough of each source to model it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Enough {
    pub seeds: u32,
    /// Over all partitions.
    pub folds: u32,
}

/// The smallest change to class 6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mend {
    /// Seeds to have; `None` where there are enough.
    pub seeds: Option<u32>,
    /// Folds to have over all partitions; `None` where there are several.
    pub folds: Option<u32>,
    /// Nothing is to be run; the analysis must give each source its variance.
    pub model: bool,
    /// Further runs.
    pub runs: u64,
}

/// A class with what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedUse {
    pub class: Class,
    /// Streams held at one value while seeds vary: their luck is in every number.
    pub held: Vec<Stream>,
    /// For the risky classes.
    pub mend: Option<Mend>,
}

impl Class {
    pub fn is_risky(self) -> bool {
        matches!(self, Class::SingleSeed | Class::SeedsAlone)
    }
}

/// The class of `practice`; `None` when no run has a score.
pub fn seed_use(practice: &Practice, enough: Enough) -> Option<SeedUse> {
    if practice.seeds == 0 || practice.blocks() == 0 {
        return None;
    }
    let class = class(practice);
    let held = practice
        .streams
        .iter()
        .filter(|(stream, values)| Stream::TRAINING.contains(stream) && **values == 1)
        .map(|(stream, _)| *stream)
        .filter(|_| practice.seeds > 1)
        .collect();
    Some(SeedUse { class, held, mend: class.is_risky().then(|| mend(practice, enough)) })
}

impl Practice {
    /// Test sets.
    fn blocks(&self) -> u64 {
        u64::from(self.partitions) * u64::from(self.folds)
    }
}

fn class(practice: &Practice) -> Class {
    match practice.purpose {
        Purpose::Select => return Class::Selection,
        Purpose::Ensemble => return Class::Ensemble,
        Purpose::Report => {}
    }
    if practice.seeds == 1 {
        return Class::SingleSeed;
    }
    match (practice.blocks() > 1 && practice.modelled, practice.arms > 1) {
        (true, _) => Class::Modelled,
        (false, true) => Class::SeedsAlone,
        (false, false) => Class::Sensitivity,
    }
}

/// A study is a product, so every new seed meets every fold and every new fold every seed.
fn mend(practice: &Practice, enough: Enough) -> Mend {
    let (seeds, blocks) = (u64::from(practice.seeds), practice.blocks());
    let seeds_to = if seeds == 1 { u64::from(enough.seeds.max(2)) } else { seeds };
    let blocks_to = if blocks == 1 { u64::from(enough.folds.max(2)) } else { blocks };
    Mend {
        seeds: (seeds_to > seeds).then_some(seeds_to as u32),
        folds: (blocks_to > blocks).then_some(blocks_to as u32),
        model: !practice.modelled,
        runs: practice.configs * (seeds_to * blocks_to - seeds * blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_practice_has_its_class() {
        let of = |change: fn(&mut Practice)| {
            let mut practice = sound();
            change(&mut practice);
            seed_use(&practice, ENOUGH).map(|found| found.class as u8)
        };
        assert_eq!(of(|_| {}), Some(6));
        assert_eq!(of(|p| p.purpose = Purpose::Select), Some(1));
        assert_eq!(of(|p| p.purpose = Purpose::Ensemble), Some(2));
        assert_eq!(of(|p| (p.arms, p.partitions, p.folds) = (1, 1, 1)), Some(3));
        assert_eq!(of(|p| p.seeds = 1), Some(4));
        assert_eq!(of(|p| (p.seeds, p.partitions, p.folds) = (1, 1, 1)), Some(4));
        assert_eq!(of(|p| (p.partitions, p.folds) = (1, 1)), Some(5));
        assert_eq!(of(|p| p.modelled = false), Some(5));
        assert_eq!(of(|p| p.seeds = 0), None);
    }

    #[test]
    fn the_mend_itself_is_of_class_six_and_costs_its_runs() {
        for (seeds, partitions, folds, modelled) in
            [(1, 2, 5, true), (1, 1, 1, true), (7, 1, 1, true), (7, 2, 5, false), (1, 1, 1, false)]
        {
            let mut practice = Practice { seeds, partitions, folds, modelled, ..sound() };
            let before = practice.configs * u64::from(practice.seeds) * practice.blocks();
            let mend = seed_use(&practice, ENOUGH).unwrap().mend.unwrap();

            practice.seeds = mend.seeds.unwrap_or(seeds);
            if let Some(folds) = mend.folds {
                (practice.partitions, practice.folds) = (1, folds);
            }
            practice.modelled |= mend.model;

            let after = practice.configs * u64::from(practice.seeds) * practice.blocks();
            assert_eq!(mend.runs, after - before);
            assert_eq!(seed_use(&practice, ENOUGH).unwrap().class, Class::Modelled);
        }
    }

    #[test]
    fn a_stream_held_while_others_vary_is_named() {
        let mut practice = sound();
        practice.streams = BTreeMap::from([(Stream::Init, 7), (Stream::Order, 1)]);

        assert_eq!(seed_use(&practice, ENOUGH).unwrap().held, [Stream::Order]);
        practice.seeds = 1;
        assert_eq!(seed_use(&practice, ENOUGH).unwrap().held, []);
    }

    fn sound() -> Practice {
        Practice {
            purpose: Purpose::Report,
            arms: 2,
            configs: 3,
            seeds: 7,
            streams: BTreeMap::from([(Stream::Init, 7), (Stream::Order, 7)]),
            partitions: 2,
            folds: 5,
            modelled: true,
        }
    }

    const ENOUGH: Enough = Enough { seeds: 10, folds: 10 };
}
