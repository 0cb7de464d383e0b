//! What every training keeps, whoever its neighbours are; on made-up rows.
//!
//! Floor: core.

use std::cell::Cell;

use common::id::{Digest, TrialIndex};
use common::metric::Metric;
use common::seed::{Stream, StreamRng};
use common::space::Config;
use common::study::{
    Arm, ArmConfig, Budget, Data, Format, Hyper, Missing, Model, Optimizer, Outer, OuterKind,
    SeedFactor, Seeds, Study, Task,
};
use common::table::{Dataset, Target};
use common::trial::{Ending, FailReason, Outcome};
use proptest::prelude::*;

use super::fit::{Fitted, fit};
use super::*;

#[test]
fn lane_outcome_ignores_its_neighbours() {
    for optimizer in [Optimizer::AdamW, Optimizer::Sgd] {
        for dataset in [blobs(90, 3), waves(90)] {
            let lanes: Vec<Lane> =
                (0..7).map(|number| assorted_lane(&dataset, number, optimizer)).collect();
            let together = weights_of(&dataset, &lanes.iter().collect::<Vec<_>>());
            for (number, lane) in lanes.iter().enumerate() {
                let alone = weights_of(&dataset, &[lane]);
                let other = &lanes[(number + 3) % 7];
                let paired = weights_of(&dataset, &[other, lane]);
                assert!(alone[0] == together[number], "lane {number} of 7, {optimizer:?}");
                assert!(alone[0] == paired[1], "lane {number} of 2, {optimizer:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn endings_do_not_depend_on_who_trains_beside_whom(
        numbers in proptest::collection::vec(0u64..40, 1..20),
    ) {
        let dataset = blobs(60, 2);
        let lanes: Vec<Lane> = numbers
            .iter()
            .map(|&number| assorted_lane(&dataset, number, Optimizer::AdamW))
            .collect();
        let together = endings(&dataset, &lanes);
        for (lane, ending) in lanes.iter().zip(&together) {
            let alone = endings(&dataset, std::slice::from_ref(lane));
            prop_assert_eq!(&alone[0], ending);
        }
    }
}

#[test]
fn outcome_ignores_what_other_threads_do() {
    let dataset = blobs(200, 2);
    let hyper = Hyper { epochs: 4, batch: 64, hidden: vec![48], dropout: 0.2, ..Hyper::default() };
    let lanes: Vec<Lane> = (0..3).map(|seed| lane(&dataset, &hyper, seed)).collect();
    let alone = endings(&dataset, &lanes);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| endings(&dataset, &lanes))).collect();
        for thread in threads {
            assert!(thread.join().unwrap() == alone);
        }
    });
}

#[test]
fn weights_cannot_see_the_test_rows() {
    for dataset in [blobs(80, 2), waves(80)] {
        let lane = lane(&dataset, &small(), 1);
        let before = weights_of(&dataset, &[&lane]);
        for poison in [1e6, f32::NAN, f32::INFINITY] {
            let mut changed = dataset.clone();
            lane.test_rows.iter().for_each(|&row| poison_row(&mut changed, row, poison));
            assert!(weights_of(&changed, &[&lane]) == before, "test rows set to {poison}");
        }
        let mut changed = dataset.clone();
        poison_row(&mut changed, lane.train_rows[3], 2.5);
        assert!(weights_of(&changed, &[&lane]) != before, "a training row must be seen");
    }
}

#[test]
fn noise_is_heard_through_dropout_alone() {
    let dataset = blobs(60, 2);
    let dry = lane(&dataset, &small(), 1);
    let wet = lane(&dataset, &Hyper { dropout: 0.3, ..small() }, 1);
    let renoised = |lane: &Lane| {
        let seeds = StreamSeeds { noise: 99, ..lane.seeds };
        Lane { seeds, ..lane.clone() }
    };
    assert!(weights_of(&dataset, &[&dry]) == weights_of(&dataset, &[&renoised(&dry)]));
    assert!(weights_of(&dataset, &[&wet]) != weights_of(&dataset, &[&renoised(&wet)]));
    assert!(weights_of(&dataset, &[&wet]) != weights_of(&dataset, &[&dry]));
}

