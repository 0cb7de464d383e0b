//! What a report says of looks at the test folds.
//!
//! Floor: core.

use common::ledger::{Claim, GENESIS, Ledger, Look, Purpose, Sealing, Stamp};

use super::*;

fn ledger(looks: u64) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 1..=looks {
        ledger.add(Look {
            number,
            at: Timestamp(1_767_225_600_000 + 60_000 * number),
            who: MemberId(if number == 2 { 17 } else { 1 }),
            label: if number == 2 { "desk" } else { "local" }.to_string(),
            purpose: if number == 2 { Purpose::Export } else { Purpose::Report },
            outcomes: 10 * number,
            study: Digest([1; 32]),
            split: Digest([2; 32]),
        });
    }
    ledger
}

fn looked(looks: u64, this: u64) -> Report {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let rows = rows(&study, jagged);
    let ledger = ledger(looks);
    let looks = Some(Looks { ledger: &ledger, this, sealing: None });
    build(&Material { looks, ..material(&study, &rows) })
}

#[test]
fn a_report_names_the_looks_before_it_and_the_head_of_their_chain() {
    let report = looked(3, 3);
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    let expected = serde_json::json!({
        "looks": 3,
        "this": 3,
        "first": {
            "look": 1, "at_unix_ms": 1_767_225_660_000u64, "who": "m1", "label": "local",
            "purpose": "report", "outcomes": 10
        },
        "last": {
            "look": 3, "at_unix_ms": 1_767_225_780_000u64, "who": "m1", "label": "local",
            "purpose": "report", "outcomes": 30
        },
        "recent": [
            {
                "look": 1, "at_unix_ms": 1_767_225_660_000u64, "who": "m1", "label": "local",
                "purpose": "report", "outcomes": 10
            },
            {
                "look": 2, "at_unix_ms": 1_767_225_720_000u64, "who": "m17", "label": "desk",
                "purpose": "export", "outcomes": 20
            },
            {
                "look": 3, "at_unix_ms": 1_767_225_780_000u64, "who": "m1", "label": "local",
                "purpose": "report", "outcomes": 30
            }
        ],
        "by": [
            { "who": "m1", "label": "local", "looks": 2 },
            { "who": "m17", "label": "desk", "looks": 1 }
        ],
        "head": ledger(3).head().hex(),
    });
    assert_eq!(value["ledger"], expected);
    let page = markdown(&report);
    for said in [
        "The test folds were looked at 2 times before this report, first on 2026-01-01 00:01 UTC \
         (report, with 10 trials complete).",
        "no proof",
        "| m17 | desk | 1 |",
        "2 looks at the test folds before this one. Seed use",
        "Recht B, Roelofs R",
        &ledger(3).head().hex(),
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(html(&report).contains("The test folds were looked at 2 times before this report"));
}

#[test]
fn the_first_report_says_so() {
    let page = markdown(&looked(1, 1));
    assert!(page.contains("Nobody was shown a score of the test folds before this report."));
    assert!(page.contains("First look at the test folds. Seed use"), "{page}");
}

#[test]
fn a_look_that_came_in_between_is_not_before_this_one() {
    let report = looked(3, 2);
    let part = report.ledger.as_ref().expect("looks");
    assert_eq!((part.looks, part.this), (3, 2));
    assert!(markdown(&report).contains("looked at once before this report"));
}

#[test]
fn a_claim_is_printed_with_its_hash_and_what_was_known_by_then() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let rows = rows(&study, jagged);
    let ledger = ledger(2);
    let of = |looks: u64, outcomes: u64, sealed: bool| {
        let stamp =
            Stamp { at: Timestamp(1_767_225_600_000), who: MemberId(17), label: String::new() };
        let (digests, head) = (Digest([1; 32]), GENESIS);
        let text = "b beats a <script>".to_string();
        let claim = Claim {
            text,
            stamp: stamp.clone(),
            outcomes,
            looks,
            head,
            study: digests,
            split: digests,
        };
        let sealing = Sealing { sealed: sealed.then_some(stamp), claim: Some(claim) };
        let looks = Some(Looks { ledger: &ledger, this: 2, sealing: Some(&sealing) });
        (build(&Material { looks, ..material(&study, &rows) }), sealing)
    };
    let (report, sealing) = of(0, 0, true);
    let hash = sealing.claim.expect("there").hash().hex();
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert_eq!(value["ledger"]["claim"]["hash"], hash);
    assert_eq!(value["ledger"]["sealed_at_unix_ms"], 1_767_225_600_000u64);
    let hashed = value["ledger"]["claim"]["hashed"].as_str().expect("text");
    assert_eq!(Digest::of(hashed.as_bytes()).hex(), hash, "anybody can compute it");
    let page = html(&report);
    for said in [
        "before any training had ended",
        "b beats a &lt;script&gt;",
        hash.as_str(),
        "Scores were sealed",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(report.verdict.basis.contains("A claim was registered before the first."));
    let (report, _) = of(1, 20, false);
    let page = markdown(&report);
    assert!(page.contains("after 1 look at the test folds") && !page.contains("sealed"), "{page}");
    assert!(report.verdict.basis.contains("A claim was registered after one look."));
    let (report, _) = of(0, 20, false);
    let said = "after 20 trainings, and before anybody was shown a score";
    assert!(markdown(&report).contains(said));
}

#[test]
fn where_nobody_counts_nothing_is_said_of_looks() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let report = built(&study, &rows(&study, jagged));
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert!(value.as_object().expect("an object").get("ledger").is_none());
    let page = markdown(&report);
    assert!(!page.contains("looked at") && !page.contains("Recht"), "{page}");
}

#[test]
fn the_time_line_marks_every_look_that_is_kept_beside_the_outcomes() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let mut rows = rows(&study, jagged);
    for (place, row) in rows.iter_mut().enumerate() {
        row.ended = Timestamp(1_767_225_600_000 + 15_000 * (place as u64 / 2));
    }
    let ledger = ledger(3);
    let looks = Some(Looks { ledger: &ledger, this: 3, sealing: None });
    let report = build(&Material { looks, ..material(&study, &rows) });

    let figure = crate::report::figures::looks(&report).expect("a ledger");

    let first = "2026-01-01 00:01 UTC, m1 (local), report, 1, 10";
    assert_eq!(figure.sheet.rows.len(), 3);
    assert_eq!(figure.sheet.rows[0].join(", "), first);
    for svg in [&figure.wide, &figure.narrow] {
        let marks = svg.matches("<title>look ").count();
        assert_eq!(marks, 3, "{svg}");
        assert!(svg.contains("look 2, 2026-01-01 00:02 UTC for an export, by m17 (desk)"), "{svg}");
        assert!(svg.contains("minutes since 2026-01-01 00:00 UTC"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }
    assert_eq!(report.drawn.ended.len(), 20);
    assert!(html(&report).contains("<figure id=\"looks\">"));
    assert!(crate::report::figures::looks(&built(&study, &rows)).is_none());
}
