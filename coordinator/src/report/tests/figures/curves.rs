//! What a report says of how trainings went.
//!
//! Floor: core.

use common::curve::{Curve, Quantity, Trace};

use super::*;

fn losses(epochs: u32, level: f64, held_out: bool) -> Curve {
    let mut trace = Trace::default();
    for at in 1..=epochs {
        let loss = level / f64::from(at);
        trace.push(at, loss, held_out.then_some(2.0 * loss));
    }
    trace.curve(Quantity::Loss).expect("several epochs")
}

/// Ten seeds on five folds; arm `a` has losses of `(seed + 1) / epoch`, arm `b` none.
fn with_curves() -> (Study, Vec<OutcomeRow>) {
    let study = study(&[("a", 1), ("b", 1)], 10, 1, 5);
    let design = Design::of(&study);
    let mut rows = rows(&study, jagged);
    for row in &mut rows {
        let key = design.key(row.trial).expect("inside");
        let RowEnd::Complete(outcome) = &mut row.end else { panic!("complete") };
        if key.arm == 0 {
            let level = f64::from(key.seeds[0] + 1);
            outcome.curve = Some(Box::new(losses(20, level, key.seeds[0] < 5)));
        }
    }
    (study, rows)
}

#[test]
fn a_band_is_the_median_and_the_middle_of_an_arms_trainings() {
    let (study, rows) = with_curves();
    let report = built(&study, &rows);
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    let parts = value["curves"].as_array().expect("a list");
    assert_eq!(parts.len(), 2, "arm b told nothing");
    assert_eq!((&parts[0]["arm"], &parts[0]["shows"]), (&"a".into(), &"training_loss".into()));
    assert_eq!((&parts[0]["by"], &parts[0]["trainings"]), (&"epoch".into(), &50.into()));
    assert_eq!(parts[1]["shows"], "validation_loss");
    assert_eq!(parts[1]["trainings"], 25);
    let points = parts[0]["points"].as_array().expect("points");
    assert_eq!(points.len(), 20);
    // Of 1 to 10, each five times, at the second epoch halved; numpy's default quantiles.
    let second = &points[1];
    assert_eq!((&second["at"], &second["trainings"]), (&2.into(), &50.into()));
    for (name, expected) in [("median", 2.75), ("low", 0.5), ("high", 5.0)] {
        near(second[name].as_f64().expect("a number"), expected);
    }
    let drawn = figures::curves(&report);
    assert_eq!(drawn.iter().map(|figure| figure.name).collect::<Vec<_>>(), ["curves", "curves-2"]);
    let said = "a, epoch 2: 2.75 (0.50 to 5.00 in the middle 90 % of 50 trainings)";
    assert!(drawn[0].wide.contains(said), "{}", drawn[0].wide);
    assert!(drawn[1].caption.contains("held out of the training"), "{}", drawn[1].caption);
    assert_eq!(drawn[0].sheet.rows[1], ["a", "2", "50", "2.75", "0.50 to 5.00"]);
    assert!(html(&report).contains("How did the trainings go?"));
}

#[test]
fn curves_change_nothing_else_of_a_report() {
    let (study, rows) = with_curves();
    let mut bare = rows.clone();
    for row in &mut bare {
        let RowEnd::Complete(outcome) = &mut row.end else { panic!("complete") };
        outcome.curve = None;
    }
    let (full, bare) = (built(&study, &rows), built(&study, &bare));
    assert!(!json(&bare).contains("curves") && !html(&bare).contains("How did the trainings go?"));
    assert_eq!(Report { curves: Vec::new(), ..full }, bare);
}

#[test]
fn exported_trials_have_their_curves_beside_them() {
    let (study, rows) = with_curves();
    let text = String::from_utf8(csv(&material(&study, &rows)).expect("written")).expect("text");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a header");
    let first = lines.next().expect("a trial");
    let of = |line: &[&str], name: &str| {
        line[head.iter().position(|column| *column == name).expect(name)].to_string()
    };
    assert_eq!((of(&first, "arm"), of(&first, "curve")), ("a".into(), "loss".into()));
    assert!(
        of(&first, "curve.at").starts_with("1 2 3 ") && of(&first, "curve.at").ends_with(" 20")
    );
    assert!(of(&first, "curve.values").starts_with("1 0.5 0.33"));
    assert!(of(&first, "curve.validation").starts_with("2 1 0.66"));
    let last = lines.next_back().expect("more");
    assert_eq!((of(&last, "arm"), of(&last, "curve")), ("b".into(), String::new()));
    let bare = super::rows(&study, jagged);
    let text = csv(&material(&study, &bare)).expect("written");
    assert!(!String::from_utf8(text).expect("text").contains("curve"));
}
