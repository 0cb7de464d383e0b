//! A study: one experiment as written in a study file, checked.
//!
//! A [`Study`] exists only after every check passed, its data's included, so that nothing behind
//! this border asks again. It is what the log holds and what agents are sent.
//!
//! Floor: common.

mod budget;
mod check;
mod control;
mod finding;
mod grammar;
mod halving;
mod hyper;
mod learned;
mod outer;
pub mod program;
mod race;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, StudyId};
use crate::label::Requires;
use crate::metric::Metric;
use crate::name::{is_inner_path, is_name};
use crate::seed::Stream;
use crate::space::Config;

pub use budget::{Budget, Stop, StopWorth};
pub use check::{Checked, check, check_within};
pub use control::{CONSTANT, Control, PERMUTED};
pub use finding::{Finding, Findings};
pub use halving::{Halving, UNTIL};
pub use hyper::{Augment, Hyper, Layers, Loss, LossKind, Norm, Optimizer, Recipe, Schedule, Shape};
pub use learned::{Learned, Proposed, TRY};
pub use outer::{Inner, Outer, OuterKind, Select};
pub use program::{Program, ProgramFile};
pub use race::Race;

/// A checked study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    pub name: String,
    pub notes: String,
    /// Primary first, then the others in the file's order, none twice.
    pub metrics: Vec<Metric>,
    pub data: Data,
    pub outer: Outer,
    pub seeds: Seeds,
    /// The judged ones in the file's order, then the controls.
    pub arms: Vec<Arm>,
    pub budget: Budget,
}

/// The table a study is about. The bytes are known by their digest, wherever they lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// As written in the study file; relative to it.
    pub path: String,
    pub format: Format,
    pub digest: Digest,
    /// Length of the file.
    pub bytes: u64,
    pub target: String,
    pub task: Task,
    /// Columns that are not features, sorted: `drop`, and never the target, group or leave-out column.
    pub drop: Vec<String>,
    pub group: Option<String>,
    /// Each of this column's values tests once ([`OuterKind::LeaveOut`]), or it says when each row was
    /// ([`OuterKind::Ordered`]).
    pub leave_out: Option<String>,
    pub missing: Missing,
    /// After dropping rows with missing cells, where the study asks for that.
    pub rows: u64,
}

/// How the bytes are read. Those of a folder are its files, packed (`samples::pack`).
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Format {
    Csv,
    Tsv,
    Parquet,
    /// One array of numpy's, [rows, columns]: a table whose columns are called by their numbers.
    Npy,
    /// Named arrays of numpy's: an `.npz`, or a folder of `.npy` files.
    Npz(Arrays),
    /// A folder of IDX files, as MNIST comes in.
    Idx(Arrays),
    /// A folder of PNG and JPEG files: a folder a class, or `images/` and `masks/`.
    Images(Pictures),
    /// A folder of NIfTI volumes, `images/` and `labels/`: each slice along the last axis is a row.
    Nifti(Pictures),
}

/// Which arrays hold what.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Arrays {
    /// Features, rows first.
    pub x: String,
    /// `x` is numbers of tokens.
    pub tokens: bool,
}

/// What images become.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// Height and width that all are resized to; `None`: they have one size.
    pub size: Option<[u32; 2]>,
    /// One channel, or three; `None`: one where all are grey.
    pub gray: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Task {
    /// Class names, sorted; numbers are sorted as numbers. The last one is "positive" when there are two.
    Classification {
        classes: Vec<String>,
    },
    Regression,
    /// A class for each pixel of an image; the first class is what surrounds the others.
    Segmentation {
        classes: Vec<String>,
    },
}

/// What to do about empty cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Missing {
    Refuse,
    /// Leave out rows with an empty cell in any column used.
    Drop,
    /// Replace by the mean of the training rows.
    Mean,
}

/// How many seeds, and which streams move together. Each factor is crossed with all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeds {
    pub factors: Vec<SeedFactor>,
}

/// One source of training randomness that the design varies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedFactor {
    /// `seed` when all streams move together, else the stream's name.
    pub name: String,
    pub streams: Vec<Stream>,
    pub count: u32,
}

