//! The report as a browser shows it: every figure has its marks and no text outside it, nothing
//! stands wider than the window, nothing is fetched, and a hostile name is only a name.
//!
//! Floor: wiring.

mod chromium;

use std::collections::BTreeMap;

use common::design::{Design, TrialKey};
use common::id::{Digest, MemberId, TrialIndex};
use common::ledger::{Ledger, Look, Purpose};
use common::study::{Study, check};
use common::time::Timestamp;
use common::trial::Outcome;
use common::wire::message::{OutcomeRow, RowEnd};
use coordinator::report::{self, Looks, Material};
use serde::Deserialize;

use crate::process::{Program, Site};
use chromium::Chromium;

#[test]
fn a_real_studys_page_shows_every_figure_whole_at_any_width_and_fetches_nothing() {
    let site = Site::new();
    site.write("rows.csv", &rows());
    site.write("study.toml", &study_file(6, 2));
    site.run(Program::Coordinator, &["run", "study.toml", "--out", "out"]).done();
    let page = site.path("out/report.html");
    let mut browser = Chromium::start();
    for width in WIDTHS {
        browser.open(&page, width);
        let seen = seen(&mut browser);
        assert_eq!(seen.figures.keys().collect::<Vec<_>>(), FIGURES, "at {width}");
        sound(&seen, &format!("at {width}"));
        assert_eq!(browser.requests(), [format!("file://{}", page.display())]);
    }

    // The request of another page is seen, so none above was missed.
    let other = site.write("other.html", "<img src=\"http://127.0.0.1:9/picture\">");
    browser.open(&other, 390);
    assert_eq!(browser.requests().len(), 2, "{:?}", browser.requests());
}

#[test]
fn figures_that_are_folded_up_on_a_screen_are_there_in_print() {
    let site = Site::new();
    let study = study(["one", "other", "third"]);
    let page = site.write("report.html", &page(&study));
    let mut browser = Chromium::start();
    browser.open(&page, 1280);
    let unseen = "[...document.querySelectorAll('figure')].filter(figure => \
                  !figure.querySelector('.wide svg').checkVisibility()).length";
    let folded = browser.look(unseen).as_u64();
    browser.print(true);
    let missing = browser.look(unseen).as_u64();
    let cut = "[...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility() && \
               one.scrollHeight > one.clientHeight + 1).length";
    assert_eq!(browser.look(cut).as_u64(), Some(0), "tables whose end is not printed");
    assert!(folded > Some(2) && missing == Some(0), "{folded:?} on a screen, {missing:?} in print");
}

#[test]
fn a_hostile_name_changes_nothing_but_what_it_says() {
    let site = Site::new();
    let mut browser = Chromium::start();
    let long = "W".repeat(300);
    let turned = "\u{202e}שלום عليكم\u{2066} <b>";
    let hostile = ["<script>alert(1)</script>", &long, turned];
    // Of two arms there are tables that more of them do not have.
    for (width, arms) in WIDTHS.into_iter().flat_map(|width| [(width, 3), (width, 2)]) {
        let mut shown = |names| {
            let mut study = study(names);
            study.arms.retain(|arm| arm.control().is_none());
            study.arms.truncate(arms);
            let page = site.write("report.html", &page(&study));
            browser.open(&page, width);
            let seen = seen(&mut browser);
            sound(&seen, &format!("{arms} of {names:?} at {width}"));
            assert_eq!(browser.requests().len(), 1);
            seen
        };
        let (plain, hostile) = (shown(["one", "other", "third"]), shown(hostile));
        assert_eq!(plain.blocks, hostile.blocks, "at {width}");
        assert_eq!(plain.cells, hostile.cells, "at {width}");
        let marks = |seen: &Seen| -> Vec<(String, u64)> {
            seen.figures.iter().map(|(name, figure)| (name.clone(), figure.marks)).collect()
        };
        assert_eq!(marks(&plain), marks(&hostile), "at {width}");
        assert!(hostile.text.contains("<script>alert(1)</script>"), "it is there as text");
    }
}

