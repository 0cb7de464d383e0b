//! Every metric against scikit-learn and scipy: `data/metrics/golden.json` and `masks.json`, written
//! by `make_golden.py` and `make_masks.py` there.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::metric::Metric;
use common::metric::score::{Predictions, score};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    sklearn: String,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct GoldenMasks {
    scipy: String,
    cases: BTreeMap<String, Masks>,
}

#[derive(Deserialize)]
struct Masks {
    predicted: Vec<u8>,
    truth: Vec<u8>,
    shape: [usize; 2],
    classes: usize,
    cases: Option<Vec<u32>>,
    spacing: Option<Vec<[f32; 2]>>,
    expected: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Case {
    Classes {
        classes: usize,
        probabilities: Vec<f32>,
        truth: Vec<u32>,
        expected: BTreeMap<String, f64>,
    },
    Values {
        predicted: Vec<f32>,
        truth: Vec<f32>,
        expected: BTreeMap<String, f64>,
    },
}

impl Case {
    fn predictions(&self) -> Predictions<'_> {
        match self {
            Case::Classes { classes, probabilities, truth, .. } => {
                Predictions::Classes { probabilities, classes: *classes, truth }
            }
            Case::Values { predicted, truth, .. } => Predictions::Values { predicted, truth },
        }
    }

    fn expected(&self) -> &BTreeMap<String, f64> {
        match self {
            Case::Classes { expected, .. } | Case::Values { expected, .. } => expected,
        }
    }
}

#[test]
fn metrics_agree_with_scikit_learn() {
    let golden: Golden = serde_json::from_str(include_str!("data/metrics/golden.json")).unwrap();
    let mut compared = BTreeMap::new();
    for (name, case) in &golden.cases {
        for (metric, &expected) in case.expected() {
            let metric: Metric = metric.parse().unwrap();
            let ours = score(metric, &case.predictions());
            let error = (ours - expected).abs() / expected.abs().max(1.0);
            assert!(
                error < TOLERANCE,
                "{metric} of {name}: {ours}, scikit-learn {}: {expected}",
                golden.sklearn
            );
            *compared.entry(metric).or_insert(0) += 1;
        }
    }
    let seen: Vec<Metric> = compared.into_keys().collect();
    let known = Metric::ALL.into_iter().filter(|metric| !metric.is_segmentation());
    assert_eq!(seen, known.collect::<Vec<_>>(), "every metric has a reference value");
}

#[test]
fn metrics_of_masks_agree_with_scipy() {
    let golden: GoldenMasks =
        serde_json::from_str(include_str!("data/metrics/masks.json")).unwrap();
    for (name, case) in &golden.cases {
        assert_eq!(case.expected.len(), 3, "{name}");
        let predictions = Predictions::Masks {
            predicted: &case.predicted,
            truth: &case.truth,
            shape: case.shape,
            classes: case.classes,
            cases: case.cases.as_deref(),
            spacing: case.spacing.as_deref(),
        };
        for (metric, &expected) in &case.expected {
            let metric: Metric = metric.parse().unwrap();
            let ours = score(metric, &predictions);
            let error = (ours - expected).abs() / expected.abs().max(1.0);
            assert!(
                error < TOLERANCE,
                "{metric} of {name}: {ours}, scipy {}: {expected}",
                golden.scipy
            );
        }
        assert!(score(Metric::Accuracy, &predictions).is_nan());
    }
}

#[test]
fn areas_are_undefined_where_scikit_learn_refuses() {
    let golden: Golden = serde_json::from_str(include_str!("data/metrics/golden.json")).unwrap();
    let absent = &golden.cases["four_classes_one_absent"];
    assert!(score(Metric::Auroc, &absent.predictions()).is_nan());
    assert!(score(Metric::Auprc, &absent.predictions()).is_nan());
}

/// Relative to the value, or to 1 where it is smaller.
const TOLERANCE: f64 = 1e-12;