/// One learning algorithm under judgement, or a control beside those. Its bytes: `learned`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub name: String,
    pub model: Model,
    /// As written, in canonical TOML: part of a trial's digest.
    pub written: String,
    /// Every config of the space, never empty; the point and all hyperparameters that follow from it. Of a
    /// search that learns its tries, with examples of the space.
    pub configs: Vec<ArmConfig>,
    /// Present: what configs are, each choice finds for itself while the study runs.
    pub learned: Option<Box<Learned>>,
    /// Its configs are halved: of each there is one for every rung.
    pub halving: Option<Halving>,
    /// Its configs race: tuning seed by tuning seed those are dropped that cannot be chosen.
    pub race: Option<Race>,
    /// Of whoever trains it. Where it is trained is not what it is: no part of `written`.
    pub requires: Requires,
}

/// One config: the point of the space that names it, and everything a trainer needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmConfig {
    pub point: Config,
    pub hyper: Hyper,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    Linear,
    Mlp,
    /// A [`Control`], as is the next one. Both stand behind the models that were there before them,
    /// so that a study without controls has the bytes it always had.
    Constant,
    Permuted {
        of: u32,
        repeats: u32,
    },
    Cnn,
    Resnet,
    Unet,
    Transformer,
    /// The user's own: [`Hyper::program`] says which.
    Program,
}

impl Model {
    /// Those that an arm of a study file can have.
    pub const ALL: [Model; 7] = [
        Model::Linear,
        Model::Mlp,
        Model::Cnn,
        Model::Resnet,
        Model::Unet,
        Model::Transformer,
        Model::Constant,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Model::Linear => "linear",
            Model::Mlp => "mlp",
            Model::Constant => "constant",
            Model::Permuted { .. } => "permuted",
            Model::Cnn => "cnn",
            Model::Resnet => "resnet",
            Model::Unet => "unet",
            Model::Transformer => "transformer",
            Model::Program => "program",
        }
    }
}

/// The declared policy for trainings that end in NaN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Diverged {
    /// Left out of the means; their rate is reported.
    Report,
    /// Counted with the worst value any run of the study had.
    Worst,
    /// The study fails.
    Fail,
}

impl Study {
    /// blake3 of the canonical encoding: equal for equal studies, whatever the file's layout, and whatever
    /// their searches have proposed.
    pub fn digest(&self) -> Digest {
        let bytes = match self.learns() {
            false => crate::wire::codec::encode(self),
            true => crate::wire::codec::encode(&self.unsearched()),
        };
        Digest::of(&bytes.unwrap_or_default())
    }

    /// Of what decides which rows test: the data, how they are read and divided. Studies with the
    /// same one test on the same rows, whatever they train.
    pub fn split_digest(&self) -> Digest {
        let Data { digest, target, task, group, leave_out, missing, rows, .. } = &self.data;
        // Which columns are used decides which rows are dropped, and else nothing.
        let unused = (*missing == Missing::Drop).then_some(&self.data.drop);
        // Inner folds divide what trains.
        let outer = Outer { inner: None, ..self.outer.clone() };
        let parts = (digest, target, task, group, leave_out, missing, unused, rows, &outer);
        Digest::of(&crate::wire::codec::encode(&parts).unwrap_or_default())
    }

    pub fn id(&self) -> StudyId {
        StudyId::from_digest(&self.digest())
    }

    /// Whether all names and paths in it are such as a study file may hold; asked of a study that
    /// came from elsewhere.
    pub fn is_well_named(&self) -> bool {
        let arms = self.arms.iter().all(|arm| is_name(&arm.name));
        let named = arms && is_name(&self.name) && is_inner_path(&self.data.path);
        let searched = self.has_sound_searches() && self.has_sound_halving();
        let searched = searched && self.has_sound_races();
        named && self.has_sound_programs() && searched && self.has_sound_requires()
    }

    /// Whether some arm asks for agents of certain labels.
    pub fn has_requires(&self) -> bool {
        self.arms.iter().any(|arm| !arm.requires.is_empty())
    }

    fn has_sound_requires(&self) -> bool {
        self.arms.iter().all(|arm| arm.requires.is_sound())
    }

    pub fn primary(&self) -> Metric {
        self.metrics[0]
    }

    /// Whether per-row scores are kept: a data set of this size fits the log.
    pub fn keeps_rows(&self) -> bool {
        let test_rows = self.data.rows / u64::from(self.outer.folds.max(1)) + 1;
        test_rows <= ROWS_KEPT_MAX
    }
}

/// Test rows above which an outcome carries no per-row scores (64 KiB an outcome).
pub const ROWS_KEPT_MAX: u64 = 16_384;
