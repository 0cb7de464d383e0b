//! Arms whose configs are proposed while the study runs, by searches that learn from inner scores.
//!
//! Such an arm has as many configs as it may try, so that trials keep their numbers; what a try stands for
//! is decided for each choice, and kept here once the log holds it. Until then a try has the arm's config of
//! that number, which is an example of its space under the name of a try, and is not trained. An arm without
//! has the bytes that arms had before there were any: a search stands in the model's place. Deliberately
//! absent: which config is tried next (`searching`).
//!
//! Floor: common.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::grammar::{set, settle};
use super::{Arm, ArmConfig, Halving, Hyper, Model, Race, Study};
use crate::design::{Choice, Design, TrialKey};
use crate::id::Digest;
use crate::label::Requires;
use crate::plan::{Method, Search, SearchError, Terms};
use crate::space::{Axis, Config, Space, Value};
use crate::wire::codec;

/// How an arm's configs are found, and which were.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    pub method: Method,
    pub space: Space,
    /// What all of its configs have in common; of a program without its files.
    fixed: Hyper,
    /// By the choice's cell and the number of the try; without gaps.
    proposed: BTreeMap<(u64, u32), ArmConfig>,
}

/// What one choice tries next, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    pub arm: u32,
    /// As in [`Choice`].
    pub cell: u64,
    /// The number of the try, from 0.
    pub slot: u32,
    pub point: Config,
}

impl Proposed {
    pub fn choice(&self) -> Choice {
        Choice { arm: self.arm, cell: self.cell }
    }
}

impl Learned {
    pub fn new(method: Method, space: Space, fixed: Hyper) -> Self {
        let mut fixed = fixed;
        if let Some(program) = &mut fixed.program {
            program.files.clear();
        }
        Self { method, space, fixed, proposed: BTreeMap::new() }
    }

    /// What a try of a choice stands for; `None` while it is not decided.
    pub fn config(&self, cell: u64, slot: u32) -> Option<&ArmConfig> {
        self.proposed.get(&(cell, slot))
    }

    /// How many tries of a choice are decided.
    pub fn tries(&self, cell: u64) -> u32 {
        self.proposed.range((cell, 0)..=(cell, u32::MAX)).count() as u32
    }

    /// Every try that is decided, by cell and number.
    pub fn all(&self) -> impl Iterator<Item = (u64, u32, &ArmConfig)> {
        self.proposed.iter().map(|(&(cell, slot), config)| (cell, slot, config))
    }

    /// The search of one choice, which has proposed nothing yet.
    ///
    /// Errors: a space that does not suit the method.
    pub fn search(&self, terms: Terms) -> Result<Search, SearchError> {
        Search::new(self.space.clone(), self.method, terms)
    }

    /// All hyperparameters at a point of the space; `None` where it has one that no arm can have. Values are
    /// copied: nothing is computed.
    fn at(&self, point: Config) -> Option<ArmConfig> {
        let mut hyper = self.fixed.clone();
        if hyper.program.is_none() {
            let all = point.values.iter().all(|(name, value)| set(&mut hyper, name, value));
            all.then_some(())?;
            settle(&mut hyper);
        }
        Some(ArmConfig { point, hyper })
    }

    /// Bytes that a try takes beside the study, at most.
    fn bytes_each(&self) -> u64 {
        let value = |axis: &Axis| -> usize {
            let bytes = |value: &Value| codec::encode(value).map_or(0, |bytes| bytes.len());
            match axis {
                Axis::List(values) => values.iter().map(bytes).max().unwrap_or(0),
                _ => NUMBER_BYTES,
            }
        };
        let axes = self.space.axes.iter().map(|(name, axis)| name.len() + 3 + value(axis));
        axes.sum::<usize>() as u64 + NUMBER_BYTES as u64
    }

    /// Whether a search can be made of it; asked of a study that came from elsewhere.
    fn is_sound(&self) -> bool {
        let terms = Terms { budget: 1, larger_is_better: true, data: Digest([0; 32]), seed: 0 };
        self.method.learns() && self.proposed.is_empty() && self.search(terms).is_ok()
    }
}

