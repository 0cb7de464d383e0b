//! Controls: arms that nobody judges, and beside which the judged ones must show what they learned.
//!
//! Controls are arms like others to those who plan, train and keep outcomes, so none of them needs a
//! second path. They stand behind all judged arms, so that the judged ones are a prefix, and are
//! trained with the first seeds alone. Deliberately absent: what their scores say; the report does.
//!
//! Floor: common.

use super::{Arm, Model, Study};

/// What an arm is for, when it is not there to be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// Knows nothing but the training rows' targets: how often each class is, or their mean.
    Constant,
    /// Another arm, trained with the labels of its training rows shuffled.
    Permuted {
        /// The arm's number in its study.
        of: u32,
        /// Seeds, from the first on, that it is trained with.
        repeats: u32,
    },
}

impl Arm {
    pub fn control(&self) -> Option<Control> {
        match self.model {
            Model::Constant => Some(Control::Constant),
            Model::Permuted { of, repeats } => Some(Control::Permuted { of, repeats }),
            _ => None,
        }
    }

    /// Seeds, from the first on, that the arm is trained with; `None` for all of the study's.
    ///
    /// Seeds change nothing in a constant: one is enough.
    pub fn seeds_max(&self) -> Option<u32> {
        match self.control()? {
            Control::Constant => Some(1),
            Control::Permuted { repeats, .. } => Some(repeats),
        }
    }
}

impl Study {
    /// The arms under judgement: all before the first control.
    pub fn judged(&self) -> &[Arm] {
        let first = self.arms.iter().position(|arm| arm.control().is_some());
        &self.arms[..first.unwrap_or(self.arms.len())]
    }

    /// The constant control's number, where the study has one.
    pub fn constant(&self) -> Option<usize> {
        self.arms.iter().position(|arm| arm.control() == Some(Control::Constant))
    }

    /// The number of the control that is arm `number` with shuffled labels, where there is one.
    pub fn permuted(&self, number: usize) -> Option<usize> {
        self.arms.iter().position(|arm| {
            matches!(arm.control(), Some(Control::Permuted { of, .. }) if of as usize == number)
        })
    }

    /// The model that an arm trains: that of the arm which a permuted one repeats.
    pub fn model_of(&self, arm: &Arm) -> Model {
        match arm.control() {
            // Where none is, the study has not passed `has_sound_controls`; nothing is trained then.
            Some(Control::Permuted { of, .. }) => {
                self.judged().get(of as usize).map_or(Model::Constant, |arm| arm.model)
            }
            _ => arm.model,
        }
    }

    /// Whether controls stand behind a judged arm and repeat only judged ones; asked of a study that
    /// came from elsewhere.
    pub fn has_sound_controls(&self) -> bool {
        let judged = self.judged().len();
        let sound = |arm: &Arm| match arm.control() {
            None => false,
            Some(Control::Constant) => true,
            Some(Control::Permuted { of, repeats }) => (of as usize) < judged && repeats > 0,
        };
        judged > 0 && self.arms[judged..].iter().all(sound)
    }
}

/// The constant control's name, unless the study file gives it another.
pub const CONSTANT: &str = "constant";

/// What is put behind an arm's name to name its permuted control.
pub const PERMUTED: &str = ".permuted";
