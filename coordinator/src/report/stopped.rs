//! "Why did it stop there?": what the study's rule decided, and what was not bought.
//!
//! Of a study whose rule has ended it the seeds that nobody bought are no part of the design: what is
//! analysed is a study of as many seeds as there are, and an arm that was dropped earlier has fewer.
//!
//! Floor: core.

use common::design::Design;
use common::study::Study;
use common::wire::message::{Decided, Why};
use serde::Serialize;

use super::Material;
use super::number::{count, counted};

/// What of a study was bought, as the coordinator decided it.
#[derive(Clone, Copy, Debug)]
pub struct Bought<'a> {
    /// As it was planned.
    pub study: &'a Study,
    pub decided: &'a [Decided],
    /// Seeds of each arm; none where all are bought.
    pub seeds: &'a [u32],
}

/// Why nothing more is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StopPart {
    pub why: Why,
    /// Whether nothing more is trained; else arms were dropped, and others go on or were trained whole.
    pub ended: bool,
    /// What the rule saw, with its numbers.
    pub words: String,
    /// Of the arms that were trained longest.
    pub seeds: u32,
    pub planned_seeds: u32,
    /// Trainings that were planned and not needed.
    pub trainings_saved: u64,
    /// Of those planned.
    pub share_saved: f64,
    pub arms: Vec<ArmStop>,
}

/// Of one judged arm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmStop {
    pub arm: String,
    pub seeds: u32,
}

impl<'a> Bought<'a> {
    /// The decision after which nothing more is bought, of an arm at least.
    fn last(&self) -> Option<&'a Decided> {
        let ended = |last: &&Decided| last.stops() || last.why == Why::Asked;
        let dropped = || self.decided.iter().rev().find(|decided| !decided.words.is_empty());
        self.decided.last().filter(ended).or_else(|| dropped().filter(|_| self.is_uneven()))
    }

    /// Whether some judged arm was dropped and has fewer seeds than others.
    fn is_uneven(&self) -> bool {
        let judged = &self.seeds[..self.study.judged().len().min(self.seeds.len())];
        judged.iter().min() < judged.iter().max()
    }

    fn most(&self) -> u32 {
        self.seeds.iter().copied().max().unwrap_or_default()
    }

    /// The study with the seeds that were bought; `None` where all were, or more may be.
    pub fn cut(&self, study: &Study) -> Option<Study> {
        self.decided.last().filter(|last| last.stops() || last.why == Why::Asked)?;
        self.last().filter(|last| last.why != Why::Spent)?;
        let most = *self.seeds.iter().max()?;
        let [factor] = study.seeds.factors.as_slice() else { return None };
        let mut cut = study.clone();
        cut.seeds.factors[0].count = most.clamp(1, factor.count);
        Some(cut)
    }

    /// Trials of an arm's configs on outer folds that were not bought, of those that `study` has.
    pub fn unbought(&self, design: &Design, arm: u32) -> u64 {
        let bought = self.seeds.get(arm as usize).copied().map(u64::from);
        let left = bought.map_or(0, |bought| design.seeds_of(arm).saturating_sub(bought));
        let ended = self.decided.last().is_some_and(|last| last.stops() || last.why == Why::Asked);
        let dropped = bought.is_some_and(|bought| bought < u64::from(self.most()));
        if ended || dropped { left * design.blocks() } else { 0 }
    }
}

/// `None` where nothing ended the study early.
pub fn part(material: &Material<'_>) -> Option<StopPart> {
    let bought = material.bought?;
    let (last, study) = (bought.last()?, bought.study);
    let design = Design::of(study);
    let never = |(arm, seeds): (u32, &u32)| {
        let left = design.seeds_of(arm).saturating_sub(u64::from(*seeds));
        left * design.trained_with_a_seed(arm)
    };
    let planned = match last.why {
        // A rule might never have bought the rest.
        Why::Spent => {
            let rest: u64 = (0..).zip(bought.seeds).map(never).sum();
            design.trained().unwrap_or_default().saturating_sub(rest)
        }
        Why::Rule | Why::Asked => design.trained().unwrap_or_default(),
    };
    let ended = bought.decided.last().is_some_and(|last| last.stops() || last.why == Why::Asked);
    let dropped = |seeds: u32| ended || seeds < bought.most();
    let saved = (0..).zip(bought.seeds).filter(|(_, seeds)| dropped(**seeds)).map(never);
    let trainings_saved = match last.why {
        Why::Spent => planned.saturating_sub(material.rows.len() as u64),
        Why::Rule | Why::Asked => saved.sum(),
    };
    let planned_seeds = study.seeds.factors.first().map_or(1, |factor| factor.count);
    let arms = study.judged().iter().zip(bought.seeds);
    Some(StopPart {
        why: last.why,
        ended,
        words: sentence(&last.words),
        seeds: bought.seeds.iter().copied().max().unwrap_or(planned_seeds),
        planned_seeds,
        trainings_saved,
        share_saved: trainings_saved as f64 / planned.max(1) as f64,
        arms: arms.map(|(arm, seeds)| ArmStop { arm: arm.name.clone(), seeds: *seeds }).collect(),
    })
}