/// What the browser made of a page, all that is folded up being unfolded.
#[derive(Debug, Deserialize)]
struct Seen {
    figures: BTreeMap<String, Drawn>,
    /// By how much the page is wider than the window.
    overflow: f64,
    /// What stands wider than the window, outside what scrolls by itself.
    wider: Vec<String>,
    blocks: u64,
    cells: u64,
    /// Elements that run or fetch something.
    active: u64,
    text: String,
}

/// The drawing that is shown at this width.
#[derive(Debug, Deserialize)]
struct Drawn {
    /// Groups with a tooltip.
    marks: u64,
    /// Of those, without anything to be seen.
    empty: u64,
    /// Texts that leave the drawing.
    outside: Vec<String>,
    /// Pairs of texts that lie on each other.
    overlaps: Vec<String>,
}

fn seen(browser: &mut Chromium) -> Seen {
    serde_json::from_value(browser.look(LOOK)).expect("as the expression says")
}

fn sound(seen: &Seen, what: &str) {
    assert!(seen.figures.len() > 10, "{what}: {:?}", seen.figures.keys());
    for (name, figure) in &seen.figures {
        assert!(figure.marks > 0, "{what}: {name} is empty");
        assert_eq!(figure.empty, 0, "{what}: marks of {name} cannot be seen");
        assert!(figure.outside.is_empty(), "{what}: out of {name}: {:?}", figure.outside);
        assert!(figure.overlaps.is_empty(), "{what}: in {name}: {:?}", figure.overlaps);
    }
    let Seen { overflow, wider, .. } = seen;
    assert!(*overflow <= 0.0 && wider.is_empty(), "{what}: {overflow} px too wide, {wider:?}");
    assert_eq!(seen.active, 0, "{what}");
}

/// The page of synthetic outcomes: a config diverges in one fold, and some trials have not ended.
fn page(study: &Study) -> String {
    let design = Design::of(study);
    let trials = design.trials().expect("small");
    let rows: Vec<OutcomeRow> = (0..trials - 5)
        .map(|index| {
            let key = design.key(TrialIndex(index)).expect("inside");
            let end = match key.arm == 1 && key.config == 1 && key.fold == 2 {
                true => RowEnd::Failed { reason: "diverged".into(), detail: "loss is NaN".into() },
                false => RowEnd::Complete(outcome(&key, index)),
            };
            let (trial, ended) = (TrialIndex(index), Timestamp(index));
            OutcomeRow { trial, ended, agent: MemberId(1), end }
        })
        .collect();
    let mut ledger = Ledger::default();
    for number in 1..=3 {
        ledger.add(Look {
            number,
            at: Timestamp(40 * number),
            who: MemberId(15 + number),
            label: "<b>desk</b> ".repeat(number as usize),
            purpose: [Purpose::Export, Purpose::Run, Purpose::Report][number as usize - 1],
            outcomes: 40 * number,
            study: Digest::of(b"study"),
            split: Digest::of(b"split"),
        });
    }
    let looks = Some(Looks { ledger: &ledger, this: 3, sealing: None });
    report::html(&report::build(&Material { looks, ..Material::of(study, &rows) }))
}

fn outcome(key: &TrialKey, index: u64) -> Outcome {
    // Knuth's multiplier, for scores without a pattern beside those of arm, seed and fold.
    let noise = (index.wrapping_mul(6_364_136_223_846_793_005) >> 40) as f64 / (1u64 << 24) as f64;
    let (arm, seed, fold) = (f64::from(key.arm), f64::from(key.seeds[0]), f64::from(key.fold));
    let score = 0.7 + 0.02 * arm + 0.01 * (seed * 1.7).sin() + 0.03 * (fold * 2.3 + arm).sin();
    Outcome {
        metrics: vec![score + 0.01 * noise],
        rows: Vec::new(),
        epochs: 7,
        duration_us: 250_000,
        device: "cpu".into(),
        curve: None,
    }
}