#[test]
fn first_weights_come_from_the_init_stream_alone() {
    let dataset = blobs(60, 2);
    let still = lane(&dataset, &Hyper { lr: 0.0, dropout: 0.3, ..small() }, 1);
    let with = |seeds| weights_of(&dataset, &[&Lane { seeds, ..still.clone() }]);
    let first = with(still.seeds);
    assert!(first == with(StreamSeeds { order: 7, noise: 8, ..still.seeds }));
    assert!(first != with(StreamSeeds { init: 7, ..still.seeds }));
}

#[test]
fn order_of_rows_comes_from_the_order_stream() {
    let dataset = blobs(60, 2);
    let lane = lane(&dataset, &small(), 1);
    let reordered = Lane { seeds: StreamSeeds { order: 7, ..lane.seeds }, ..lane.clone() };
    assert!(weights_of(&dataset, &[&lane]) != weights_of(&dataset, &[&reordered]));
}

#[test]
fn linear_model_finds_the_line() {
    let mut rng = StreamRng::new(&Digest::of(b"line"), Stream::Split, 0, 0);
    let features: Vec<f32> = (0..200).map(|_| (rng.normal() * 4.0 + 10.0) as f32).collect();
    let line = |row: &[f32]| 2.0 * row[0] - 3.0 * row[1] + 500.0;
    let values = features.chunks_exact(2).map(line).collect();
    let dataset = dataset(features, 2, Target::Values(values));
    for (optimizer, lr) in [(Optimizer::AdamW, 0.02), (Optimizer::Sgd, 0.01)] {
        let hyper = Hyper { optimizer, lr, epochs: 150, batch: 10, ..Hyper::default() };
        let lane = Lane { model: Model::Linear, ..lane(&dataset, &hyper, 0) };
        let outcome = complete(&dataset, &lane, &[Metric::Rmse, Metric::R2]);
        assert!(outcome.metrics[0] < 0.01, "rmse {} with {optimizer:?}", outcome.metrics[0]);
        assert!(outcome.rows.iter().all(|error| error.abs() < 0.05), "{:?}", outcome.rows);
    }
}

#[test]
fn mlp_bends_where_a_linear_model_cannot() {
    let dataset = waves(300);
    let hyper = Hyper { epochs: 120, lr: 0.01, hidden: vec![32], batch: 16, ..Hyper::default() };
    let mlp = lane(&dataset, &hyper, 0);
    let linear = Lane { model: Model::Linear, ..mlp.clone() };
    let bent = complete(&dataset, &mlp, &[Metric::R2]).metrics[0];
    let straight = complete(&dataset, &linear, &[Metric::R2]).metrics[0];
    assert!(bent > 0.9, "r2 {bent}");
    assert!(straight < 0.5, "r2 {straight}");
}

#[test]
fn classes_are_learnt() {
    let dataset = blobs(300, 4);
    let asked = [Metric::Accuracy, Metric::Auroc, Metric::LogLoss];
    let outcome = complete(&dataset, &lane(&dataset, &small(), 0), &asked);
    assert!(outcome.metrics[0] > 0.9, "accuracy {}", outcome.metrics[0]);
    assert!(outcome.metrics[1] > 0.95, "auroc {}", outcome.metrics[1]);
    let mean_loss =
        outcome.rows.iter().map(|p| -f64::from(*p).ln()).sum::<f64>() / outcome.rows.len() as f64;
    assert!((mean_loss - outcome.metrics[2]).abs() < 1e-6, "rows hold the true class' probability");
}

#[test]
fn a_lane_that_diverges_fails_alone() {
    let dataset = waves(80);
    let tame = Hyper { optimizer: Optimizer::Sgd, lr: 0.01, ..small() };
    let wild = Hyper { lr: 1e9, ..tame.clone() };
    let lanes = [lane(&dataset, &tame, 0), lane(&dataset, &wild, 1), lane(&dataset, &tame, 2)];
    let together = endings(&dataset, &lanes);
    for at in [0, 2] {
        let alone = endings(&dataset, &lanes[at..=at]);
        assert!(matches!(alone[0], Ending::Complete(_)));
        assert_eq!(alone[0], together[at]);
    }
    let Ending::Failed { reason, detail } = &together[1] else { panic!("{:?}", together[1]) };
    assert_eq!(*reason, FailReason::Diverged);
    assert_eq!(detail, "the loss was not finite in epoch 1");
}

