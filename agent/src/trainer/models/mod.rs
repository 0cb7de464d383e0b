//! Models: from a name and hyperparameters to widths of layers.
//!
//! A linear model is a dense stack without hidden layers, so that both share every line of
//! arithmetic.
//!
//! Floor: core.

pub mod constant;
pub mod dense;

use common::study::{Hyper, Model};
use common::table::{Dataset, Target};

/// Widths from the features to the outputs: one output a class, or one for a value.
pub fn widths(model: Model, hyper: &Hyper, dataset: &Dataset) -> Vec<usize> {
    let outputs = match &dataset.target {
        Target::Classes { classes, .. } | Target::Masks { classes, .. } => *classes as usize,
        Target::Values(_) => 1,
    };
    let hidden: &[u32] = match model {
        Model::Mlp => &hyper.hidden,
        // Controls have no layers of their own.
        _ => &[],
    };
    let hidden = hidden.iter().map(|&width| width as usize);
    std::iter::once(dataset.width).chain(hidden).chain([outputs]).collect()
}
