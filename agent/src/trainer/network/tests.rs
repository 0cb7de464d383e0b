//! Every model's gradients beside the slopes of its loss, and its lanes beside one another.
//!
//! Floor: core.

use candle_core::{DType, Device, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::study::{Hyper, Layers, Loss, Model, Norm, Recipe};
use common::table::{Dataset, Target};

use super::super::fit::{Stack, fit};
use super::super::lanes::Lane;
use super::super::tests::{blobs, dataset, lane, waves};

/// A model with rows that it can be trained on.
pub struct Case {
    pub name: &'static str,
    pub model: Model,
    pub hyper: Hyper,
    pub dataset: Dataset,
}

/// Every kind of layer, loss and target, in small.
pub fn cases() -> Vec<Case> {
    let small = Hyper { batch: 4, hidden: vec![5, 4], dropout: 0.25, ..Hyper::default() };
    let layers = |channels: &[u32], norm| Layers {
        channels: channels.to_vec(),
        norm,
        width: 6,
        heads: 2,
        ..Layers::default()
    };
    let with = |layers: Layers| Hyper { layers, hidden: Vec::new(), ..small.clone() };
    let recipe = |loss, label_smoothing| Recipe { loss, label_smoothing, ..Recipe::default() };
    let case = |name, model, hyper, dataset| Case { name, model, hyper, dataset };
    let smoothed = Hyper { recipe: recipe(Loss::Usual, 0.1), ..small.clone() };
    let focal = Hyper { recipe: recipe(Loss::Focal { gamma: 2.0 }, 0.0), ..small.clone() };
    let huber = Hyper { recipe: recipe(Loss::Huber { delta: 0.5 }, 0.0), ..small.clone() };
    let separable = Layers { separable: true, ..layers(&[3, 4], Norm::None) };
    let dice =
        Hyper { recipe: recipe(Loss::DiceCrossEntropy, 0.0), ..with(layers(&[2, 3], Norm::Group)) };
    let embeds = Hyper { layers: Layers { embed: 2, ..Layers::default() }, ..small.clone() };
    let encoder = Hyper { hidden: vec![7], ..with(layers(&[], Norm::None)) };
    vec![
        case("linear", Model::Linear, with(Layers::default()), blobs(12, 3)),
        case("mlp", Model::Mlp, small.clone(), blobs(12, 3)),
        case("mlp of values", Model::Mlp, small.clone(), waves(12)),
        case("mlp, smoothed", Model::Mlp, smoothed, blobs(12, 3)),
        case("mlp, focal", Model::Mlp, focal, blobs(12, 3)),
        case("mlp, huber", Model::Mlp, huber, waves(12)),
        case("mlp, embeds", Model::Mlp, embeds, levelled()),
        case("cnn", Model::Cnn, with(layers(&[3, 4], Norm::None)), pictures()),
        case("cnn, batch norm", Model::Cnn, with(layers(&[3, 4], Norm::Batch)), pictures()),
        case("cnn, separable", Model::Cnn, with(separable), pictures()),
        case("cnn of sequences", Model::Cnn, with(layers(&[3, 4], Norm::Layer)), sequences()),
        case("resnet", Model::Resnet, with(layers(&[3, 4], Norm::Batch)), pictures()),
        case("resnet without norms", Model::Resnet, with(layers(&[3, 3], Norm::None)), pictures()),
        case("unet", Model::Unet, dice, masks()),
        case("transformer", Model::Transformer, encoder.clone(), sequences()),
        case("transformer of tokens", Model::Transformer, encoder, tokens()),
    ]
}

fn drawn(count: usize) -> Vec<f32> {
    let mut rng = StreamRng::new(&Digest::of(b"pictures"), Stream::Split, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

fn classes(rows: u32, classes: u32) -> Target {
    Target::Classes { labels: (0..rows).map(|row| row % classes).collect(), classes }
}

fn pictures() -> Dataset {
    let shape = vec![4, 6, 2];
    Dataset { shape, ..dataset(drawn(12 * 48), 48, classes(12, 3)) }
}

fn sequences() -> Dataset {
    let shape = vec![6, 2];
    Dataset { shape, ..dataset(drawn(12 * 12), 12, classes(12, 3)) }
}

fn tokens() -> Dataset {
    let ids = drawn(12 * 6).into_iter().map(|x| (x.abs() * 3.0).floor().min(4.0)).collect();
    Dataset { tokens: Some(5), ..dataset(ids, 6, classes(12, 2)) }
}

fn masks() -> Dataset {
    let features = drawn(12 * 48);
    let labels = features.chunks_exact(2).map(|x| u8::from(x[0] > 0.0) + u8::from(x[1] > 1.0));
    let target = Target::Masks { labels: labels.collect(), pixels: 24, classes: 3 };
    Dataset { shape: vec![4, 6, 2], ..dataset(features, 48, target) }
}

/// A number, a column of three levels, a number, a column of two.
fn levelled() -> Dataset {
    let row = |row: usize| {
        let mut cells = [0.0; 7];
        (cells[0], cells[4]) = (row as f32, (row * row % 5) as f32);
        cells[1 + row % 3] = 1.0;
        cells[5 + row / 2 % 2] = 1.0;
        cells
    };
    let features = (0..12).flat_map(row).collect();
    Dataset { levels: vec![1..4, 5..7], ..dataset(features, 7, classes(12, 2)) }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Lanes of 9 and 6 training rows, the second without dropout.
fn two_lanes(case: &Case) -> [Lane; 2] {
    let long = Lane { model: case.model, ..lane(&case.dataset, &case.hyper, 3) };
    let dry = Hyper { dropout: 0.0, ..case.hyper.clone() };
    let mut short = Lane { model: case.model, ..lane(&case.dataset, &dry, 4) };
    short.train_rows.truncate(6);
    [long, short]
}

/// Holds a model's gradients between the loss' slopes to their left and right, which differ where a
/// rectifier bends; on the last minibatch of an epoch, which is padded. The share of slopes that are
/// not 0.
fn check(case: &Case) -> f64 {
    let lanes = two_lanes(case);
    let lanes: Vec<&Lane> = lanes.iter().collect();
    let stack = || {
        let mut stack = Stack::new(&case.dataset, &lanes, 2, &Device::Cpu).unwrap();
        stack.gradients().unwrap();
        stack
    };
    let mut first = stack();
    let (before, gradients) = first.gradients().unwrap();
    let (mut steep, mut all) = (0.0, 0.0);
    for (number, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        let (shape, gradient) = (gradient.dims().to_vec(), numbers(gradient));
        let of_lane = gradient.len() / 2;
        for (at, &slope) in gradient.iter().enumerate() {
            let [left, right] = [-NUDGE, NUDGE].map(|nudge| {
                let mut moved = stack();
                let parameter = &moved.network().parameters[number];
                let mut values = numbers(&parameter.values);
                values[at] += nudge;
                let values = Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap();
                parameter.values.slice_set(&values, 0, 0).unwrap();
                (moved.gradients().unwrap().0[at / of_lane] - before[at / of_lane]) / nudge
            });
            let close = CLOSE + 0.02 * slope.abs();
            let inside = left.min(right) - close..left.max(right) + close;
            assert!(
                inside.contains(&slope),
                "{}, parameter {number}, number {at}: {slope} is not in {inside:?}",
                case.name
            );
            steep += f64::from(slope.abs() > 2.0 * CLOSE);
            all += 1.0;
        }
    }
    steep / all
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    for case in cases() {
        let steep = check(&case);
        assert!(steep > 0.08, "{}: only {steep} of the slopes could tell", case.name);
    }
}

#[test]
fn lanes_of_every_model_ignore_their_neighbours() {
    for case in cases() {
        let lanes: Vec<Lane> = (0..64)
            .map(|seed| {
                let epochs = 1 + seed as u32 % 3;
                let hyper =
                    Hyper { epochs, lr: 1e-3 * (1 + seed % 4) as f64, ..case.hyper.clone() };
                let lane = lane(&case.dataset, &hyper, seed);
                let kept = lane.train_rows.len() - seed as usize % 5;
                let train_rows = lane.train_rows[..kept].to_vec();
                Lane { model: case.model, train_rows, ..lane }
            })
            .collect();
        let all: Vec<&Lane> = lanes.iter().collect();
        let bits = |lanes: &[&Lane], width| {
            let fitted =
                fit(&case.dataset, lanes, width, &Device::Cpu, &|| false).unwrap().unwrap();
            let values = |one: super::super::fit::Fitted<'_>| -> Vec<u32> {
                let parameters = one.network.parameters.iter();
                parameters.flat_map(|p| numbers(&p.values)).map(f32::to_bits).collect()
            };
            fitted.into_iter().map(values).collect::<Vec<_>>()
        };
        let alone: Vec<Vec<u32>> = all.iter().flat_map(|&lane| bits(&[lane], 1)).collect();
        for width in [2, 7, 64] {
            assert!(bits(&all, width) == alone, "{} in stacks of {width}", case.name);
        }
        let backwards: Vec<&Lane> = all.iter().rev().copied().collect();
        let mut turned = bits(&backwards, 7);
        turned.reverse();
        assert!(turned == alone, "{} in another order", case.name);
    }
}

#[test]
fn first_values_are_spread_as_pytorchs() {
    for case in cases() {
        let lanes = two_lanes(&case);
        let lanes: Vec<&Lane> = lanes.iter().collect();
        let stack = Stack::new(&case.dataset, &lanes, 2, &Device::Cpu).unwrap();
        for parameter in &stack.network().parameters {
            let values = numbers(&parameter.values.to_dtype(DType::F32).unwrap());
            if let super::First::Uniform(bound) = parameter.first {
                assert!(values.iter().all(|value| value.abs() <= bound), "{}", case.name);
                let halves = values.split_at(values.len() / 2);
                assert_ne!(halves.0, halves.1, "{}: lanes are drawn apart", case.name);
            }
        }
    }
}

const NUDGE: f32 = 1e-3;
const CLOSE: f32 = 3e-3;