impl Study {
    /// Whether some arm's configs are proposed while it runs.
    pub fn learns(&self) -> bool {
        self.arms.iter().any(|arm| arm.learned.is_some())
    }

    /// The configs among which a choice chooses, in order. Of a search those that it has not proposed are
    /// examples.
    pub fn configs_of(&self, choice: Choice) -> Vec<&ArmConfig> {
        let Some(arm) = self.arms.get(choice.arm as usize) else { return Vec::new() };
        let known = |slot: u32| arm.learned.as_ref()?.config(choice.cell, slot);
        (0..).zip(&arm.configs).map(|(slot, config)| known(slot).unwrap_or(config)).collect()
    }

    /// Keeps a try. `false`, and nothing changed: there is no such choice, the try is not the next one, or
    /// its point is none of this arm's.
    pub fn propose(&mut self, design: &Design, proposed: &Proposed) -> bool {
        let Proposed { arm, cell, slot, point } = proposed;
        let (choice, Some(arm)) = (proposed.choice(), self.arms.get_mut(*arm as usize)) else {
            return false;
        };
        let configs = arm.configs.len() as u64;
        let Some(learned) = &mut arm.learned else { return false };
        let next = design.has(choice)
            && u64::from(*slot) < configs
            && learned.tries(*cell) == *slot
            && point.values.len() <= learned.space.axes.len();
        match next.then(|| learned.at(point.clone())).flatten() {
            Some(config) => learned.proposed.insert((*cell, *slot), config).is_none(),
            None => false,
        }
    }

    /// The study as it was submitted, without what was proposed since.
    pub fn unsearched(&self) -> Study {
        let mut study = self.clone();
        let searches = study.arms.iter_mut().filter_map(|arm| arm.learned.as_mut());
        searches.for_each(|learned| learned.proposed.clear());
        study
    }

    /// Bytes that it has when all is tried, at most; more than one message holds, and it cannot travel.
    pub fn bytes_at_most(&self) -> u64 {
        let bytes = codec::encode(&self.unsearched()).map_or(u64::MAX, |bytes| bytes.len() as u64);
        let design = Design::of(self);
        let of_arm = |(arm, written): (u32, &Arm)| {
            let each = written.learned.as_ref().map_or(0, |learned| learned.bytes_each());
            let choices = design.choices_of(arm).saturating_mul(written.configs.len() as u64);
            choices.saturating_mul(each)
        };
        (0..).zip(&self.arms).map(of_arm).fold(bytes, u64::saturating_add)
    }

    /// Whether its searches are such as a study file may hold, and have proposed nothing; asked of a study
    /// that came from elsewhere.
    pub(super) fn has_sound_searches(&self) -> bool {
        let nested = self.outer.inner.is_some();
        let sound = |arm: &Arm| {
            arm.learned
                .as_ref()
                .is_none_or(|learned| nested && arm.configs.len() > 1 && learned.is_sound())
        };
        self.arms.iter().all(sound)
    }
}

impl Arm {
    /// Whether some of its configs have a value of this name.
    pub fn varies(&self, name: &str) -> bool {
        let of_space = self.learned.iter().flat_map(|learned| &learned.space.axes);
        let listed = self.configs.iter().any(|config| config.point.value(name).is_some());
        listed || of_space.into_iter().any(|(axis, _)| axis == name)
    }

    /// The config of a trial of this arm.
    pub(crate) fn config_of<'a>(&'a self, study: &Study, key: &TrialKey) -> &'a ArmConfig {
        let known = self.learned.as_ref().and_then(|learned| {
            let choice = Design::of(study).choice_of(key)?;
            learned.config(choice.cell, key.config)
        });
        known.unwrap_or(&self.configs[key.config as usize])
    }
}