#[test]
fn missing_cells_leave_outcomes_finite() {
    let mut dataset = blobs(80, 2);
    dataset.features.iter_mut().step_by(7).for_each(|cell| *cell = f32::NAN);
    let outcome = complete(&dataset, &lane(&dataset, &small(), 0), &[Metric::Accuracy]);
    assert!(outcome.metrics[0] > 0.8, "accuracy {}", outcome.metrics[0]);
}

#[test]
fn a_stopped_training_gives_nothing() {
    let dataset = blobs(60, 2);
    let lane = lane(&dataset, &small(), 0);
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    assert_eq!(
        train_lanes(&dataset, &[lane], &[Metric::Auroc], true, &Machine::default(), &stop),
        None
    );
    assert_eq!(asked.get(), 6);
}

#[test]
fn a_trial_beyond_the_design_fails_alone() {
    let dataset = blobs(60, 2);
    let study = study(&dataset);
    let trials = [TrialIndex(99), TrialIndex(1)];
    let endings = train(&study, &dataset, &trials, &Machine::default(), &|| false).unwrap();
    let detail = "trial 99 is not in the study, which has 6 trials".to_string();
    assert_eq!(endings[0], Ending::Failed { reason: FailReason::Error, detail });
    assert!(matches!(endings[1], Ending::Complete(_)));
}

#[test]
fn trials_end_in_their_order_with_every_metric() {
    let dataset = blobs(60, 2);
    let study = study(&dataset);
    let trials: Vec<TrialIndex> = (0..6).map(TrialIndex).collect();
    let together = train(&study, &dataset, &trials, &Machine::default(), &|| false).unwrap();
    for (trial, ending) in trials.iter().zip(&together) {
        let alone = train(&study, &dataset, &[*trial], &Machine::default(), &|| false).unwrap();
        assert_eq!(&alone[0], ending);
        let Ending::Complete(outcome) = ending else { panic!("{ending:?}") };
        assert_eq!((outcome.metrics.len(), outcome.rows.len(), outcome.epochs), (2, 15, 3));
        assert!(outcome.metrics.iter().all(|metric| metric.is_finite()));
    }
    assert!(
        together
            .iter()
            .all(|ending| { together.iter().filter(|other| *other == ending).count() == 1 })
    );
}

#[test]
fn a_constant_says_what_the_training_rows_are() {
    let (classes, values) = (blobs(80, 3), waves(80));
    let constant = |dataset: &Dataset, seed| Lane {
        model: Model::Constant,
        hyper: Hyper::none(),
        ..lane(dataset, &small(), seed)
    };
    let asked = [Metric::Auroc, Metric::Accuracy, Metric::LogLoss];
    let outcome = complete(&classes, &constant(&classes, 1), &asked);
    let Target::Classes { labels, .. } = &classes.target else { panic!("classes") };
    let of = |rows: &[u32], class: u32| {
        rows.iter().filter(|&&row| labels[row as usize] == class).count() as f64
    };
    let opened = constant(&classes, 1);
    let largest = (0..3).rev().max_by_key(|&class| of(&opened.train_rows, class) as u64).unwrap();
    assert_eq!((outcome.metrics[0], outcome.epochs), (0.5, 0));
    assert_eq!(outcome.metrics[1], of(&opened.test_rows, largest) / 20.0);
    let loss: f64 = (0..3)
        .map(|class| -of(&opened.test_rows, class) * (of(&opened.train_rows, class) / 60.0).ln())
        .sum();
    assert!((outcome.metrics[2] - loss / 20.0).abs() < 1e-6, "{}", outcome.metrics[2]);
    assert_eq!(outcome, complete(&classes, &constant(&classes, 2), &asked));

    let Target::Values(truth) = &values.target else { panic!("values") };
    let lane = constant(&values, 1);
    let mean =
        lane.train_rows.iter().map(|&row| f64::from(truth[row as usize])).sum::<f64>() / 60.0;
    let outcome = complete(&values, &lane, &[Metric::R2]);
    let errors = lane.test_rows.iter().map(|&row| mean - f64::from(truth[row as usize]));
    for (error, said) in errors.zip(&outcome.rows) {
        assert!((error - f64::from(*said)).abs() < 1e-3, "{error} {said}");
    }
    assert!(outcome.metrics[0] <= 0.0);
}

