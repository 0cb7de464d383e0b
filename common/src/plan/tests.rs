//! What every search keeps: replays, the space, each config once, and the order of the halvings.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::space::{Axis, Condition, Constraint, Form, Value};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_replayed_search_goes_on_as_the_first_one(acts in acts(70), cut in 0usize..70, seed: u64) {
        for method in METHODS {
            let (mut first, _) = played(method, seed, &acts[..cut.min(acts.len())]);
            let mut second = search(method, seed);
            for event in &played(method, seed, &acts[..cut.min(acts.len())]).1 {
                match event {
                    Event::Made(proposal) => prop_assert_eq!(second.record(proposal), Ok(())),
                    Event::Told(number, told) => prop_assert_eq!(second.tell(*number, *told), Ok(())),
                }
            }
            for _ in 0..3 {
                prop_assert_eq!(first.ask(), second.ask(), "{:?}", method);
            }
            prop_assert_eq!(first.best(), second.best());
        }
    }

    #[test]
    fn proposals_are_in_the_space_and_each_config_comes_once(acts in acts(80), seed: u64) {
        for method in METHODS {
            let (search, events) = played(method, seed, &acts);
            let mut configs = BTreeSet::new();
            for event in &events {
                let Event::Made(proposal) = event else { continue };
                prop_assert!(search.space().contains(&proposal.config), "{}", proposal.config);
                if proposal.rung.is_none_or(|rung| rung.rung == 0) {
                    prop_assert!(configs.insert(proposal.config.to_string()));
                }
            }
        }
    }

    #[test]
    fn halving_never_leaves_a_better_one_behind(acts in acts(120), seed: u64) {
        for method in [Method::Halving(RUNGS), Method::AsyncHalving(RUNGS)] {
            let (_, events) = played(method, seed, &acts);
            let mut seen = BTreeSet::new();
            let mut losses: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); 4];
            let mut made: Vec<Proposal> = Vec::new();
            let mut went: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); 4];
            for event in events {
                match event {
                    Event::Made(proposal) => {
                        let rung = proposal.rung.expect("a rung");
                        prop_assert!(seen.insert((proposal.config_number, rung.rung)), "twice");
                        if let Some(from) = rung.from {
                            let level = rung.rung as usize - 1;
                            let below = &made[from as usize];
                            prop_assert_eq!(below.config_number, proposal.config_number);
                            prop_assert_eq!(below.rung.map(|rung| rung.rung), Some(level as u32));
                            prop_assert_eq!(&below.config, &proposal.config);
                            let own = losses[level][&from];
                            went[level].insert(from);
                            let left = losses[level].iter().filter(|(number, _)| !went[level].contains(number));
                            prop_assert!(left.into_iter().all(|(_, loss)| *loss >= own));
                        }
                        made.push(proposal);
                    }
                    Event::Told(number, Told::Score { value, .. }) => {
                        let level = made[number as usize].rung.expect("a rung").rung as usize;
                        losses[level].insert(number, value);
                    }
                    Event::Told(_, Told::Failed) => {}
                }
            }
        }
    }

    #[test]
    fn a_metric_turned_round_gives_the_same_search(acts in acts(40), seed: u64) {
        for method in METHODS {
            let (mut one, events) = played(method, seed, &acts);
            let turned = Terms { larger_is_better: true, ..terms(seed) };
            let mut other = Search::new(space_for(method), method, turned).expect("sound");
            for event in events {
                let noted = match event {
                    Event::Made(proposal) => other.record(&proposal),
                    Event::Told(number, Told::Score { value, variance }) => {
                        other.tell(number, Told::Score { value: -value, variance })
                    }
                    Event::Told(number, Told::Failed) => other.tell(number, Told::Failed),
                };
                prop_assert_eq!(noted, Ok(()));
            }
            prop_assert_eq!(one.ask(), other.ask());
        }
    }
}

#[test]
fn a_finite_space_is_tried_whole_and_no_more() {
    let axes = vec![("a".into(), numbers(0, 3)), ("b".into(), numbers(0, 4))];
    let space = Space { axes, ..Space::default() };
    for method in METHODS {
        let mut search = Search::new(space.clone(), method, terms(3)).expect("sound");
        let mut configs = BTreeSet::new();
        loop {
            match search.ask() {
                Asked::Next(proposal) => {
                    configs.insert(proposal.config.to_string());
                    let value = f64::from(proposal.number % 7);
                    let told = Told::Score { value, variance: None };
                    search.tell(proposal.number, told).expect("open");
                }
                Asked::Wait => panic!("nothing is open"),
                Asked::Over => break,
            }
        }
        assert_eq!(configs.len(), 20, "{method:?}");
    }
}

