//! A training that is broken off and gone on with, beside the one that never was.
//!
//! Floor: core.

use std::slice::from_ref;
use std::sync::Mutex;

use candle_core::Device;
use common::metric::Metric;
use common::study::{Augment, Hyper, Model, Optimizer, Recipe, Schedule};
use common::table::Dataset;
use common::trial::Ending;
use proptest::prelude::*;

use super::super::fit::{Fitted, Member, fit};
use super::super::network::tests::{cases, numbers};
use super::super::tests::{blobs, lane, waves};
use super::super::{Fixed, Machine, Trained, evaluate, train_members};
use super::*;

const OPTIMIZERS: [Optimizer; 3] = [Optimizer::AdamW, Optimizer::Adam, Optimizer::Sgd];
const SCHEDULES: [Schedule; 3] = [Schedule::Constant, Schedule::Cosine, Schedule::OneCycle];

/// With all that draws or remembers.
fn restless(hyper: &Hyper, number: u64) -> Hyper {
    let at = number as usize;
    let patience = [0, 2, 50][at % 3];
    Hyper {
        epochs: 5 + at as u32 % 4,
        lr: 3e-3 * (1 + number % 3) as f64,
        weight_decay: [0.0, 1e-2][at % 2],
        dropout: [0.3, 0.0, 0.5][at % 3],
        recipe: Recipe {
            schedule: SCHEDULES[at % 3],
            clip_norm: [0.0, 0.5][at / 2 % 2],
            augment: Augment { noise: 0.1, flip: true, shift: 1, ..Augment::default() },
            validation: 0.2,
            patience,
            ..hyper.recipe.clone()
        },
        ..hyper.clone()
    }
}

/// Holds every fifth training row back.
fn lane_of(model: Model, dataset: &Dataset, hyper: &Hyper, number: u64) -> Lane {
    let whole = Lane { model, ..lane(dataset, hyper, number) };
    let kept = whole.train_rows.len() - number as usize % 3;
    let rows = whole.train_rows[..kept].iter().copied().enumerate();
    let (held, rest): (Vec<_>, Vec<_>) = rows.partition(|(at, _)| at % 5 == 4);
    let only = |rows: Vec<(usize, u32)>| rows.into_iter().map(|(_, row)| row).collect();
    Lane { train_rows: only(rest), validation_rows: only(held), ..whole }
}

fn trained<'a>(dataset: &'a Dataset, members: &[Member<'a>], width: usize) -> Vec<Fitted<'a>> {
    fit(dataset, members, width, &Device::Cpu, &|| false).unwrap().unwrap()
}

/// Every bit that a training leaves: weights, epochs, curve, and what it would go on from.
fn bits(fitted: &Fitted<'_>) -> (Vec<u32>, u32, Option<u32>, Vec<u8>, String) {
    let values = fitted.network.parameters.iter().flat_map(|p| numbers(&p.values));
    let checkpoint = fitted.checkpoint.as_ref().expect("asked for").bytes().unwrap();
    let curve = format!("{:?}", fitted.curve);
    (values.map(f32::to_bits).collect(), fitted.epochs, fitted.diverged, checkpoint, curve)
}

fn until(lane: &Lane, until: Option<u32>) -> Member<'_> {
    Member { lane, leg: Leg { until, keep: true, ..Leg::default() } }
}

/// Goes on from what was written down and read again.
fn cut(dataset: &Dataset, lane: &Lane, epoch: u32, width: usize) -> Checkpoint {
    let stopped = trained(dataset, &[until(lane, Some(epoch)); 3], width).remove(0);
    assert!(stopped.epochs <= epoch);
    let bytes = stopped.checkpoint.expect("asked for").bytes().unwrap();
    Checkpoint::read(&bytes).unwrap()
}

fn resumed<'a>(lane: &'a Lane, from: &'a Checkpoint) -> Member<'a> {
    Member { lane, leg: Leg { from: from_ref(from), keep: true, ..Leg::default() } }
}