#[test]
fn a_permuted_arm_learns_nothing_unless_copies_of_the_test_rows_train() {
    let mut dataset = blobs(120, 2);
    let train = |dataset: &Dataset, permuted: bool| {
        let mut study = study(dataset);
        study.arms[0].configs[0].hyper = small();
        study.outer.partitions = 20;
        let of = Arm { model: Model::Permuted { of: 0, repeats: 1 }, ..study.arms[0].clone() };
        study.arms.push(of);
        // The first seed has both arms, one after the other, in each of twenty partitions.
        let trials: Vec<TrialIndex> =
            (0..20).map(|partition| TrialIndex(2 * partition + u64::from(permuted))).collect();
        let endings = train(&study, dataset, &trials, &Machine::default(), &|| false).unwrap();
        let score = |ending: &Ending| match ending {
            Ending::Complete(outcome) => outcome.metrics[0],
            failed => panic!("{failed:?}"),
        };
        endings.iter().map(score).sum::<f64>() / 20.0
    };
    let (own, permuted) = (train(&dataset, false), train(&dataset, true));
    assert!(own > 0.9, "{own}");
    assert!((permuted - 0.5).abs() < 0.1, "{permuted}");
    let half = dataset.features.len() / 2;
    dataset.features.copy_within(..half, half);
    if let Target::Classes { labels, .. } = &mut dataset.target {
        labels.copy_within(..60, 60);
    }
    let copied = train(&dataset, true);
    assert!(copied > 0.7, "{copied}");
}

#[test]
fn shuffled_labels_reach_the_weights_and_nothing_else_does() {
    for dataset in [blobs(80, 2), waves(80)] {
        let own = lane(&dataset, &small(), 1);
        let same = Lane { labels: Some((0..80).collect()), ..own.clone() };
        assert!(weights_of(&dataset, &[&own]) == weights_of(&dataset, &[&same]));
        let mut labels: Vec<u32> = (0..80).collect();
        own.train_rows.windows(2).for_each(|pair| labels[pair[0] as usize] = pair[1]);
        let shuffled = Lane { labels: Some(labels), ..own.clone() };
        let together = weights_of(&dataset, &[&own, &shuffled]);
        assert!(together[0] != together[1]);
        assert!(weights_of(&dataset, &[&shuffled])[0] == together[1]);
    }
}

#[test]
fn every_row_trains_or_tests() {
    let dataset = blobs(60, 2);
    let lanes = open(&study(&dataset), &dataset, &[TrialIndex(0), TrialIndex(1)]);
    let rows = lanes.iter().map(|lane| {
        let lane = lane.as_ref().unwrap();
        let mut rows = [lane.train_rows.clone(), lane.test_rows.clone()].concat();
        rows.sort_unstable();
        rows
    });
    for rows in rows {
        assert_eq!(rows, (0..60).collect::<Vec<u32>>());
    }
    assert_ne!(lanes[0].as_ref().unwrap().test_rows, lanes[1].as_ref().unwrap().test_rows);
}

#[test]
fn a_curve_has_the_losses_of_each_epoch_and_changes_nothing() {
    let data = blobs(120, 2);
    let plain = lane(&data, &Hyper { epochs: 50, ..small() }, 3);
    let (held_out, rest) = plain.train_rows.split_at(20);
    let (held_out, rest) = (held_out.to_vec(), rest.to_vec());
    let watched = Lane { train_rows: rest.clone(), validation_rows: held_out, ..plain.clone() };
    let blind = Lane { train_rows: rest, ..plain.clone() };
    let alone = complete(&data, &watched, &[Metric::Auroc]);
    let curve = alone.curve.clone().expect("fifty epochs");
    let points: Vec<_> = curve.points().collect();
    assert_eq!((points.len(), points[0].at, points[31].at), (32, 1, 50));
    assert!(points[31].value < 0.5 * points[0].value, "{points:?}");
    assert!(points.iter().all(|point| point.held_out.is_some()));

    // The same beside others, and weights do not know who was watched.
    let lanes = [plain.clone(), watched.clone(), blind.clone()];
    let both: Vec<Outcome> = endings(&data, &lanes)
        .into_iter()
        .map(|ending| match ending {
            Ending::Complete(outcome) => outcome,
            failed => panic!("{failed:?}"),
        })
        .collect();
    assert_eq!(both[1].curve, alone.curve);
    assert_eq!(both[1].digest(), both[2].digest());
    let of_blind = both[2].curve.clone().expect("fifty epochs");
    for (one, other) in points.iter().zip(of_blind.points()) {
        assert_eq!((one.at, one.value, other.held_out), (other.at, other.value, None));
    }

    // Of one step an epoch the first mean is the loss of the first weights: close to ln 2.
    let whole = Hyper { batch: 1_000, dropout: 0.0, lr: 1e-6, epochs: 2, ..small() };
    let first = complete(&data, &lane(&data, &whole, 3), &[Metric::Auroc]).curve.expect("two");
    let log_loss = complete(&data, &lane(&data, &whole, 3), &[Metric::LogLoss]).metrics[0];
    let value = f64::from(first.points().next().expect("two").value);
    assert!((value - log_loss).abs() < 0.1 && (0.3..2.0).contains(&value), "{value} {log_loss}");
    // One epoch is a point, and no curve.
    let short = lane(&data, &Hyper { epochs: 1, ..small() }, 3);
    assert_eq!(complete(&data, &short, &[Metric::Auroc]).curve, None);
}

