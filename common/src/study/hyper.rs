//! Hyperparameters: everything about one training that a study file sets.
//!
//! Bytes of a study that uses nothing newer stay as they were before there was anything newer: what
//! came later travels inside the optimizer's place, and only where it is used. Deliberately absent:
//! how they are written in a study file (`grammar`).
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

use super::{Model, Program};

/// Every hyperparameter of one training, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Layout", into = "Layout")]
pub struct Hyper {
    pub epochs: u32,
    /// Trained for fewer than these, on the schedule of all of them; see `halving`.
    pub until: Option<u32>,
    pub batch: u32,
    pub optimizer: Optimizer,
    pub lr: f64,
    /// Of AdamW and SGD apart from the gradient, w ← w·(1 − lr·decay); of Adam added to it.
    pub weight_decay: f64,
    /// SGD alone.
    pub momentum: f64,
    /// Widths of the hidden layers; empty for a linear model.
    pub hidden: Vec<u32>,
    /// After each hidden layer.
    pub dropout: f64,
    pub recipe: Recipe,
    pub layers: Layers,
    /// What trains instead of a model of ours.
    pub program: Option<Program>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    AdamW,
    Sgd,
    /// With decay in the gradient. Without decay it is AdamW, and is written as that.
    Adam,
}

/// How weights are moved, beyond optimizer and rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    pub loss: Loss,
    /// Share of a class' target that all classes get alike (Szegedy et al. 2016).
    pub label_smoothing: f64,
    pub schedule: Schedule,
    /// Norm over all of a lane's gradients above which they are shortened to it; 0: never.
    pub clip_norm: f64,
    /// Share of the training rows that is kept to decide when to stop; 0: none.
    pub validation: f64,
    /// Epochs without a better validation loss after which a lane stops, with the weights of its
    /// best one; 0: never.
    pub patience: u32,
    pub augment: Augment,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// Cross-entropy for classes and masks, squared error for values.
    Usual,
    /// Lin et al. 2017; `gamma` 0 is cross-entropy.
    Focal { gamma: f64 },
    /// Cross-entropy and soft Dice (Milletari et al. 2016), in equal parts.
    DiceCrossEntropy,
    /// Squared up to `delta`, straight beyond; in units of the target's standard deviation.
    Huber { delta: f64 },
}

/// A [`Loss`] without its parameters, which lanes of one cohort may differ in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LossKind {
    Usual,
    Focal,
    DiceCrossEntropy,
    Huber,
}

/// How the learning rate moves over a training's steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    Constant,
    /// From the rate to 0 by half a cosine (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// From 1/25 of the rate up to it in the first 30 % of the steps, then down to 1/10⁴ of the
    /// start, both by half a cosine (Smith and Topin 2018; PyTorch's defaults, momentum left alone).
    OneCycle,
}

/// Changes of training rows, drawn anew in each epoch; of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    /// Left and right change places in half of the draws.
    pub flip: bool,
    /// Most pixels moved in each direction; what is uncovered is 0.
    pub shift: u32,
    /// Pixels cut off each side at most, the rest stretched back to size by its nearest pixel.
    pub crop: u32,
    /// Standard deviation of what is added to scaled features.
    pub noise: f64,
}

/// What a network is built of, beside the widths of hidden layers.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Layers {
    /// Of convolutional models: one a layer (cnn), a stage (resnet) or a level (unet).
    pub channels: Vec<u32>,
    /// Side of a convolution; odd.
    pub kernel: u32,
    pub norm: Norm,
    /// A convolution by channel and one across channels, in place of one of both (cnn).
    pub separable: bool,
    /// Residual blocks a stage (resnet), or encoder layers (transformer).
    pub blocks: u32,
    /// Of a transformer's tokens.
    pub width: u32,
    pub heads: u32,
    /// Numbers that stand for each text column's level; 0: one feature a level.
    pub embed: u32,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    None,
    Batch,
    Group,
    Layer,
}

impl Hyper {
    /// Of an arm that is not trained.
    pub fn none() -> Self {
        Self { epochs: 0, lr: 0.0, momentum: 0.0, hidden: Vec::new(), ..Self::default() }
    }

    /// Trials whose hyperparameters agree here can train as lanes of one cohort.
    pub fn shape(&self, model: Model) -> Shape {
        Shape {
            model,
            hidden: self.hidden.clone(),
            batch: self.batch,
            optimizer: self.optimizer,
            layers: self.layers.clone(),
            loss: self.recipe.loss.kind(),
        }
    }
}