#[test]
fn whole_halving_trains_nine_three_and_one() {
    let terms = Terms { budget: 9, ..terms(0) };
    for method in [Method::Halving(RUNGS), Method::AsyncHalving(RUNGS)] {
        let mut search = Search::new(space(), method, terms).expect("sound");
        let mut found: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        while let Asked::Next(proposal) = search.ask() {
            let rung = proposal.rung.expect("a rung");
            *found.entry((rung.rung, rung.epochs)).or_default() += 1;
            let value = f64::from(proposal.config_number);
            search.tell(proposal.number, Told::Score { value, variance: None }).expect("open");
        }
        assert_eq!(found, BTreeMap::from([((0, 3), 9), ((1, 9), 3), ((2, 27), 1)]), "{method:?}");
        assert_eq!(search.best().map(|(_, score)| score), Some(0.0));
    }
}

#[test]
fn halving_waits_for_its_rung_where_the_asynchronous_form_goes_on() {
    let ask = |method| {
        let terms = Terms { budget: 4, ..terms(0) };
        let mut search = Search::new(space(), method, terms).expect("sound");
        (0..4).for_each(|_| drop(search.ask()));
        for number in 0..3 {
            let told = Told::Score { value: f64::from(number), variance: None };
            search.tell(number, told).expect("open");
        }
        search.ask()
    };
    assert_eq!(ask(Method::Halving(RUNGS)), Asked::Wait);
    let Asked::Next(proposal) = ask(Method::AsyncHalving(RUNGS)) else { panic!("goes on") };
    let rung = Rung { rung: 1, epochs: 9, from: Some(0) };
    assert_eq!((proposal.number, proposal.config_number, proposal.rung), (4, 0, Some(rung)));
}

#[test]
fn what_is_drawn_up_front_is_what_is_asked() {
    let axes = vec![("a".into(), numbers(0, 1)), ("b".into(), numbers(0, 2))];
    let grid = Space { axes, ..Space::default() };
    let drawn = Search::new(grid.clone(), Method::Grid, terms(0)).expect("sound").upfront();
    assert_eq!(drawn, Ok(grid.configs()));
    for method in [Method::Random, Method::Sobol] {
        let mut one = search(method, 5);
        let drawn = search(method, 5).upfront().expect("learns nothing");
        assert_eq!(drawn.len(), BUDGET as usize);
        for config in drawn {
            assert!(matches!(one.ask(), Asked::Next(proposal) if proposal.config == config));
        }
    }
    assert_eq!(search(Method::Tpe, 5).upfront(), Err(SearchError::Learns));
}

#[test]
fn searches_that_learn_find_a_bowl_that_chance_does_not() {
    let regret = |method, seed| {
        let mut search = Search::new(cube(4), method, terms(seed)).expect("sound");
        let mut least = f64::INFINITY;
        while let Asked::Next(proposal) = search.ask() {
            let values = proposal.config.values.iter().filter_map(|(_, value)| value.number());
            let value = values.map(|x| (x - 0.7).powi(2)).sum::<f64>();
            least = least.min(value);
            search.tell(proposal.number, Told::Score { value, variance: Some(0.0) }).expect("open");
        }
        least
    };
    let total = |method| (0..5).map(|seed| regret(method, seed)).sum::<f64>();
    let chance = total(Method::Random);
    for (method, share) in [(Method::Tpe, 0.7), (Method::CmaEs, 0.5), (Method::Gaussian, 0.01)] {
        let found = total(method);
        assert!(found < share * chance, "{method:?}: {found} of {chance}");
    }
}

#[test]
fn what_is_out_of_turn_or_told_twice_is_refused() {
    let mut search = search(Method::Random, 0);
    let Asked::Next(proposal) = search.ask() else { panic!("a budget is left") };
    assert_eq!(search.record(&proposal), Err(SearchError::OutOfTurn { number: 0, wanted: 1 }));
    let strange = Proposal { number: 1, config_number: 1, config: Config::default(), rung: None };
    assert_eq!(search.record(&strange), Err(SearchError::Outside { number: 1 }));
    let score = |value| Told::Score { value, variance: None };
    assert_eq!(search.tell(7, score(0.0)), Err(SearchError::NeverProposed { number: 7 }));
    assert_eq!(search.tell(0, score(f64::NAN)), Err(SearchError::NoScore { number: 0 }));
    assert_eq!(search.tell(0, score(0.0)), Ok(()));
    assert_eq!(search.tell(0, Told::Failed), Err(SearchError::ToldTwice { number: 0 }));
}