/// Lane `number`: its own step size, decay, dropout, seeds, epochs and training rows.
fn assorted_lane(dataset: &Dataset, number: u64, optimizer: Optimizer) -> Lane {
    let hyper = Hyper {
        epochs: [3, 5, 4][number as usize % 3],
        batch: 16,
        optimizer,
        lr: 1e-3 * (1 + number % 4) as f64,
        weight_decay: [0.0, 1e-2][number as usize % 2],
        hidden: vec![9, 5],
        dropout: [0.0, 0.2, 0.5][number as usize % 3],
        ..Hyper::default()
    };
    let lane = lane(dataset, &hyper, number);
    let kept = lane.train_rows.len() - 3 * (number as usize % 5);
    Lane { train_rows: lane.train_rows[..kept].to_vec(), ..lane }
}

fn small() -> Hyper {
    Hyper { epochs: 40, lr: 5e-3, batch: 16, hidden: vec![12], ..Hyper::default() }
}

/// An MLP that tests on every fourth row.
pub fn lane(dataset: &Dataset, hyper: &Hyper, seed: u64) -> Lane {
    let rows = 0..dataset.rows() as u32;
    let (test_rows, train_rows) = rows.partition(|row| row % 4 == 1);
    let seeds = StreamSeeds { init: seed, order: seed, noise: seed };
    Lane {
        model: Model::Mlp,
        hyper: hyper.clone(),
        seeds,
        train_rows,
        validation_rows: Vec::new(),
        test_rows,
        labels: None,
        chooses: false,
    }
}

/// Clouds around as many corners as there are classes; five features of unlike size.
pub fn blobs(rows: usize, classes: u32) -> Dataset {
    let mut rng = StreamRng::new(&Digest::of(b"blobs"), Stream::Split, 0, 0);
    let labels: Vec<u32> = (0..rows).map(|_| rng.below(u64::from(classes)) as u32).collect();
    let cell = |label: u32, column: u32, noise: f64| {
        let corner = if (label + 1) >> (column % 3) & 1 == 1 { 2.0 } else { 0.0 };
        ((corner + 0.7 * noise) * 10f64.powi(column as i32 - 2)) as f32
    };
    let features = labels.iter().flat_map(|&label| (0..5).map(move |column| (label, column)));
    let features = features.map(|(label, column)| cell(label, column, rng.normal())).collect();
    dataset(features, 5, Target::Classes { labels, classes })
}

/// A value that goes up and down with the first feature, far from 0.
pub fn waves(rows: usize) -> Dataset {
    let mut rng = StreamRng::new(&Digest::of(b"waves"), Stream::Split, 0, 0);
    let features: Vec<f32> = (0..rows * 2).map(|_| rng.unit_f32() * 6.0).collect();
    let value = |row: &[f32]| 1000.0 + 50.0 * (1.2 * row[0]).cos() + row[1];
    let values = features.chunks_exact(2).map(value).collect();
    dataset(features, 2, Target::Values(values))
}

pub fn dataset(features: Vec<f32>, width: usize, target: Target) -> Dataset {
    let names = (0..width).map(|column| format!("x{column}")).collect();
    let digest = Digest::of(b"made up");
    Dataset {
        digest,
        features,
        width,
        shape: vec![width],
        tokens: None,
        levels: Vec::new(),
        names,
        target,
        groups: None,
        leave_out: None,
        order: None,
        spacing: None,
    }
}