/// What a try is called before it is decided, and where all choices are spoken of: `try=3`.
pub(super) fn tried(number: usize) -> Config {
    Config { values: vec![(TRY.to_string(), Value::Int(number as i64 + 1))] }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let how = match (&self.learned, self.halving, self.race) {
            (None, None, None) => HowLayout::Plain(self.model),
            (None, None, Some(race)) => HowLayout::Raced(self.model, race),
            (None, Some(halving), _) if halving.at_once => {
                HowLayout::HalvedAtOnce(self.model, halving)
            }
            (None, Some(halving), _) => HowLayout::Halved(self.model, halving),
            (Some(learned), ..) => {
                HowLayout::Learned(self.model, Box::new(LearnedLayout::of(learned)))
            }
        };
        let model = match (self.requires.is_empty(), how) {
            (false, how) => ModelLayout::Required(self.requires.clone(), how),
            (true, HowLayout::Plain(model)) => ModelLayout::from(model),
            (true, HowLayout::Learned(model, layout)) => ModelLayout::Learned(model, layout),
            (true, HowLayout::Halved(model, halving)) => ModelLayout::Halved(model, halving),
            (true, HowLayout::Raced(model, race)) => ModelLayout::Raced(model, race),
            (true, HowLayout::HalvedAtOnce(model, halving)) => {
                ModelLayout::HalvedAtOnce(model, halving)
            }
        };
        Layout { name: &self.name, model, written: &self.written, configs: &self.configs }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Read = Layout<String, Vec<ArmConfig>>;
        let Layout { name, model, written, configs } = Read::deserialize(deserializer)?;
        let (requires, how) = match model {
            ModelLayout::Required(requires, how) => (requires, how),
            ModelLayout::Learned(model, layout) => {
                (Requires::default(), HowLayout::Learned(model, layout))
            }
            ModelLayout::Halved(model, halving) => {
                (Requires::default(), HowLayout::Halved(model, halving))
            }
            ModelLayout::Raced(model, race) => (Requires::default(), HowLayout::Raced(model, race)),
            ModelLayout::HalvedAtOnce(model, halving) => {
                (Requires::default(), HowLayout::HalvedAtOnce(model, halving))
            }
            model => {
                let none = || D::Error::custom("there is no such model");
                (Requires::default(), HowLayout::Plain(model.plain().ok_or_else(none)?))
            }
        };
        let (mut learned, mut halving, mut race) = (None, None, None);
        let model = match how {
            HowLayout::Plain(model) => model,
            HowLayout::Learned(model, layout) => {
                let broken = || D::Error::custom("a search has tries that it cannot have");
                learned = Some(Box::new(layout.learned().ok_or_else(broken)?));
                model
            }
            HowLayout::Halved(model, of) => {
                halving = Some(of);
                model
            }
            HowLayout::HalvedAtOnce(model, of) => {
                halving = Some(Halving { at_once: true, ..of });
                model
            }
            HowLayout::Raced(model, of) => {
                race = Some(of);
                model
            }
        };
        Ok(Arm { name, model, written, configs, learned, halving, race, requires })
    }
}

/// [`Arm`] as it is written: a search stands behind the models, in the place of its arm's, and so does what
/// is required of whoever trains it.
#[derive(Serialize, Deserialize)]
struct Layout<Text, Configs> {
    name: Text,
    model: ModelLayout,
    written: Text,
    configs: Configs,
}

/// The models in the order of [`Model`], and what came later.
#[derive(Serialize, Deserialize)]
enum ModelLayout {
    Linear,
    Mlp,
    Constant,
    Permuted {
        of: u32,
        repeats: u32,
    },
    Cnn,
    Resnet,
    Unet,
    Transformer,
    Program,
    Learned(Model, Box<LearnedLayout>),
    Halved(Model, Halving),
    Raced(Model, Race),
    HalvedAtOnce(Model, Halving),
    /// Never empty: an arm that requires nothing has the bytes of before.
    Required(Requires, HowLayout),
}

