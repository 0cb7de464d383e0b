//! Every model's training beside PyTorch's: the loss of each step, the first gradients, the outputs.
//!
//! `curves.json` is what torch.nn, autograd and torch.optim make of the same first weights, rows and
//! order in 64 bits; `make_curves.py` beside it says how. Whatever is wrong with a formula here is
//! not wrong there in the same way. Deliberately absent: dropout, whose draws are the trainer's own.
//!
//! Floor: core.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use common::study::{Hyper, Layers, Norm, Optimizer, Recipe, Schedule};
use common::table::Target;
use serde::Deserialize;

use super::super::fit::{Stack, said_of};
use super::super::lanes::Lane;
use super::super::minibatch::Walk;
use super::super::ops::tests::composed;
use super::super::rows::Rows;
use super::super::tests::lane;
use super::tests::{Case, cases, numbers};

#[derive(Deserialize)]
struct Curves {
    /// Of each epoch.
    order: Vec<Vec<u32>>,
    cases: BTreeMap<String, Curve>,
}

/// What PyTorch says of one case.
#[derive(Deserialize)]
struct Curve {
    features: Vec<f32>,
    target: Vec<f32>,
    /// PyTorch's, by parameter.
    names: Vec<String>,
    weights: Vec<Vec<f32>>,
    losses: Vec<f64>,
    /// Of the first step, by parameter; empty for what is not trained.
    gradients: Vec<Vec<f64>>,
    /// Of all rows, after the last step.
    outputs: Vec<f64>,
}

/// How far from PyTorch a case is at most.
#[derive(Debug, Default)]
struct Apart {
    /// Of the step's loss.
    loss: f64,
    /// Of the parameter's largest gradient.
    gradient: f64,
    /// Of the largest output.
    output: f64,
}

/// The cases of `curves.json` by their names, with the same rows and recipes.
fn recipes(curves: &Curves) -> Vec<(Case, &Curve)> {
    let pushed = |case: Case| {
        let recipe =
            Recipe { schedule: Schedule::Cosine, clip_norm: 0.5, ..case.hyper.recipe.clone() };
        let (optimizer, momentum) = (Optimizer::Sgd, 0.8);
        let hyper =
            Hyper { optimizer, momentum, lr: 0.05, weight_decay: 0.02, recipe, ..case.hyper };
        Case { hyper, ..case }
    };
    let coupled = |case: Case, clip_norm| {
        let schedule = Schedule::OneCycle;
        let recipe = Recipe { schedule, clip_norm, ..case.hyper.recipe.clone() };
        let optimizer = Optimizer::Adam;
        let hyper = Hyper { optimizer, lr: 0.02, weight_decay: 0.05, recipe, ..case.hyper };
        Case { hyper, ..case }
    };
    let layered =
        |case: Case, layers: Layers| Case { hyper: Hyper { layers, ..case.hyper }, ..case };
    let of = |name: &'static str, base: &str| {
        let case = cases().into_iter().find(|case| case.name == base).unwrap();
        // Longer steps of this one part PyTorch's own 32 bits from its 64.
        let lr = if name == "transformer of tokens" { 0.005 } else { 0.02 };
        let hyper = Hyper { epochs: 17, lr, weight_decay: 0.01, dropout: 0.0, ..case.hyper };
        Case { name, hyper, ..case }
    };
    let mut all: Vec<Case> = cases().into_iter().map(|case| of(case.name, case.name)).collect();
    let mut add = |name, base, change: &dyn Fn(Case) -> Case| {
        all.push(change(of(name, base)));
    };
    add("mlp, adam", "mlp", &|case| coupled(case, 0.0));
    add("mlp, sgd", "mlp", &pushed);
    add("transformer, adam", "transformer", &|case| {
        let layers = Layers { blocks: 2, ..case.hyper.layers.clone() };
        coupled(layered(case, layers), 0.5)
    });
    add("resnet, sgd", "resnet", &|case| {
        let channels = vec![4, 8];
        let layers = Layers { channels, norm: Norm::Group, blocks: 2, ..case.hyper.layers.clone() };
        pushed(layered(case, layers))
    });
    add("unet of groups", "unet", &|case| {
        let layers = Layers { channels: vec![8, 4], ..case.hyper.layers.clone() };
        let case = layered(case, layers);
        let recipe =
            Recipe { schedule: Schedule::Cosine, clip_norm: 0.5, ..case.hyper.recipe.clone() };
        Case { hyper: Hyper { recipe, ..case.hyper }, ..case }
    });
    assert_eq!(all.len(), curves.cases.len());
    let imported = |case: Case| {
        let curve = &curves.cases[case.name];
        (with_rows(case, curve), curve)
    };
    all.into_iter().map(imported).collect()
}