fn poison_row(dataset: &mut Dataset, row: u32, value: f32) {
    let start = row as usize * dataset.width;
    dataset.features[start..start + dataset.width].fill(value);
    match &mut dataset.target {
        Target::Classes { labels, classes } => {
            labels[row as usize] = (labels[row as usize] + 1) % *classes;
        }
        Target::Values(values) => values[row as usize] = value,
        Target::Masks { .. } => panic!("no masks here"),
    }
}

fn fitted<'a>(dataset: &'a Dataset, lanes: &[&'a Lane], width: usize) -> Vec<Fitted<'a>> {
    fit(dataset, lanes, width, &Device::Cpu, &|| false).unwrap().unwrap()
}

/// Bits of every number of each lane's network.
fn weights_of(dataset: &Dataset, lanes: &[&Lane]) -> Vec<Vec<u32>> {
    bits_of(fitted(dataset, lanes, lanes.len()))
}

fn bits_of(fitted: Vec<Fitted<'_>>) -> Vec<Vec<u32>> {
    let bits = |fitted: Fitted<'_>| {
        assert_eq!(fitted.diverged, None);
        let values = fitted.network.parameters.iter();
        let numbers =
            values.flat_map(|p| p.values.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        numbers.map(f32::to_bits).collect()
    };
    fitted.into_iter().map(bits).collect()
}

fn endings(dataset: &Dataset, lanes: &[Lane]) -> Vec<Ending> {
    let metrics = match dataset.target {
        Target::Classes { .. } => [Metric::Auroc, Metric::LogLoss],
        Target::Masks { .. } => panic!("no masks here"),
        Target::Values(_) => [Metric::Rmse, Metric::R2],
    };
    train_lanes(dataset, lanes, &metrics, true, &Machine::default(), &|| false).unwrap()
}

fn complete(dataset: &Dataset, lane: &Lane, metrics: &[Metric]) -> Outcome {
    let lanes = std::slice::from_ref(lane);
    let mut endings =
        train_lanes(dataset, lanes, metrics, true, &Machine::default(), &|| false).unwrap();
    match endings.remove(0) {
        Ending::Complete(outcome) => outcome,
        failed => panic!("{failed:?}"),
    }
}

/// Three seeds, one holdout partition of two drawn ones, one arm.
fn study(dataset: &Dataset) -> Study {
    let hyper = Hyper { epochs: 3, ..small() };
    let config = ArmConfig { point: Config::default(), hyper };
    Study {
        name: "made up".into(),
        notes: String::new(),
        metrics: vec![Metric::Auroc, Metric::Brier],
        data: Data {
            path: "rows.csv".into(),
            format: Format::Csv,
            digest: dataset.digest,
            bytes: 0,
            target: "class".into(),
            task: Task::Classification { classes: vec!["no".into(), "yes".into()] },
            drop: Vec::new(),
            group: None,
            leave_out: None,
            missing: Missing::Refuse,
            rows: dataset.rows() as u64,
        },
        outer: Outer {
            kind: OuterKind::Holdout { share: 0.25 },
            partitions: 2,
            folds: 1,
            stratify: true,
            inner: None,
        },
        seeds: Seeds {
            factors: vec![SeedFactor {
                name: "seed".into(),
                streams: Stream::TRAINING.to_vec(),
                count: 3,
            }],
        },
        arms: vec![Arm {
            name: "mlp".into(),
            model: Model::Mlp,
            written: String::new(),
            configs: vec![config],
            learned: None,
            halving: None,
            race: None,
            requires: Default::default(),
        }],
        budget: Budget::default(),
    }
}

#[test]
fn a_fixed_width_without_room_is_halved_until_there_is() {
    let tried = std::cell::RefCell::new(Vec::new());
    let begin = || Ok(64);
    let fit = |room: usize| {
        move |width: usize| match width <= room {
            true => Ok(width),
            false => Err(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".to_string())),
        }
    };
    let note = |width: usize, fitted: &Result<usize>| {
        tried.borrow_mut().push((width, fitted.is_ok()));
    };
    assert_eq!(narrowed(20, &begin, fit(6), note).expect("some room"), 5);
    assert_eq!(tried.take(), [(20, false), (10, false), (5, true)]);
    assert!(narrowed(3, &begin, fit(0), note).is_err(), "not even one has room");
    assert_eq!(tried.take(), [(3, false), (1, false)]);
}