/// How an arm's configs are found, beside what it requires.
#[derive(Serialize, Deserialize)]
enum HowLayout {
    Plain(Model),
    Learned(Model, Box<LearnedLayout>),
    Halved(Model, Halving),
    Raced(Model, Race),
    HalvedAtOnce(Model, Halving),
}

#[derive(Serialize, Deserialize)]
struct LearnedLayout {
    method: Method,
    space: Space,
    fixed: Hyper,
    proposed: Vec<(u64, u32, Config)>,
}

impl LearnedLayout {
    fn of(learned: &Learned) -> Self {
        let Learned { method, space, fixed, .. } = learned;
        let tries = learned.all().map(|(cell, slot, config)| (cell, slot, config.point.clone()));
        let (method, space, fixed) = (*method, space.clone(), fixed.clone());
        Self { method, space, fixed, proposed: tries.collect() }
    }

    /// `None` where tries are not in order, or cannot be made.
    fn learned(self) -> Option<Learned> {
        let Self { method, space, fixed, proposed } = self;
        let mut learned = Learned { method, space, fixed, proposed: BTreeMap::new() };
        for (cell, slot, point) in proposed {
            let next =
                learned.proposed.last_key_value().is_none_or(|(last, _)| *last < (cell, slot));
            let first = slot == 0 || learned.proposed.contains_key(&(cell, slot - 1));
            let config = (next && first).then(|| learned.at(point)).flatten()?;
            learned.proposed.insert((cell, slot), config);
        }
        Some(learned)
    }
}

impl From<Model> for ModelLayout {
    fn from(model: Model) -> Self {
        match model {
            Model::Linear => Self::Linear,
            Model::Mlp => Self::Mlp,
            Model::Constant => Self::Constant,
            Model::Permuted { of, repeats } => Self::Permuted { of, repeats },
            Model::Cnn => Self::Cnn,
            Model::Resnet => Self::Resnet,
            Model::Unet => Self::Unet,
            Model::Transformer => Self::Transformer,
            Model::Program => Self::Program,
        }
    }
}

impl ModelLayout {
    fn plain(&self) -> Option<Model> {
        Some(match self {
            Self::Linear => Model::Linear,
            Self::Mlp => Model::Mlp,
            Self::Constant => Model::Constant,
            Self::Permuted { of, repeats } => Model::Permuted { of: *of, repeats: *repeats },
            Self::Cnn => Model::Cnn,
            Self::Resnet => Model::Resnet,
            Self::Unet => Model::Unet,
            Self::Transformer => Model::Transformer,
            Self::Program => Model::Program,
            Self::Learned(..) | Self::Halved(..) | Self::Raced(..) => return None,
            Self::HalvedAtOnce(..) | Self::Required(..) => return None,
        })
    }
}

