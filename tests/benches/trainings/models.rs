//! One network of each model, small as those of studies are, and rows for it.
//!
//! Rows that train are whole minibatches, so that nobody pads one. Deliberately absent: anything that
//! makes a good model; that something is learnt is seen elsewhere.
//!
//! Floor: wiring.

use anyhow::{Context, Result};
use common::samples::pack::Pack;
use common::study::{Hyper, Layers, Model, Norm};
use common::table::Dataset;
use coordinator::phantom;

use crate::work::{BATCH, Work, dataset, hyper};

/// All of them; their names begin with `wide-`.
pub fn all() -> Result<Vec<Work>> {
    let tumours = || tumours().context("the tumours");
    let digits = || digits().context("the digits");
    let plain = |epochs| Hyper { epochs, hidden: Vec::new(), ..hyper() };
    let built = |layers| Hyper { layers, ..plain(2) };
    let channels = Layers { channels: vec![8, 16], kernel: 3, ..Layers::default() };
    let normed = Layers { norm: Norm::Batch, blocks: 1, ..channels.clone() };
    let tokens = Layers { width: 16, heads: 2, blocks: 1, ..Layers::default() };
    let once = Hyper { epochs: 1, ..built(normed.clone()) };
    let hidden = Hyper { hidden: vec![64, 64], ..plain(20) };
    let (linear, mlp) = (2 * 30 * 2, 2 * 30 * 64 + 3 * 64 * 64 + 3 * 64 * 2);
    let cnn = 2 * 64 * 9 * 8 + 3 * (16 * 72 * 16 + 256 * 10);
    let second = 16 * 72 * 16 + 16 * 144 * 16 + 16 * 8 * 16;
    let resnet = 2 * 64 * 9 * 8 + 3 * (2 * 64 * 72 * 8 + second + 16 * 10);
    // Of 1,024 pixels, and 256 in the level below.
    let (below, up) = (256 * 72 * 16 + 256 * 144 * 16, 256 * 32 * 16);
    let above = 1024 * 72 * 8 + 1024 * 144 * 8 + 1024 * 72 * 8 + 1024 * 8 * 4;
    let unet = 2 * 1024 * 9 * 8 + 3 * (below + up + above);
    // Eight rows of pixels are the tokens; weighing them is done twice.
    let dense = 16 * 48 + 16 * 16 + 2 * 16 * 32;
    let transformer = 2 * 8 * 8 * 16 + 3 * (8 * dense + 16 * 10) + 7 * 8 * 8 * 16;
    Ok(vec![
        work("wide-linear", Model::Linear, plain(20), tumours()?, 448, linear),
        work("wide-mlp", Model::Mlp, hidden, tumours()?, 448, mlp),
        work("wide-cnn", Model::Cnn, built(channels), digits()?, 512, cnn),
        work("wide-resnet", Model::Resnet, built(normed), digits()?, 512, resnet),
        work("wide-unet", Model::Unet, once, hearts()?, 64, unet),
        work("wide-transformer", Model::Transformer, built(tokens), digits()?, 512, transformer),
    ])
}

/// The first rows train and the next ones test. `of_row`: multiplications of one row, there and back.
fn work(
    name: &'static str,
    model: Model,
    hyper: Hyper,
    dataset: Dataset,
    train: u32,
    of_row: usize,
) -> Work {
    let rows = dataset.rows() as u32;
    assert!(train.is_multiple_of(BATCH as u32) && train < rows, "{name} has {rows} rows");
    Work {
        name,
        model,
        flop: 2.0 * of_row as f64 * f64::from(train * hyper.epochs),
        hyper,
        train_rows: (0..train).collect(),
        test_rows: (train..rows).take(TESTED).collect(),
        dataset,
    }
}

fn tumours() -> Result<Dataset> {
    let csv = include_bytes!("../../../coordinator/demo/wdbc/breast-cancer.csv");
    dataset(include_str!("../../../coordinator/demo/wdbc/study.toml"), csv)
}

fn digits() -> Result<Dataset> {
    let npz = include_bytes!("../../../coordinator/demo/digits/digits.npz");
    dataset(include_str!("../../../coordinator/demo/digits/study.toml"), npz)
}

/// Slices of 32 by 32 pixels and their masks.
fn hearts() -> Result<Dataset> {
    let mut volumes = phantom::volumes();
    volumes.sort();
    let mut pack = Pack::with_room(volumes.len(), volumes.iter().map(|(_, v)| v.len()).sum());
    for (name, content) in &volumes {
        anyhow::ensure!(pack.add(name, content), "{name} cannot be packed");
    }
    let study = include_str!("../../../coordinator/demo/phantom/holdout.toml");
    dataset(study, &pack.finish())
}

/// Few, since their memory and time are no training's.
const TESTED: usize = 32;