#[test]
fn what_does_not_suit_a_method_is_refused() {
    let new = |space, method| Search::new(space, method, terms(0)).map(drop);
    assert!(matches!(new(space(), Method::Grid), Err(SearchError::NoGrid { .. })));
    assert!(matches!(new(space(), Method::CmaEs), Err(SearchError::NotOrdered { .. })));
    let none = Rungs { epochs_min: 0, ..RUNGS };
    assert_eq!(new(space(), Method::Halving(none)), Err(SearchError::NoRungs(none)));
    let mut impossible = space();
    impossible.constraints[0].most = 0.0;
    assert_eq!(new(impossible, Method::Random), Err(SearchError::NothingAllowed));
}

/// Something that happened to a search, as its log would hold it.
enum Event {
    Made(Proposal),
    Told(u32, Told),
}

/// Numbers that become asks and tells.
fn acts(most: usize) -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 0..most)
}

/// A search after some acts, and what happened: a third of the acts ask, the others tell any one
/// that is open.
fn played(method: Method, seed: u64, acts: &[u16]) -> (Search, Vec<Event>) {
    let mut search = search(method, seed);
    let mut events = Vec::new();
    for act in acts {
        let open: Vec<u32> = search.open().collect();
        if act % 3 == 0 || open.is_empty() {
            if let Asked::Next(proposal) = search.ask() {
                events.push(Event::Made(proposal));
            }
            continue;
        }
        let number = open[usize::from(act / 16) % open.len()];
        let value = f64::from(act / 7 % 50) / 10.0;
        let told = match act / 3 % 10 {
            0 => Told::Failed,
            1..6 => Told::Score { value, variance: None },
            _ => Told::Score { value, variance: Some(value / 100.0) },
        };
        search.tell(number, told).expect("open");
        events.push(Event::Told(number, told));
    }
    (search, events)
}

fn search(method: Method, seed: u64) -> Search {
    Search::new(space_for(method), method, terms(seed)).expect("sound")
}

fn terms(seed: u64) -> Terms {
    Terms { budget: BUDGET, larger_is_better: false, data: Digest::of(b"data"), seed }
}

fn space_for(method: Method) -> Space {
    match method {
        Method::CmaEs => cube(3),
        Method::Grid => {
            let mut space = space();
            space.axes.retain(|(_, axis)| axis.size().is_some());
            space.conditions.retain(|condition| condition.axis != "momentum");
            space
        }
        _ => space(),
    }
}

fn numbers(low: i64, high: i64) -> Axis {
    Axis::Int { low, high, step: 1 }
}

fn cube(axes: usize) -> Space {
    let axis = |number: usize| (format!("x{number}"), Axis::LinearRange { low: 0.0, high: 1.0 });
    Space { axes: (0..axes).map(axis).collect(), ..Space::default() }
}

/// Of every kind of axis, with axes that depend on others and a limit.
fn space() -> Space {
    let words =
        |words: &[&str]| Axis::List(words.iter().map(|word| Value::Text((*word).into())).collect());
    let when = |axis: &str, on: &str, value: Value| Condition {
        axis: axis.into(),
        on: on.into(),
        values: vec![value],
    };
    let text = |word: &str| Value::Text(word.into());
    Space {
        axes: vec![
            ("lr".into(), Axis::LogRange { low: 1e-4, high: 1e-1 }),
            ("optimizer".into(), words(&["sgd", "adam", "lion"])),
            ("momentum".into(), Axis::LinearRange { low: 0.0, high: 0.99 }),
            ("width".into(), Axis::Int { low: 16, high: 256, step: 16 }),
            ("layers".into(), numbers(1, 4)),
            ("norm".into(), words(&["none", "batch"])),
            ("epsilon".into(), Axis::Log { low: 1e-6, high: 1e-3, points: 4 }),
        ],
        conditions: vec![
            when("momentum", "optimizer", text("sgd")),
            when("epsilon", "norm", text("batch")),
        ],
        constraints: vec![Constraint {
            form: Form::Product,
            axes: vec!["width".into(), "layers".into()],
            most: 512.0,
        }],
    }
}

const BUDGET: u32 = 60;
const RUNGS: Rungs = Rungs { epochs_min: 2, epochs_max: 27, keep: 3 };
const METHODS: [Method; 8] = [
    Method::Grid,
    Method::Random,
    Method::Sobol,
    Method::Halving(RUNGS),
    Method::AsyncHalving(RUNGS),
    Method::Tpe,
    Method::Gaussian,
    Method::CmaEs,
];