/// The study of [`study_file`], its arms renamed: no study file could name them so.
fn study(names: [&str; 3]) -> Study {
    let text = study_file(24, 3);
    let csv = rows();
    let mut study = check(&text, &mut |_| Ok(csv.clone().into_bytes())).expect("valid").study;
    for (arm, name) in study.arms.iter_mut().zip(names) {
        arm.name = name.to_string();
    }
    study
}

fn study_file(seeds: u32, partitions: u32) -> String {
    format!(
        "[study]\nname = \"small\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 5, repeats = {partitions} }}\n[seeds]\ncount = {seeds}\n\
         [arms.narrow]\nmodel = \"mlp\"\nhidden = [16]\nepochs = 20\nlr = 0.01\n\
         [arms.wide]\nmodel = \"mlp\"\nhidden = [64]\nepochs = 30\n\
         space = {{ lr = [0.02, 0.05] }}\n\
         [arms.straight]\nmodel = \"linear\"\nepochs = 20\nlr = 0.05\n"
    )
}

/// Three of eight features lean to the label a little.
fn rows() -> String {
    let mut text = String::from("label");
    (0..8).for_each(|column| text += &format!(",x{column}"));
    text += "\n";
    let mut state = 7u64;
    for row in 0..240 {
        text += ["no", "yes"][row % 2];
        for column in 0..8 {
            let mut unit = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let noise = (0..12).map(|_| unit()).sum::<f64>() - 6.0;
            let lean = if column < 3 { 0.45 * (row % 2) as f64 } else { 0.0 };
            text += &format!(",{:.5}", noise + lean);
        }
        text += "\n";
    }
    text
}

/// By name.
const FIGURES: [&str; 20] = [
    "arms",
    "caterpillar",
    "cells",
    "curves",
    "designs",
    "differences",
    "distribution",
    "effects",
    "interaction",
    "looks",
    "lottery",
    "monitor",
    "posterior",
    "ranks",
    "replication",
    "residuals",
    "variance",
    "winner",
    "worth",
    "zeta",
];

/// Pixels: a telephone, a screen.
const WIDTHS: [u32; 2] = [390, 1280];

const LOOK: &str = r"(() => {
    document.querySelectorAll('details').forEach(part => { part.open = true; });
    const figures = {};
    for (const figure of document.querySelectorAll('figure')) {
        const svg = [...figure.querySelectorAll('svg')].find(one => one.getClientRects().length);
        const size = svg.viewBox.baseVal;
        const texts = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBBox()]);
        const outside = texts.filter(([, box]) => box.x < -0.5 || box.y < -0.5
            || box.x + box.width > size.width + 0.5 || box.y + box.height > size.height + 0.5);
        const meet = (a, b) => Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x) > 1
            && Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y) > 4;
        const overlaps = [];
        texts.forEach(([one, a], place) => texts.slice(place + 1).forEach(([other, b]) => {
            if (meet(a, b)) overlaps.push(one + ' / ' + other);
        }));
        const marks = [...svg.querySelectorAll('g.t')];
        const empty = marks.filter(mark => { const box = mark.getBBox(); return !(box.width + box.height > 0); });
        figures[figure.id] = {
            marks: marks.length, empty: empty.length, outside: outside.map(([text]) => text), overlaps
        };
    }
    const wide = document.documentElement.clientWidth;
    const wider = [...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll')
        && !one.closest('svg') && one.getClientRects().length
        && one.getBoundingClientRect().right > wide + 0.5);
    return {
        figures,
        overflow: document.documentElement.scrollWidth - wide,
        wider: wider.map(one => one.tagName + ' ' + one.textContent.slice(0, 60)),
        blocks: document.querySelectorAll('main > *, .further > *').length,
        cells: document.querySelectorAll('td').length,
        active: document.querySelectorAll(
            'script, iframe, object, embed, link, img, form, [src], [href], [onload], [onclick]').length,
        text: document.body.textContent,
    };
})()";