/// What a reader of intervals must know, after the report's basis.
pub fn in_basis(material: &Material<'_>) -> String {
    part(material).map_or(String::new(), |part| part.in_basis())
}

impl StopPart {
    /// What was saved, as a sentence of its own, after what the rule saw.
    pub fn saved_in_words(&self) -> String {
        sentence(&self.saving())
    }

    fn saving(&self) -> String {
        let seeds = format!("{} of {}", self.seeds, counted(self.planned_seeds.into(), "seed"));
        let saved = counted(self.trainings_saved, "training");
        let share = format!("{:.0} %", 100.0 * self.share_saved);
        let dropped = match self.dropped() {
            words if words.is_empty() => String::new(),
            words => format!(" (dropped earlier: {words})"),
        };
        match self.why {
            Why::Spent => format!("{saved} of those planned ({share}) are missing"),
            Why::Rule | Why::Asked => format!(
                "{seeds} were trained{dropped}; {saved} of those planned ({share}) were saved"
            ),
        }
    }

    /// Arms with fewer seeds than others, each with its number.
    fn dropped(&self) -> String {
        let fewer = self.arms.iter().filter(|arm| arm.seeds < self.seeds);
        let words: Vec<String> =
            fewer.map(|arm| format!("{} after {}", arm.arm, arm.seeds)).collect();
        words.join(", ")
    }

    fn in_basis(&self) -> String {
        match self.why {
            Why::Spent => format!(" It ended early. {}", self.words),
            Why::Rule if !self.ended => format!(
                " The study's own rule dropped arms on the way ({}), and what the rule claims holds at every \
                 look; all other intervals do not allow for that.",
                self.dropped()
            ),
            Why::Rule => format!(
                " The study's own rule ended it after {} of {} seeds, and what the rule claims holds at every \
                 look; all other intervals are those of a study of {} seeds and do not allow for that.",
                count(self.seeds.into()),
                count(self.planned_seeds.into()),
                count(self.seeds.into())
            ),
            Why::Asked => {
                " Its rule had ended it, and further seeds were asked for after that: only \
                            the limits that hold at every look allow for both."
                    .to_string()
            }
        }
    }
}

/// With a capital and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use common::time::Timestamp;

    use super::*;
    use crate::sample;

    fn decided(seeds: u32, go_on: &[u32], words: &str) -> Decided {
        let (at, why) = (Timestamp(1), Why::Rule);
        Decided { at, seeds, go_on: go_on.to_vec(), why, words: words.to_string() }
    }

    /// Three arms and their controls of two seeds, of at most twenty seeds.
    fn part_of(
        decided: &[Decided],
        third: u32,
        most: u32,
    ) -> (Option<StopPart>, [u64; 2], Option<u32>) {
        let study = sample::limited(3, 20, "[stop]");
        let mut seeds = vec![most; study.arms.len()];
        seeds[2] = third;
        let bought = Bought { study: &study, decided, seeds: &seeds };
        let material = Material { bought: Some(bought), ..Material::of(&study, &[]) };
        let design = Design::of(&study);
        let unbought = [0, 2].map(|arm| bought.unbought(&design, arm));
        let cut = bought.cut(&study).map(|cut| cut.seeds.factors[0].count);
        (part(&material), unbought, cut)
    }

    #[test]
    fn an_arm_that_was_dropped_on_the_way_is_not_missing_what_nobody_bought() {
        let race = [decided(6, &[0, 1], "a2 is out."), decided(7, &[0, 1], "")];
        for most in [20, 8] {
            let (part, unbought, cut) = part_of(&race, 6, most);
            let part = part.expect("an arm was dropped");
            assert_eq!((part.trainings_saved, part.ended, cut), (14 * 5, false, None));
            assert_eq!(unbought, [0, 14 * 5], "what others may yet train is missing");
            assert!(part.in_basis().contains("dropped arms on the way (a2 after 6)"));
        }
    }

    #[test]
    fn a_study_that_its_rule_ended_is_one_of_as_many_seeds_as_were_bought() {
        let race = [decided(6, &[0, 1], "a2 is out."), decided(9, &[], "they differ.")];
        let (part, unbought, cut) = part_of(&race, 6, 9);
        let part = part.expect("it ended");
        assert_eq!((part.trainings_saved, part.ended, cut), (2 * 11 * 5 + 14 * 5, true, Some(9)));
        assert_eq!(unbought, [11 * 5, 14 * 5]);
        let saved = part.saved_in_words();
        assert!(
            saved.starts_with("9 of 20 seeds were trained (dropped earlier: a2 after 6)"),
            "{saved}"
        );
        assert_eq!(part.words, "They differ.");
    }

    #[test]
    fn a_study_that_goes_on_has_nothing_to_say_of_its_end() {
        let (part, unbought, cut) = part_of(&[decided(5, &[0, 1, 2], "")], 6, 6);
        assert_eq!((part, unbought, cut), (None, [0, 0], None));
    }
}