/// Of lanes with unlike lengths, rates and seeds: each cut after every epoch, gone on with alone and
/// in a stack of another width with neighbours that begin elsewhere.
fn check(model: Model, dataset: &Dataset, hyper: &Hyper) {
    let lanes: Vec<Lane> =
        (0..4).map(|number| lane_of(model, dataset, &restless(hyper, number), number)).collect();
    let whole: Vec<Member<'_>> = lanes.iter().map(|lane| until(lane, None)).collect();
    let whole: Vec<_> = trained(dataset, &whole, 4).iter().map(bits).collect();
    for epoch in 1..9 {
        let cuts: Vec<Checkpoint> = lanes
            .iter()
            .enumerate()
            .map(|(at, lane)| cut(dataset, lane, 1 + (epoch + at as u32) % 8, 2))
            .collect();
        let mut members: Vec<Member<'_>> =
            lanes.iter().zip(&cuts).map(|(lane, from)| resumed(lane, from)).collect();
        members.push(until(&lanes[1], None));
        for width in [1, 3, 5] {
            let together = trained(dataset, &members, width);
            for (at, (fitted, whole)) in together.iter().zip(&whole).enumerate() {
                assert!(fitted.begun > 0, "the checkpoint was not believed");
                assert!(bits(fitted) == *whole, "{model:?} lane {at} of {epoch}, width {width}");
            }
            assert!(bits(&together[4]) == whole[1], "a neighbour without a checkpoint");
        }
    }
}

#[test]
fn a_resumed_lane_ends_with_the_same_bits() {
    for optimizer in OPTIMIZERS {
        let hyper = Hyper { optimizer, batch: 8, hidden: vec![6], ..Hyper::default() };
        check(Model::Mlp, &blobs(60, 3), &hyper);
        check(Model::Mlp, &waves(60), &hyper);
        let linear = Hyper { hidden: Vec::new(), ..hyper };
        check(Model::Linear, &blobs(60, 2), &linear);
    }
}

#[test]
fn a_resumed_lane_of_every_model_ends_with_the_same_bits() {
    for (at, case) in cases().iter().enumerate() {
        let hyper = Hyper { optimizer: OPTIMIZERS[at % 3], ..case.hyper.clone() };
        let hyper = restless(&hyper, at as u64);
        // Augmentation moves pictures alone, and tokens are no numbers.
        let noise = if case.dataset.tokens.is_some() { 0.0 } else { 0.1 };
        let augment = Augment { noise, ..Augment::default() };
        let hyper = Hyper { recipe: Recipe { augment, ..hyper.recipe }, ..hyper };
        let lanes = [1, 2].map(|number| lane_of(case.model, &case.dataset, &hyper, number));
        let whole = trained(&case.dataset, &[until(&lanes[0], None), until(&lanes[1], None)], 2);
        let from = cut(&case.dataset, &lanes[0], 2, 3);
        let both = [until(&lanes[1], None), resumed(&lanes[0], &from)];
        let again = trained(&case.dataset, &both, 2);
        assert!(bits(&again[1]) == bits(&whole[0]), "{}", case.name);
        assert!(bits(&again[0]) == bits(&whole[1]), "{}", case.name);
    }
}

#[test]
fn a_lane_resumed_on_another_thread_ends_with_the_same_bits() {
    let dataset = blobs(90, 3);
    let hyper = restless(&Hyper { batch: 16, hidden: vec![24], ..Hyper::default() }, 0);
    let lanes: Vec<Lane> =
        (0..3).map(|number| lane_of(Model::Mlp, &dataset, &hyper, number)).collect();
    let whole: Vec<_> =
        lanes.iter().map(|lane| bits(&trained(&dataset, &[until(lane, None)], 1)[0])).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|epoch| {
                let (lanes, dataset) = (&lanes, &dataset);
                scope.spawn(move || {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + epoch % 2).build();
                    pool.unwrap().install(|| {
                        let from = cut(dataset, &lanes[epoch % 3], 1 + epoch as u32, 2);
                        bits(&trained(dataset, &[resumed(&lanes[epoch % 3], &from)], 1)[0])
                    })
                })
            })
            .collect();
        for (epoch, thread) in threads.into_iter().enumerate() {
            assert!(thread.join().unwrap() == whole[epoch % 3]);
        }
    });
}

