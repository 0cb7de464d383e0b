//! What the trainer says beforehand of the memory that a stack needs, beside what trainings allocate.
//!
//! What was told is of resident memory, which is up to 2.2 times what is allocated, since an allocator
//! keeps what comes and goes (tests/benches/trainings measures that). Here allocations are counted, to
//! the byte and the same everywhere; a program of its own, since it counts all of them.
//!
//! Floor: wiring.

use std::sync::Arc;

use agent::trainer::{Fixed, Lane, Machine, Need, StreamSeeds, train_lanes};
use common::id::Digest;
use common::metric::Metric;
use common::seed::{Stream, StreamRng};
use common::study::{Hyper, Layers, Model, Norm, Optimizer, Recipe};
use common::table::{Dataset, Target};
use common::trial::Ending;

#[test]
fn an_estimate_is_no_less_than_trainings_allocate_and_at_most_three_times_that() {
    let mut wrong = Vec::new();
    for (name, model, hyper, dataset) in cases() {
        let lanes: Vec<Lane> = (0..12).map(|seed| lane(model, &hyper, &dataset, seed)).collect();
        let need = Need::of(&dataset, &lanes.iter().collect::<Vec<_>>()).expect("a network");
        let mut hold = |what: &str, told: u64, taken: u64| {
            let ratio = told as f64 / taken as f64;
            println!("{name}, {what}: {told} bytes told, {taken} taken, {ratio:.2} times");
            if told < taken || told > 3 * taken {
                wrong.push(format!("{name}, {what}: {told} told, {taken} taken"));
            }
        };
        let more = (peak(&dataset, &lanes) - peak(&dataset, &lanes[..4])) / 8;
        hold("each of many", need.lane + need.ended, more);
        hold("one alone", need.of_stack(1, 1), peak(&dataset, &lanes[..1]) - NO_TENSORS);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The most bytes at once while all `lanes` train together.
fn peak(dataset: &Dataset, lanes: &[Lane]) -> u64 {
    let machine = Machine { widths: Arc::new(Fixed(lanes.len())), ..Machine::default() };
    let metrics = match dataset.target {
        Target::Masks { .. } => [Metric::Dice],
        _ => [Metric::Accuracy],
    };
    let mut endings = None;
    let counted = allocation_counter::measure(|| {
        endings = train_lanes(dataset, lanes, &metrics, false, &machine, &|| false);
    });
    let endings = endings.expect("nothing stops it");
    assert!(endings.iter().all(|ending| matches!(ending, Ending::Complete(_))), "{endings:?}");
    counted.bytes_max
}

fn cases() -> Vec<(&'static str, Model, Hyper, Dataset)> {
    let hyper = |layers: Layers| Hyper { epochs: 2, batch: 32, lr: 1e-3, layers, ..none() };
    let plain = || hyper(Layers::default());
    let channels = |channels: &[u32]| Layers { channels: channels.to_vec(), ..Layers::default() };
    let mlp = Hyper { hidden: vec![64, 64], ..plain() };
    let stopped = Recipe { validation: 0.2, patience: 1, clip_norm: 1.0, ..Recipe::default() };
    let separable = Layers { separable: true, norm: Norm::Batch, ..channels(&[8, 16]) };
    let residual = Layers { norm: Norm::Batch, blocks: 2, ..channels(&[8, 16]) };
    let grouped = Layers { norm: Norm::Group, ..residual.clone() };
    let deep = Layers { norm: Norm::Batch, ..channels(&[8, 16, 32]) };
    let tokens = Layers { width: 16, heads: 2, blocks: 2, ..Layers::default() };
    let levels = Layers { embed: 4, ..Layers::default() };
    let texts = || Dataset { levels: vec![0..12, 12..18], ..table(30) };
    let (flat, adam) = (images(&[12, 12, 1], false), Optimizer::Adam);
    vec![
        ("linear", Model::Linear, plain(), table(30)),
        ("mlp", Model::Mlp, mlp.clone(), table(30)),
        ("mlp by sgd", Model::Mlp, Hyper { optimizer: Optimizer::Sgd, ..mlp.clone() }, table(30)),
        ("mlp with dropout", Model::Mlp, Hyper { dropout: 0.3, ..mlp.clone() }, table(30)),
        ("mlp stopped early", Model::Mlp, Hyper { recipe: stopped, ..mlp.clone() }, table(30)),
        ("wide mlp", Model::Mlp, Hyper { hidden: vec![512], batch: 8, ..mlp.clone() }, table(30)),
        (
            "deep mlp",
            Model::Mlp,
            Hyper { hidden: vec![64; 8], batch: 128, ..mlp.clone() },
            table(30),
        ),
        ("levels", Model::Mlp, Hyper { hidden: vec![16], ..hyper(levels) }, texts()),
        ("cnn", Model::Cnn, hyper(channels(&[8, 16])), flat.clone()),
        ("separable cnn", Model::Cnn, Hyper { dropout: 0.1, ..hyper(separable) }, flat.clone()),
        ("resnet", Model::Resnet, Hyper { optimizer: adam, ..hyper(residual) }, flat.clone()),
        ("resnet by groups", Model::Resnet, hyper(grouped), flat.clone()),
        ("unet", Model::Unet, hyper(deep.clone()), images(&[16, 16, 1], true)),
        ("plain unet", Model::Unet, hyper(channels(&[8, 16])), images(&[16, 16, 1], true)),
        ("transformer", Model::Transformer, hyper(tokens), images(&[12, 6], false)),
    ]
}

fn none() -> Hyper {
    Hyper { hidden: Vec::new(), ..Hyper::default() }
}

fn lane(model: Model, hyper: &Hyper, dataset: &Dataset, seed: u64) -> Lane {
    let rows = 0..dataset.rows() as u32;
    let (test_rows, mut train_rows): (Vec<u32>, Vec<u32>) = rows.partition(|row| row % 4 == 1);
    let validation_rows = match hyper.recipe.validation > 0.0 {
        true => train_rows.split_off(train_rows.len() * 4 / 5),
        false => Vec::new(),
    };
    let seeds = StreamSeeds { init: seed, order: seed, noise: seed };
    let hyper = hyper.clone();
    Lane {
        model,
        hyper,
        seeds,
        train_rows,
        validation_rows,
        test_rows,
        labels: None,
        chooses: false,
    }
}

fn table(width: usize) -> Dataset {
    let labels = (0..ROWS as u32).map(|row| row % 2).collect();
    dataset(vec![width], Target::Classes { labels, classes: 2 })
}

fn images(shape: &[usize], masks: bool) -> Dataset {
    let pixels = shape[..shape.len() - 1].iter().product::<usize>();
    let target = match masks {
        true => {
            let labels = (0..ROWS * pixels).map(|at| (at % 3 == 0) as u8).collect();
            Target::Masks { labels, pixels, classes: 2 }
        }
        false => {
            let labels = (0..ROWS as u32).map(|row| row % 3).collect();
            Target::Classes { labels, classes: 3 }
        }
    };
    dataset(shape.to_vec(), target)
}

fn dataset(shape: Vec<usize>, target: Target) -> Dataset {
    let digest = Digest::of(b"made up");
    let width = shape.iter().product::<usize>();
    let mut rng = StreamRng::new(&digest, Stream::Split, 0, 0);
    Dataset {
        digest,
        features: (0..ROWS * width).map(|_| rng.normal() as f32).collect(),
        width,
        shape,
        tokens: None,
        levels: Vec::new(),
        names: (0..width).map(|column| format!("x{column}")).collect(),
        target,
        groups: None,
        leave_out: None,
        order: None,
        spacing: None,
    }
}

const ROWS: usize = 120;
/// Of a training whatever its size: layers, tensors' own heads, what is told in the end.
const NO_TENSORS: u64 = 4096;