/// The case with the file's rows.
fn with_rows(mut case: Case, curve: &Curve) -> Case {
    assert_eq!(case.dataset.features.len(), curve.features.len(), "{}", case.name);
    case.dataset.features.clone_from(&curve.features);
    match &mut case.dataset.target {
        Target::Classes { labels, .. } => {
            *labels = curve.target.iter().map(|&class| class as u32).collect();
        }
        Target::Values(values) => values.clone_from(&curve.target),
        Target::Masks { labels, .. } => {
            *labels = curve.target.iter().map(|&class| class as u8).collect();
        }
    }
    case
}

fn begun<'a>(case: &'a Case, lane: &'a Lane, curve: &Curve) -> Stack<'a> {
    let stack = Stack::new(&case.dataset, &[lane], 1, &Device::Cpu).unwrap();
    let parameters = &stack.network().parameters;
    assert_eq!(parameters.len(), curve.weights.len(), "{}: {:?}", case.name, curve.names);
    for (parameter, (weights, name)) in
        parameters.iter().zip(curve.weights.iter().zip(&curve.names))
    {
        let (rows, columns) = parameter.shape().unwrap();
        assert_eq!(weights.len(), rows * columns, "{}: {name}", case.name);
        let weights = Tensor::from_slice(weights, (1, rows, columns), &Device::Cpu).unwrap();
        parameter.values.slice_set(&weights, 0, 0).unwrap();
    }
    stack
}

/// Trains a case as the file's was trained.
fn apart(case: &Case, curve: &Curve) -> Apart {
    let lane = Lane { model: case.model, ..lane(&case.dataset, &case.hyper, SEED) };
    let mut apart = Apart::default();
    let (_, gradients) = begun(case, &lane, curve).gradients().unwrap();
    for ((ours, theirs), name) in gradients.iter().zip(&curve.gradients).zip(&curve.names) {
        let Some(ours) = ours else {
            assert!(theirs.is_empty(), "{}: no gradient of {name}", case.name);
            continue;
        };
        let far = furthest(&numbers(ours), theirs);
        assert!(far < GRADIENT_APART, "{}: {name} is {far} apart", case.name);
        apart.gradient = apart.gradient.max(far);
    }
    let mut stack = begun(case, &lane, curve);
    for (step, &theirs) in curve.losses.iter().enumerate() {
        let ours = f64::from(stack.step().unwrap()[0]);
        let far = (ours - theirs).abs() / theirs.max(LOSS_SMALL);
        assert!(far < LOSS_APART, "{}, step {step}: {ours} for {theirs}", case.name);
        apart.loss = apart.loss.max(far);
        stack.settle().unwrap();
    }
    let network = stack.network();
    let network = network.of_one(network.export(0).unwrap()).unwrap();
    let rows: Vec<u32> = (0..case.dataset.rows() as u32).collect();
    let seen = Rows::new(&case.dataset, &lane);
    let said = said_of(&network, &seen, &rows, case.dataset.width, &Device::Cpu).unwrap();
    apart.output = furthest(&said, &curve.outputs);
    assert!(apart.output < OUTPUT_APART, "{}: outputs are {apart:?}", case.name);
    apart
}

/// The largest difference, of the largest of `theirs`.
fn furthest(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let most = theirs.iter().fold(0.0f64, |most, number| most.max(number.abs()));
    let apart = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs());
    apart.fold(0.0, f64::max) / most
}

#[test]
fn every_model_trains_as_pytorchs_does() {
    let curves: Curves = serde_json::from_str(CURVES).unwrap();
    for (case, curve) in recipes(&curves) {
        println!("{}: {:?}", case.name, apart(&case, curve));
    }
}

#[test]
fn every_model_trains_so_by_candles_own_operations() {
    let curves: Curves = serde_json::from_str(CURVES).unwrap();
    for (case, curve) in recipes(&curves) {
        println!("{}: {:?}", case.name, composed(|| apart(&case, curve)));
    }
}

#[test]
fn pytorch_was_given_the_order_that_is_drawn() {
    let curves: Curves = serde_json::from_str(CURVES).unwrap();
    let case = &cases()[0];
    let lane = lane(&case.dataset, &case.hyper, SEED);
    let mut walk = Walk::new(&case.dataset, &lane);
    let order: Vec<Vec<u32>> = (0..17)
        .map(|epoch| {
            walk.begin(&case.dataset.digest, epoch);
            walk.order().to_vec()
        })
        .collect();
    assert!(order == curves.order, "copy to make_curves.py: {order:?}");
}

const CURVES: &str = include_str!("../../../../tests/data/curves/curves.json");
const SEED: u64 = 3;
/// 32 bits round each number by 6e-8 of it; steps add up.
const LOSS_APART: f64 = 1e-4;
/// A smaller loss is held to a share of this: one that is nearly 0 has few digits in 32 bits, ln 1.001
/// no more than four.
const LOSS_SMALL: f64 = 1e-2;
const GRADIENT_APART: f64 = 1e-5;
const OUTPUT_APART: f64 = 1e-4;