impl Default for Hyper {
    fn default() -> Self {
        Self {
            epochs: 60,
            until: None,
            batch: 32,
            optimizer: Optimizer::AdamW,
            lr: 1e-3,
            weight_decay: 0.0,
            momentum: 0.9,
            hidden: vec![64],
            dropout: 0.0,
            recipe: Recipe::default(),
            layers: Layers::default(),
            program: None,
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            loss: Loss::Usual,
            label_smoothing: 0.0,
            schedule: Schedule::Constant,
            clip_norm: 0.0,
            validation: 0.0,
            patience: 0,
            augment: Augment::default(),
        }
    }
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            kernel: 3,
            norm: Norm::None,
            separable: false,
            blocks: 1,
            width: 32,
            heads: 4,
            embed: 0,
        }
    }
}

impl Loss {
    pub fn kind(self) -> LossKind {
        match self {
            Loss::Usual => LossKind::Usual,
            Loss::Focal { .. } => LossKind::Focal,
            Loss::DiceCrossEntropy => LossKind::DiceCrossEntropy,
            Loss::Huber { .. } => LossKind::Huber,
        }
    }
}

/// What must agree within a cohort.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Shape {
    pub model: Model,
    pub hidden: Vec<u32>,
    pub batch: u32,
    pub optimizer: Optimizer,
    pub layers: Layers,
    pub loss: LossKind,
}

/// [`Hyper`] as it is written: fields that were always there, the others behind the optimizer.
#[derive(Clone, Serialize, Deserialize)]
struct Layout {
    epochs: u32,
    batch: u32,
    optimizer: OptimizerLayout,
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    hidden: Vec<u32>,
    dropout: f64,
}

#[derive(Clone, Serialize, Deserialize)]
enum OptimizerLayout {
    AdamW,
    Sgd,
    Extended(Box<Extension>),
    /// Trained for so many epochs, fewer than there are.
    Until(u32, Box<Extension>),
}

#[derive(Clone, Serialize, Deserialize)]
struct Extension {
    optimizer: Optimizer,
    recipe: Recipe,
    layers: Layers,
    program: Option<Program>,
}

impl From<Hyper> for Layout {
    fn from(hyper: Hyper) -> Self {
        let Hyper { optimizer, recipe, layers, program, .. } = hyper;
        let usual = recipe == Recipe::default() && layers == Layers::default() && program.is_none();
        let optimizer = match (optimizer, hyper.until) {
            (Optimizer::AdamW, None) if usual => OptimizerLayout::AdamW,
            (Optimizer::Sgd, None) if usual => OptimizerLayout::Sgd,
            (optimizer, until) => {
                let extension = Box::new(Extension { optimizer, recipe, layers, program });
                match until {
                    None => OptimizerLayout::Extended(extension),
                    Some(until) => OptimizerLayout::Until(until, extension),
                }
            }
        };
        Self {
            epochs: hyper.epochs,
            batch: hyper.batch,
            optimizer,
            lr: hyper.lr,
            weight_decay: hyper.weight_decay,
            momentum: hyper.momentum,
            hidden: hyper.hidden,
            dropout: hyper.dropout,
        }
    }
}

impl From<Layout> for Hyper {
    fn from(layout: Layout) -> Self {
        let until = match &layout.optimizer {
            OptimizerLayout::Until(until, _) => Some(*until),
            _ => None,
        };
        let (optimizer, recipe, layers, program) = match layout.optimizer {
            OptimizerLayout::AdamW => {
                (Optimizer::AdamW, Recipe::default(), Layers::default(), None)
            }
            OptimizerLayout::Sgd => (Optimizer::Sgd, Recipe::default(), Layers::default(), None),
            OptimizerLayout::Extended(more) | OptimizerLayout::Until(_, more) => {
                (more.optimizer, more.recipe, more.layers, more.program)
            }
        };
        Self {
            epochs: layout.epochs,
            until,
            batch: layout.batch,
            optimizer,
            lr: layout.lr,
            weight_decay: layout.weight_decay,
            momentum: layout.momentum,
            hidden: layout.hidden,
            dropout: layout.dropout,
            recipe,
            layers,
            program,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode, encode};

    #[test]
    fn what_came_later_survives_its_bytes() {
        let recipe = Recipe { clip_norm: 1.5, ..Recipe::default() };
        let program = Program { command: vec!["x".into()], time_limit_s: 9, ..Program::default() };
        let all = [
            Hyper::default(),
            Hyper { optimizer: Optimizer::Adam, ..Hyper::default() },
            Hyper { recipe, ..Hyper::default() },
            Hyper { until: Some(7), ..Hyper::default() },
            Hyper { program: Some(program), optimizer: Optimizer::Sgd, ..Hyper::default() },
        ];
        for hyper in all {
            let bytes = encode(&hyper).unwrap();
            assert_eq!(decode::<Hyper>(&bytes).unwrap(), hyper);
        }
    }

    #[test]
    fn what_came_later_costs_nothing_where_it_is_not_used() {
        // Four numbers of one byte each, three of eight, a list of one width.
        assert_eq!(encode(&Hyper::default()).unwrap().len(), 3 + 4 * 8 + 2);
    }
}