fn judge(dataset: &Dataset, members: &[Member<'_>], width: usize) -> Vec<Trained> {
    let metrics = [Metric::Auroc, Metric::LogLoss];
    let asked = evaluate::Asked { metrics: &metrics, keep_rows: true };
    let machine = Machine { widths: std::sync::Arc::new(Fixed(width)), ..Machine::default() };
    train_members(dataset, members, &asked, &machine, &|| false).unwrap()
}

#[test]
fn the_score_at_a_stop_is_that_of_the_whole_training_at_that_epoch() {
    let dataset = blobs(80, 2);
    let hyper = Hyper { epochs: 9, batch: 16, hidden: vec![8], dropout: 0.2, ..Hyper::default() };
    let lane = lane_of(Model::Mlp, &dataset, &hyper, 4);
    // A schedule that knows the end: the first epochs of a shorter training are not these.
    let cosine = Recipe { schedule: Schedule::Cosine, ..Recipe::default() };
    for recipe in [Recipe::default(), cosine] {
        let hyper = Hyper { recipe, ..hyper.clone() };
        let lane = Lane { hyper: hyper.clone(), ..lane.clone() };
        let whole = judge(&dataset, &[Member::from(&lane)], 1).remove(0).ending;
        let Ending::Complete(whole) = whole else { panic!("{whole:?}") };
        let mut from: Option<Checkpoint> = None;
        for epoch in 1..=9 {
            let leg = Leg { until: Some(epoch), keep: true, from: from.as_slice(), shelf: None };
            let by_rungs = judge(&dataset, &[Member { lane: &lane, leg }], 1).remove(0);
            let at_once = judge(&dataset, &[until(&lane, Some(epoch))], 1).remove(0);
            assert_eq!(by_rungs, at_once);
            let Ending::Complete(outcome) = &by_rungs.ending else { panic!("{by_rungs:?}") };
            assert_eq!(outcome.epochs, epoch);
            let points = whole.curve.iter().flat_map(|curve| curve.points());
            let points: Vec<_> = points.take(epoch as usize).collect();
            let seen: Vec<_> = outcome.curve.iter().flat_map(|curve| curve.points()).collect();
            assert!(epoch == 1 || seen == points, "{seen:?} {points:?}");
            if hyper.recipe.schedule == Schedule::Constant {
                let short =
                    Lane { hyper: Hyper { epochs: epoch, ..hyper.clone() }, ..lane.clone() };
                let short = judge(&dataset, &[Member::from(&short)], 1).remove(0).ending;
                assert_eq!(short, by_rungs.ending, "trained for {epoch} epochs");
            }
            if epoch == 9 {
                assert_eq!(*outcome, whole);
            }
            from = by_rungs.checkpoint;
        }
    }
}

#[test]
fn what_is_over_is_not_trained_on() {
    let wild = Hyper { optimizer: Optimizer::Sgd, lr: 1e9, ..Hyper::default() };
    let recipe = Recipe { patience: 1, ..Recipe::default() };
    let stale = Hyper { lr: 0.0, epochs: 9, recipe, ..Hyper::default() };
    let done = Hyper { epochs: 2, ..Hyper::default() };
    let dataset = waves(60);
    for (hyper, epochs, diverged) in [(wild, 2, Some(2)), (stale, 2, None), (done, 2, None)] {
        let lane = lane_of(Model::Mlp, &dataset, &hyper, 0);
        let whole = trained(&dataset, &[until(&lane, None)], 1);
        assert_eq!((whole[0].epochs, whole[0].diverged), (epochs, diverged));
        let from = whole[0].checkpoint.clone().unwrap();
        for fitted in trained(&dataset, &[resumed(&lane, &from); 3], 2) {
            assert_eq!((fitted.begun, fitted.epochs, fitted.diverged), (epochs, epochs, diverged));
            assert!(bits(&fitted) == bits(&whole[0]));
        }
    }
}

#[test]
fn a_checkpoint_of_another_training_is_not_gone_on_from() {
    let dataset = blobs(60, 2);
    let hyper = Hyper { epochs: 4, hidden: vec![5], batch: 8, ..Hyper::default() };
    let lane = lane_of(Model::Mlp, &dataset, &hyper, 0);
    let whole = bits(&trained(&dataset, &[until(&lane, None)], 1)[0]);
    let from = cut(&dataset, &lane, 2, 1);
    let with = |hyper: Hyper| Lane { hyper, ..lane.clone() };
    let mut fewer = lane.clone();
    fewer.train_rows.pop();
    let others = [
        with(Hyper { lr: 0.5, ..hyper.clone() }),
        with(Hyper { epochs: 5, ..hyper.clone() }),
        with(Hyper { hidden: vec![6], ..hyper.clone() }),
        Lane { seeds: super::super::StreamSeeds { order: 9, ..lane.seeds }, ..lane.clone() },
        Lane { labels: Some((0..60).rev().collect()), ..lane.clone() },
        fewer,
    ];
    for other in &others {
        let fitted = trained(&dataset, &[resumed(other, &from)], 1);
        let anew = trained(&dataset, &[until(other, None)], 1);
        assert_eq!(fitted[0].begun, 0);
        assert!(bits(&fitted[0]) == bits(&anew[0]));
    }
    // One that is not believed does not stand before one that is.
    let foreign = cut(&dataset, &others[0], 3, 1);
    let several = [foreign.clone(), from.clone(), cut(&dataset, &lane, 1, 1)];
    let leg = Leg { from: &several, keep: true, ..Leg::default() };
    let behind = trained(&dataset, &[Member { lane: &lane, leg }], 1).remove(0);
    assert!(behind.begun == 2 && bits(&behind) == whole);
    // More epochs than are wanted, and numbers that do not fit.
    let leg = Leg { from: from_ref(&from), until: Some(1), keep: true, shelf: None };
    let short = trained(&dataset, &[Member { lane: &lane, leg }], 1).remove(0);
    assert_eq!((short.begun, short.epochs), (0, 1));
    let mut bad = vec![from.clone(); 5];
    bad[0].epochs = 0;
    bad[1].state[0].push(0.0);
    bad[2].state.pop();
    bad[3].best = Some(Best { loss: 0.0, epoch: 1, values: vec![vec![0.0]] });
    let values = from.state.iter().map(|state| state[..state.len() / 3].to_vec()).collect();
    bad[4].best = Some(Best { loss: 0.0, epoch: 3, values });
    for bad in &bad {
        let fitted = trained(&dataset, &[resumed(&lane, bad)], 1);
        assert!(fitted[0].begun == 0 && bits(&fitted[0]) == whole, "{bad:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let dataset = blobs(24, 2);
    let recipe = Recipe { patience: 3, ..Recipe::default() };
    let hyper = Hyper { epochs: 4, hidden: vec![2], batch: 8, recipe, ..Hyper::default() };
    let lane = lane_of(Model::Mlp, &dataset, &hyper, 0);
    let good = cut(&dataset, &lane, 2, 1);
    assert!(good.best.is_some());
    let bytes = good.bytes().unwrap();
    assert_eq!(Checkpoint::read(&bytes).unwrap(), good);
    for length in 0..bytes.len() {
        assert!(Checkpoint::read(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    for at in 0..bytes.len() {
        for bit in [1, 2, 128, 255] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(Checkpoint::read(&flipped).is_err(), "byte {at} flipped");
        }
    }
    assert!(Checkpoint::read(&[&bytes[..], &[0]].concat()).is_err(), "longer");
}

/// Refused by what is in it, though its digest is right.
#[test]
fn a_checkpoint_that_claims_a_great_length_takes_no_room() {
    let claim = |rest: &[u8]| [&[VERSION][..], &Digest::of(rest).0, rest].concat();
    let mut rest = codec::encode(&(Digest([0; 32]), 3u32, false)).unwrap();
    rest.push(253);
    rest.extend_from_slice(&(1u64 << 60).to_le_bytes());
    let bytes = claim(&rest);
    let mut refused = false;
    let room = allocation_counter::measure(|| refused = Checkpoint::read(&bytes).is_err());
    assert!(refused && room.bytes_max < 1 << 20, "{} bytes", room.bytes_max);
}

/// Keeps the last one of those of every second epoch.
#[derive(Debug, Default)]
struct Second {
    asked: Mutex<u32>,
    kept: Mutex<Option<Checkpoint>>,
}

impl Shelf for Second {
    fn wants(&self) -> bool {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        asked.is_multiple_of(2)
    }

    fn keep(&self, checkpoint: Checkpoint) {
        *self.kept.lock().unwrap() = Some(checkpoint);
    }
}

#[test]
fn a_training_that_is_stopped_goes_on_from_its_shelf() {
    let dataset = blobs(60, 2);
    let hyper = restless(&Hyper { batch: 8, hidden: vec![6], ..Hyper::default() }, 2);
    let lane = lane_of(Model::Mlp, &dataset, &hyper, 0);
    let whole = bits(&trained(&dataset, &[until(&lane, None)], 1)[0]);
    let shelf = Second::default();
    let leg = Leg { shelf: Some(&shelf), ..Leg::default() };
    let steps = lane.train_rows.len().div_ceil(8);
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 5 * steps + 2
    };
    let members = [Member { lane: &lane, leg }];
    assert!(fit(&dataset, &members, 1, &Device::Cpu, &stop).unwrap().is_none(), "stopped");
    let kept = shelf.kept.lock().unwrap().take().expect("two were offered");
    assert_eq!(kept.epochs(), 4);
    let again = trained(&dataset, &[resumed(&lane, &kept)], 1);
    assert!(again[0].begun == 4 && bits(&again[0]) == whole);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_lane_cut_anywhere_ends_with_the_same_bits(
        hidden in proptest::collection::vec(1u32..9, 0..3),
        seeds in proptest::collection::vec(0u64..1_000, 1..4),
        cuts in proptest::collection::vec(1u32..9, 1..4),
        optimizer in 0usize..3,
        batch in 1u32..30,
        width in 1usize..5,
    ) {
        let dataset = blobs(40, 3);
        let optimizer = OPTIMIZERS[optimizer];
        let hyper = Hyper { hidden, batch, optimizer, ..Hyper::default() };
        let lanes: Vec<Lane> = seeds
            .iter()
            .map(|&seed| lane_of(Model::Mlp, &dataset, &restless(&hyper, seed), seed))
            .collect();
        let whole: Vec<Member<'_>> = lanes.iter().map(|lane| until(lane, None)).collect();
        let whole: Vec<_> = trained(&dataset, &whole, 2).iter().map(bits).collect();
        // One leg after another, each from where the one before ended.
        let mut stands: Vec<Option<Checkpoint>> = vec![None; lanes.len()];
        let mut ends: Vec<u32> = cuts.clone();
        ends.sort_unstable();
        for end in ends.into_iter().map(Some).chain([None]) {
            let legs = lanes.iter().zip(&stands).map(|(lane, from)| Member {
                lane,
                leg: Leg { from: from.as_slice(), until: end, keep: true, shelf: None },
            });
            let legs: Vec<Member<'_>> = legs.collect();
            let fitted = trained(&dataset, &legs, width);
            if end.is_none() {
                let again: Vec<_> = fitted.iter().map(bits).collect();
                prop_assert!(again == whole, "cut after {cuts:?}");
            }
            stands = fitted
                .iter()
                .map(|fitted| fitted.checkpoint.as_ref().unwrap().bytes().unwrap())
                .map(|bytes| Checkpoint::read(&bytes).ok())
                .collect();
            prop_assert!(stands.iter().all(Option::is_some));
        }
    }
}

/// The digits' size: 64 inputs, 64 hidden units, 10 classes.
#[test]
fn a_checkpoint_takes_little_more_than_its_numbers() {
    let mut dataset = blobs(80, 10);
    let features = dataset.features.iter().copied().cycle().take(80 * 64).collect();
    dataset.features = features;
    (dataset.width, dataset.shape) = (64, vec![64]);
    let lane = lane_of(Model::Mlp, &dataset, &Hyper { epochs: 9, ..Hyper::default() }, 0);
    let from = cut(&dataset, &lane, 3, 1);
    let bytes = from.bytes().unwrap();
    let numbers = 3 * (64 * 64 + 64 + 64 * 10 + 10);
    assert!((numbers * 4..numbers * 4 + 600).contains(&bytes.len()), "{}", bytes.len());
}
