//! Every model's gradients beside the slopes of its loss, and its lanes beside one another.
//!
//! Floor: core.

use candle_core::{DType, Device, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::study::{Hyper, Layers, Loss, Model, Norm, Optimizer, Recipe};
use common::table::{Dataset, Target};

use super::super::fit::{Fitted, Stack, fit, said_of};
use super::super::lanes::Lane;
use super::super::ops::tests::composed;
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

pub fn numbers(tensor: &Tensor) -> Vec<f32> {
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

/// Holds a model's gradients against the loss' slopes, of each parameter of each lane along its
/// gradient and in random directions; on the last minibatch of an epoch, which is padded. The share of
/// gradients whose length was told to half a hundredth.
fn check(case: &Case) -> f64 {
    let lanes = two_lanes(case);
    let lanes: Vec<&Lane> = lanes.iter().collect();
    let (before, gradients) = second(case, &lanes).gradients().unwrap();
    let (mut told, mut all) = (0.0, 0.0);
    for (number, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        for (lane, &loss) in before.iter().enumerate() {
            let own = numbers(&gradient.get(lane).unwrap());
            let along = unit(&own);
            let mut rng = StreamRng::new(&Digest::of(b"ways"), Stream::Split, number as u64, 0);
            let ways = (0..3)
                .map(|_| unit(&own.iter().map(|_| rng.normal() as f32).collect::<Vec<f32>>()));
            for (way, direction) in std::iter::once(along).chain(ways).enumerate() {
                let said: f64 =
                    own.iter().zip(&direction).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let slope = |nudge| slope(case, &lanes, (number, lane), &direction, nudge);
                // A rectifier may bend between both ends; then they are nearer to each other.
                let close = NUDGES.iter().find_map(|&nudge| {
                    let close = 2e-3 * said.abs() + ROUNDED * f64::from(loss.max(1.0)) / nudge;
                    ((slope(nudge) - said).abs() <= close).then_some(close)
                });
                let Some(close) = close else {
                    let seen = NUDGES.map(slope);
                    panic!("{}, {number} of lane {lane}, way {way}: {said} not {seen:?}", case.name)
                };
                told += f64::from(way == 0 && close <= 5e-3 * said);
            }
            all += 1.0;
        }
    }
    told / all
}

/// A stack before its second minibatch.
fn second<'a>(case: &'a Case, lanes: &[&'a Lane]) -> Stack<'a> {
    let mut stack = Stack::new(&case.dataset, lanes, 2, &Device::Cpu).unwrap();
    stack.gradients().unwrap();
    stack
}

/// The slope of a lane's loss where one parameter goes in a direction, from two nudges.
fn slope(
    case: &Case,
    lanes: &[&Lane],
    (number, lane): (usize, usize),
    direction: &[f32],
    nudge: f64,
) -> f64 {
    let [left, right] = [-nudge, nudge].map(|nudge| {
        let mut moved = second(case, lanes);
        let parameter = &moved.network().parameters[number];
        let (rows, columns) = parameter.shape().unwrap();
        let values = numbers(&parameter.values.get(lane).unwrap());
        let values = values.iter().zip(direction).map(|(w, d)| w + nudge as f32 * d).collect();
        let values = Tensor::from_vec(values, (1, rows, columns), &Device::Cpu).unwrap();
        parameter.values.slice_set(&values, 0, lane).unwrap();
        f64::from(moved.gradients().unwrap().0[lane])
    });
    (right - left) / (2.0 * nudge)
}

/// Of length 1; 0 stays.
fn unit(numbers: &[f32]) -> Vec<f32> {
    let length = numbers.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    numbers.iter().map(|x| (f64::from(*x) / length.max(1e-30)) as f32).collect()
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    for case in cases() {
        let told = check(&case);
        println!("{}: {told} of the gradients told", case.name);
        assert!(told > 0.5, "{}: only {told} of the gradients could be told", case.name);
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
            let values = |one: Fitted<'_>| -> Vec<u32> {
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

/// What lanes of unlike length say of all rows, some of which stop early and make room.
fn said(case: &Case) -> Vec<f32> {
    let lanes: Vec<Lane> = (0..5)
        .map(|seed| {
            let recipe = Recipe { patience: 1 + seed as u32 % 2, ..case.hyper.recipe.clone() };
            let hyper = Hyper { epochs: 2 + seed as u32, recipe, ..case.hyper.clone() };
            let mut lane = Lane { model: case.model, ..lane(&case.dataset, &hyper, seed) };
            lane.validation_rows = lane.train_rows.split_off(6 + seed as usize % 3);
            lane
        })
        .collect();
    let lanes: Vec<&Lane> = lanes.iter().collect();
    let fitted = fit(&case.dataset, &lanes, 3, &Device::Cpu, &|| false).unwrap().unwrap();
    let rows: Vec<u32> = (0..case.dataset.rows() as u32).collect();
    let width = case.dataset.width;
    let said =
        fitted.iter().map(|one| said_of(&one.network, &one.rows, &rows, width, &Device::Cpu));
    said.flat_map(|said| said.unwrap()).collect()
}

#[test]
fn lanes_train_alike_by_candles_own_operations() {
    for case in cases() {
        let (ours, theirs) = (said(&case), composed(|| said(&case)));
        let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{}: {apart} apart", case.name);
        assert!(apart < 1e-4, "{}: {apart} apart", case.name);
    }
}

#[test]
fn a_divergence_is_seen_by_candles_own_operations_too() {
    let mut seen = 0;
    for case in cases() {
        let hyper = Hyper {
            optimizer: Optimizer::Sgd,
            lr: 1e12,
            epochs: 4,
            dropout: 0.0,
            ..case.hyper.clone()
        };
        let lane = Lane { model: case.model, ..lane(&case.dataset, &hyper, 1) };
        let diverged = || {
            let fitted = fit(&case.dataset, &[&lane], 1, &Device::Cpu, &|| false);
            fitted.unwrap().unwrap()[0].diverged
        };
        let ours = diverged();
        assert_eq!(ours, composed(diverged), "{}", case.name);
        seen += usize::from(ours.is_some());
    }
    assert!(seen > 8, "{seen} cases diverged");
}

#[test]
fn idle_lanes_fill_a_stack_where_products_are_a_librarys_and_change_nothing() {
    for case in cases() {
        let of = |number: u32| {
            let hyper = Hyper { epochs: 1 + number, ..case.hyper.clone() };
            Lane { model: case.model, ..lane(&case.dataset, &hyper, number.into()) }
        };
        let lanes: Vec<Lane> = (0..5).map(of).collect();
        let lanes: Vec<&Lane> = lanes.iter().collect();
        composed(|| {
            let mut stack = Stack::new(&case.dataset, &lanes, 5, &Device::Cpu).unwrap();
            assert_eq!(stack.width(), 8, "{}", case.name);
            while stack.width() > 0 {
                assert!(stack.width().is_power_of_two(), "{}: {}", case.name, stack.width());
                stack.step().unwrap();
                stack.settle().unwrap();
            }
            let values = |fitted: &Fitted<'_>| -> Vec<f32> {
                let parameters = fitted.network.parameters.iter();
                parameters.flat_map(|parameter| numbers(&parameter.values)).collect()
            };
            let train = |lanes: &[&Lane]| -> Vec<Vec<f32>> {
                let fitted = fit(&case.dataset, lanes, 5, &Device::Cpu, &|| false);
                fitted.unwrap().unwrap().iter().map(values).collect()
            };
            for (lane, together) in lanes.iter().zip(train(&lanes)) {
                let alone = train(&[lane]).remove(0);
                let apart = together.iter().zip(&alone).map(|(a, b)| (a - b).abs());
                let most = apart.fold(0.0, f32::max);
                assert!(most <= 1e-4, "{}: {most} apart", case.name);
            }
        });
    }
    let dataset = blobs(40, 2);
    let alone = lane(&dataset, &Hyper { hidden: vec![3], ..Hyper::default() }, 1);
    let lanes = [&alone; 5];
    let stack = Stack::new(&dataset, &lanes, 5, &Device::Cpu).unwrap();
    assert_eq!(stack.width(), 5, "our own loops need no idle lanes");
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

const NUDGES: [f64; 4] = [1e-2, 3e-3, 1e-3, 3e-4];
/// How far rounding moves the difference of two losses of about 1.
const ROUNDED: f64 = 2e-7;
