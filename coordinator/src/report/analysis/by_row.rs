//! Everything that rests on scores of single rows, opened once.
//!
//! Floor: core.

use super::super::Material;
use super::super::content::{ArmPart, CaseLottery, CaseModelPart, ComparisonPart, Target};
use super::cases::Cases;
use super::other_rows::{self, Resampled};
use super::places::Places;
use super::{case_lottery, case_model, outlook};

/// Scores of rows, or why there are none, and where rows lie.
pub struct ByRow<'a> {
    material: Material<'a>,
    cases: Result<Cases<'a>, String>,
    pub places: Places<'a>,
}

impl<'a> ByRow<'a> {
    pub fn open(material: &Material<'a>) -> Self {
        let (cases, places) = (Cases::open(material), Places::of(material));
        Self { material: *material, cases, places }
    }

    /// The seed lottery of one arm, or why it cannot be played.
    pub fn lottery(&self, arm: usize) -> Result<CaseLottery, String> {
        let cases = self.cases.as_ref().map_err(String::clone)?;
        case_lottery::of_arm(self.material.study, cases, arm)
    }

    /// M2.
    pub fn model(&self) -> CaseModelPart {
        let cases = self.cases.as_ref().map_err(String::clone);
        case_model::of_all(self.material.study, cases, &self.places)
    }

    /// T3.
    pub fn resampled(&self) -> Resampled {
        let cases = self.cases.as_ref().map_err(String::clone);
        other_rows::of_all(self.material.study, cases, &self.places)
    }
}

impl Resampled {
    /// What these intervals reach, where anything was resampled.
    pub fn reach(&self) -> Option<Target> {
        self.part.missing.is_none().then_some(Target::T3)
    }

    /// Puts the intervals where arms and comparisons have room for them; both in the study's order.
    pub fn fill(&self, arms: &mut [ArmPart], comparisons: &mut [ComparisonPart]) {
        for (part, found) in arms.iter_mut().zip(&self.arms) {
            part.other_rows.clone_from(found);
        }
        let names: Vec<String> = arms.iter().map(|arm| arm.arm.clone()).collect();
        let place = |name: &str| names.iter().position(|own| own == name);
        for part in comparisons {
            let both = place(&part.a).zip(place(&part.b));
            part.other_rows = both.and_then(|both| self.pairs.get(&both).cloned());
            let test = both.and_then(|both| self.one_set.get(&both));
            let difference = part.contrast.as_ref().map(|contrast| contrast.difference);
            if let (Some(test), Some(difference), Some(outlook)) =
                (test, difference, &mut part.outlook)
            {
                let found = outlook::one_seed(difference, &outlook.precision, *test);
                // Configs' means spread less than the single runs that a paper has.
                outlook.replication.one_seed = found.filter(|_| outlook.standardized.is_some());
            }
        }
    }
}