/// What the tries of a search are numbered by.
pub const TRY: &str = "try";
/// Of any number, and of a try's place.
const NUMBER_BYTES: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TrialIndex;
    use crate::study::check;

    /// On two inner folds; `search` as in a study file, none for a grid.
    fn study(search: &str) -> Study {
        let text = format!(
            "[study]\nname = \"s\"\nmetric = \"auroc\"\n\
             [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
             [split]\nouter = {{ folds = 2 }}\ninner = {{ folds = 2 }}\n[seeds]\ncount = 2\n\
             [arms.a]\nmodel = \"mlp\"\noptimizer = \"adam\"\n{search}\
             space = {{ lr = [0.1, 0.2, 0.3], weight_decay = [0.0, 0.5] }}\n"
        );
        let rows: String = (0..40).map(|n| format!("{n},{}\n", n % 2)).collect();
        let csv = format!("x,y\n{rows}");
        check(&text, &mut |_| Ok(csv.clone().into_bytes())).expect("valid").study
    }

    fn learned() -> Study {
        study("search = { method = \"tpe\", configs = 4 }\n")
    }

    fn point(lr: f64, decay: f64) -> Config {
        let value = |name: &str, value| (name.to_string(), Value::Float(value));
        Config { values: vec![value("lr", lr), value("weight_decay", decay)] }
    }

    fn proposed(cell: u64, slot: u32, point: Config) -> Proposed {
        Proposed { arm: 0, cell, slot, point }
    }

    #[test]
    fn a_search_costs_nothing_where_there_is_none_and_else_survives_its_bytes() {
        let flat = study("").arms.remove(0);
        let fields = (&flat.name, flat.model, &flat.written, &flat.configs);
        assert_eq!(codec::encode(&flat).unwrap(), codec::encode(&fields).unwrap());
        let mut study = learned();
        let design = Design::of(&study);
        for (cell, slot) in [(1, 0), (1, 1), (3, 0)] {
            assert!(study.propose(&design, &proposed(cell, slot, point(0.2, 0.5))));
        }
        let bytes = codec::encode(&study).unwrap();
        assert_eq!(codec::decode::<Study>(&bytes).unwrap(), study);
        // A program of before finds a model that is none.
        let bytes = codec::encode(&study.arms[0]).unwrap();
        assert!(codec::decode::<(String, Model, String, Vec<ArmConfig>)>(&bytes).is_err());
    }

    #[test]
    fn a_race_stands_behind_the_models_of_before() {
        let flat = study("").arms.remove(0);
        let raced = Arm { race: Some(Race { first: 3, alpha: 0.1 }), ..flat.clone() };
        let bytes = codec::encode(&raced).unwrap();
        assert_eq!(codec::decode::<Arm>(&bytes).unwrap(), raced);
        let at = codec::encode(&flat.name).unwrap().len();
        let model = codec::encode(&flat.model).unwrap();
        let race = [vec![11], model, codec::encode(&(3u32, 0.1f64)).unwrap()].concat();
        assert_eq!(bytes[at..at + race.len()], race);
    }

    #[test]
    fn what_is_required_costs_nothing_where_nothing_is_and_is_no_part_of_a_trial() {
        let (flat, halved) = (study(""), "search = { method = \"halving\", configs = 6 }\n");
        let mut asked = Requires::default();
        asked.insert("site".into(), ["east", "west"].map(String::from).into());
        for plain in [flat.clone(), learned(), study(halved)] {
            let mut study = plain.clone();
            study.arms[0].requires = asked.clone();
            let bytes = codec::encode(&study).unwrap();
            assert_eq!(codec::decode::<Study>(&bytes).unwrap(), study);
            assert!(study.is_well_named() && study.has_requires() && study.id() != plain.id());
            let digest = |study: &Study| {
                let design = Design::of(study);
                design.key(TrialIndex(0)).expect("in it").digest(study)
            };
            assert_eq!(digest(&study), digest(&plain), "where it is trained is not what it is");
            // A program of before finds a model that is none.
            let bytes = codec::encode(&study.arms[0]).unwrap();
            assert!(codec::decode::<(String, Model, String, Vec<ArmConfig>)>(&bytes).is_err());
        }
        let none = HowLayout::Plain(flat.arms[0].model);
        let layout = Layout {
            name: &flat.arms[0].name,
            model: ModelLayout::Required(Requires::default(), none),
            written: &flat.arms[0].written,
            configs: &flat.arms[0].configs,
        };
        assert!(codec::decode::<Arm>(&codec::encode(&layout).unwrap()).is_err());
        let mut odd = flat;
        odd.arms[0].requires.insert("a b".into(), ["c".to_string()].into());
        assert!(!odd.is_well_named());
    }

    #[test]
    fn halving_at_once_has_the_bytes_of_halving_behind_another_number() {
        let flat = study("").arms.remove(0);
        let halving = |at_once| Halving { configs: 3, rungs: 2, factor: 2, at_once };
        let [waits, at_once] =
            [false, true].map(|at_once| Arm { halving: Some(halving(at_once)), ..flat.clone() });
        let bytes = [&waits, &at_once].map(|arm| codec::encode(arm).unwrap());
        let at = codec::encode(&flat.name).unwrap().len();
        assert_eq!((bytes[0][at], bytes[1][at]), (10, 12));
        assert_eq!(bytes[0][at + 1..], bytes[1][at + 1..]);
        for (bytes, arm) in bytes.iter().zip([&waits, &at_once]) {
            assert_eq!(codec::decode::<Arm>(bytes).unwrap(), *arm);
        }
    }

    #[test]
    fn tries_are_decided_in_order_and_once_and_are_those_of_their_choice() {
        let mut study = learned();
        let design = Design::of(&study);
        let wrong = Config { values: vec![("lr".into(), Value::Text("fast".into()))] };
        for (refused, why) in [
            (proposed(0, 1, point(0.1, 0.0)), "not the next"),
            (proposed(4, 0, point(0.1, 0.0)), "no such choice"),
            (proposed(0, 0, wrong), "no such value"),
            (Proposed { arm: 1, ..proposed(0, 0, point(0.1, 0.0)) }, "an arm without a search"),
        ] {
            assert!(!study.propose(&design, &refused), "{why}");
        }
        assert!(study.propose(&design, &proposed(0, 0, point(0.1, 0.5))));
        assert!(!study.propose(&design, &proposed(0, 0, point(0.2, 0.0))), "it stands");
        for slot in 1..4 {
            assert!(study.propose(&design, &proposed(0, slot, point(0.3, 0.0))));
        }
        assert!(!study.propose(&design, &proposed(0, 4, point(0.3, 0.0))), "four are all");
        let configs = study.configs_of(Choice { arm: 0, cell: 0 });
        assert_eq!(configs[0].hyper.lr, 0.1);
        assert_eq!(configs[0].hyper.optimizer, crate::study::Optimizer::Adam);
        // Adam without decay is AdamW.
        assert_eq!(configs[1].hyper.optimizer, crate::study::Optimizer::AdamW);
        let key = |cell: u64, config| {
            let slot = crate::design::Slot { arm: 0, config, inner: Some(1) };
            design.key(design.in_cell(cell, slot).expect("in it")).expect("in it")
        };
        assert_eq!(key(0, 0).config(&study).point, point(0.1, 0.5));
        assert!(key(0, 3).is_proposed(&study) && !key(1, 0).is_proposed(&study));
        assert_eq!(key(1, 2).config(&study).point.to_string(), "try=3");
        let refit = design.refits(Choice { arm: 0, cell: 0 }, 1)[0];
        let refit = design.key(refit).expect("in it");
        assert_eq!(refit.config(&study).point, point(0.3, 0.0), "its refit is the same config");
    }

    #[test]
    fn a_try_is_the_same_training_as_the_config_of_a_grid() {
        let (mut study, grid) = (learned(), study(""));
        let design = Design::of(&study);
        let id = study.id();
        assert!(study.propose(&design, &proposed(0, 0, point(0.1, 0.5))));
        assert_eq!(study.id(), id, "what is tried changes no study");
        let slot = |config| crate::design::Slot { arm: 0, config, inner: Some(1) };
        let digest = |study: &Study, config| {
            let design = Design::of(study);
            let trial: TrialIndex = design.in_cell(0, slot(config)).expect("in it");
            design.key(trial).expect("in it").digest(study)
        };
        assert_eq!(digest(&study, 0), digest(&grid, 1));
        assert_ne!(digest(&study, 0), digest(&grid, 0));
    }

    #[test]
    fn a_study_from_elsewhere_has_proposed_nothing() {
        let mut study = learned();
        assert!(study.is_well_named());
        let least = study.bytes_at_most();
        let design = Design::of(&study);
        for choice in design.choices() {
            for slot in 0..4 {
                assert!(study.propose(&design, &proposed(choice.cell, slot, point(0.3, 0.5))));
            }
        }
        assert!(!study.is_well_named());
        assert!(study.unsearched().is_well_named());
        let bytes = codec::encode(&study).unwrap().len() as u64;
        assert!(bytes <= least && study.bytes_at_most() == least, "{bytes} of {least}");
        let mut flat = learned();
        flat.outer.inner = None;
        assert!(!flat.is_well_named());
    }
}
