//! What the faults a study file most often has say, and what a valid one becomes.
//!
//! Floor: common.

use super::*;
use crate::id::Digest;
use crate::seed::Stream;
use crate::study::*;

/// Forty patients: two features, a class, an amount, a site and who was seen twice.
fn rows() -> String {
    let mut text = String::from("age,dose,stage,amount,site,patient,grade\n");
    for row in 0..40 {
        let class = if row % 4 == 0 { "ill" } else { "well" };
        let site = ["north", "east"][row / 20];
        let grade = ["I", "II", "III"][row % 3];
        text += &format!(
            "{},0.{row},{class},{}.5,{site},p{},{grade}\n",
            30 + row % 7,
            row * 2,
            row / 2
        );
    }
    text
}

const DATA: &str = "[data]\npath = \"rows.csv\"\ntarget = \"stage\"\ntask = \"classification\"\n\
                    drop = [\"amount\", \"patient\", \"site\"]\n";
const SPLIT: &str = "[split]\nouter = { folds = 5, repeats = 2, stratify = true }\n";
const REST: &str = "[seeds]\ncount = 3\n[arms.logistic]\nmodel = \"linear\"\n";
const STUDY: &str = "[study]\nname = \"s\"\nmetric = \"auroc\"\n";

/// The shape of a whole study file.
const WHOLE: &str = r#"
[study]
name = "wdbc"
notes = "Does depth matter?"
metric = { name = "auroc", at = "last" }
also = ["accuracy", "log_loss", "brier"]

[data]
path = "rows.csv"
target = "stage"
task = "classification"
drop = ["site", "amount"]
group = "patient"
missing = "mean"

[split]
outer = { folds = 5, repeats = 2, stratify = true }

[seeds]
apart = { order = 10, init = 4 }

[arms.mlp]
model = "mlp"
epochs = 60
search = { method = "grid" }
space = { lr = { log = [1e-4, 1e-1], points = 4 }, hidden = [[32], [64, 64]], dropout = [0.0, 0.3] }

[arms.logistic]
model = "linear"
optimizer = "sgd"
space = { batch = { int = [16, 64], step = 16 } }

[budget]
attempts = 5
diverged = "worst"
"#;

fn with(table: &str, text: &str) -> Result<Checked, Findings> {
    check(text, &mut |path| match path {
        "rows.csv" => Ok(table.as_bytes().to_vec()),
        _ => Err("no such file".to_string()),
    })
}

/// The findings of a study file, as they are shown.
fn found(text: &str) -> Vec<String> {
    found_with(&rows(), text)
}

fn found_with(table: &str, text: &str) -> Vec<String> {
    let findings = with(table, text).err().unwrap_or_default();
    findings.0.iter().map(Finding::to_string).collect()
}

fn file(parts: [&str; 4]) -> String {
    parts.concat()
}

/// The one finding of a file must be at this place and hold these words.
#[track_caller]
fn one(found: &[String], place: &str, words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(place), "{found:#?} at {place}");
    for words in words {
        assert!(found[0].contains(words), "{found:#?} has no {words:?}");
    }
}

#[test]
fn a_valid_file_becomes_the_study_it_writes() {
    let checked = with(&rows(), WHOLE).unwrap_or_else(|findings| panic!("{findings}"));
    let study = &checked.study;
    assert_eq!((study.name.as_str(), study.notes.as_str()), ("wdbc", "Does depth matter?"));
    let metrics = [Metric::Auroc, Metric::Accuracy, Metric::LogLoss, Metric::Brier];
    assert_eq!(study.metrics, metrics);
    let classes = ["ill", "well"].map(String::from).to_vec();
    let data = Data {
        path: "rows.csv".into(),
        format: Format::Csv,
        digest: Digest::of(rows().as_bytes()),
        bytes: rows().len() as u64,
        target: "stage".into(),
        task: Task::Classification { classes },
        drop: vec!["amount".into(), "site".into()],
        group: Some("patient".into()),
        leave_out: None,
        missing: Missing::Mean,
        rows: 40,
    };
    assert_eq!(study.data, data);
    let outer =
        Outer { kind: OuterKind::KFold, partitions: 2, folds: 5, stratify: true, inner: None };
    assert_eq!(study.outer, outer);
    let factor = |stream: Stream, count| SeedFactor {
        name: stream.name().into(),
        streams: vec![stream],
        count,
    };
    assert_eq!(study.seeds.factors, [factor(Stream::Init, 4), factor(Stream::Order, 10)]);
    assert_eq!(
        study.budget,
        Budget { attempts: 5, diverged: Diverged::Worst, ..Budget::default() }
    );
    let [mlp, logistic] = study.judged() else { panic!("two arms") };
    assert_eq!((mlp.configs.len(), logistic.configs.len()), (16, 4));
    assert_eq!(mlp.configs[3].point.to_string(), "lr=0.0001 hidden=[64, 64] dropout=0.3");
    let hyper = Hyper { hidden: vec![64, 64], lr: 0.001, dropout: 0.3, ..Hyper::default() };
    assert_eq!(mlp.configs[7].hyper, hyper);
    let linear = Hyper { hidden: vec![], batch: 16, optimizer: Optimizer::Sgd, ..Hyper::default() };
    assert_eq!(logistic.configs[0].hyper, linear);
    assert_eq!(crate::design::Design::of(study).trials(), Some(40 * 10 * 20 + 10));
}

#[test]
fn an_agent_reads_the_rows_that_were_checked() {
    let table = rows().replace("0.7,", ",");
    let text = file([
        STUDY,
        "[data]\npath = \"rows.csv\"\ntarget = \"stage\"\ntask = \"classification\"\n\
         drop = [\"amount\", \"patient\"]\nmissing = \"drop\"\n",
        "[split]\nouter = { leave_out = \"site\" }\n",
        REST,
    ]);
    let checked = with(&table, &text).unwrap_or_else(|findings| panic!("{findings}"));
    let data = &checked.study.data;
    assert_eq!((data.rows, checked.study.outer.folds), (39, 2));
    assert_eq!(Dataset::read(data, table.as_bytes()), Ok(checked.dataset.clone()));
    assert_eq!(checked.dataset.names, ["age", "dose", "grade=I", "grade=II", "grade=III"]);
    let other = Dataset::read(data, rows().as_bytes()).expect_err("other bytes");
    assert!(other.contains("submit it again"), "{other}");
}

#[test]
fn earlier_configs_keep_their_digest_when_the_space_grows_or_a_default_is_written() {
    let arm = |body: &str| {
        let arm = format!("[seeds]\ncount = 3\n[arms.a]\nmodel = \"mlp\"\n{body}");
        let checked = with(&rows(), &file([STUDY, DATA, SPLIT, &arm]));
        let study = checked.unwrap_or_else(|findings| panic!("{findings}")).study;
        let design = crate::design::Design::of(&study);
        let key = design.key(crate::id::TrialIndex(0)).expect("the first trial");
        key.digest(&study)
    };
    let before = arm("space = { lr = [0.01] }\n");
    assert_eq!(before, arm("space = { lr = [0.01, 0.1] }\n"));
    assert_eq!(before, arm("batch = 32\nspace = { lr = [0.01] }\n"));
    assert_ne!(before, arm("batch = 16\nspace = { lr = [0.01] }\n"));
}

/// The sound study's arms with the `controls` of [study] and the arms given.
fn controlled(controls: &str, arms: &str) -> Result<Checked, Findings> {
    let study = format!("{STUDY}{controls}\n");
    with(&rows(), &file([&study, DATA, SPLIT, &format!("{REST}{arms}")]))
}

fn arms_of(controls: &str, arms: &str) -> Vec<(String, Option<Control>)> {
    let checked = controlled(controls, arms).unwrap_or_else(|findings| panic!("{findings}"));
    checked.study.arms.iter().map(|arm| (arm.name.clone(), arm.control())).collect()
}

#[test]
fn a_constant_is_added_by_itself_and_is_trained_once_a_fold() {
    let named = |arms: &[(&str, Option<Control>)]| -> Vec<(String, Option<Control>)> {
        arms.iter().map(|(name, control)| (name.to_string(), *control)).collect()
    };
    let constant = Some(Control::Constant);
    assert_eq!(arms_of("", ""), named(&[("logistic", None), ("constant", constant)]));
    assert_eq!(arms_of("controls = { constant = false }", ""), named(&[("logistic", None)]));
    let written = "[arms.base]\nmodel = \"constant\"\n[arms.deep]\nmodel = \"mlp\"\n";
    let arms = [("logistic", None), ("deep", None), ("base", constant)];
    assert_eq!(arms_of("", written), named(&arms), "controls stand behind");
    let design = crate::design::Design::of(&controlled("", "").expect("valid").study);
    assert_eq!((design.cells_of(0), design.cells_of(1)), (30, 10));
}

#[test]
fn each_arm_has_a_permuted_control_with_the_seeds_asked_for() {
    let arms = "[arms.deep]\nmodel = \"mlp\"\nspace = { lr = [0.1, 0.2] }\n";
    let checked = controlled("controls = { permuted = 2 }", arms).expect("valid");
    let study = checked.study;
    let names: Vec<&str> = study.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!(names, ["logistic", "deep", "constant", "logistic.permuted", "deep.permuted"]);
    assert_eq!(
        (study.constant(), study.permuted(0), study.permuted(1)),
        (Some(2), Some(3), Some(4))
    );
    assert_eq!(study.model_of(&study.arms[4]), Model::Mlp);
    assert_eq!(study.arms[4].configs, study.arms[1].configs);
    let design = crate::design::Design::of(&study);
    assert_eq!(design.trials(), Some(30 * 3 + 10 + 20 * 3));
    let note = controlled("controls = { permuted = 9 }", "").expect("valid").notes;
    assert_eq!(
        note,
        ["permuted = 9 is more than the seeds there are: permuted controls are trained with 3"]
    );
}

#[test]
fn controls_change_no_digest_of_another_trial() {
    let digests = |controls: &str| {
        let study = controlled(controls, "").expect("valid").study;
        let design = crate::design::Design::of(&study);
        let keys = (0..).map_while(|index| design.key(crate::id::TrialIndex(index)));
        let digests = |judged: bool| {
            let is_judged = |key: &crate::design::TrialKey| key.arm(&study).control().is_none();
            let keys = keys.clone().filter(|key| is_judged(key) == judged);
            keys.map(|key| key.digest(&study)).collect::<std::collections::BTreeSet<_>>()
        };
        (digests(true), digests(false))
    };
    let (bare, none) = digests("controls = { constant = false }");
    let (judged, controls) = digests("controls = { permuted = 2 }");
    assert_eq!((bare.len(), none.len(), controls.len()), (30, 0, 10 + 20));
    assert_eq!(judged, bare);
    assert!(controls.is_disjoint(&judged));
}

#[test]
fn a_study_that_has_no_controls_is_encoded_as_ever() {
    let study = controlled("controls = { constant = false }", "").expect("valid").study;
    let whole = controlled("", "").expect("valid").study;
    let cut = Study { arms: whole.judged().to_vec(), ..whole.clone() };
    assert_eq!(study.digest(), cut.digest());
    assert!(study.has_sound_controls() && whole.has_sound_controls());
    let mut wild = whole.clone();
    wild.arms[1].model = Model::Permuted { of: 1, repeats: 2 };
    assert!(!wild.has_sound_controls() && crate::design::Design::try_of(&wild).is_none());
    wild.arms.swap(0, 1);
    assert!(!wild.has_sound_controls());
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let split = "[split]\nouter = { fodls = 5, folds = 5 }\n";
    let found = found(&file([STUDY, DATA, split, REST]));
    one(&found, "line 10, column 11: outer has no key `fodls`", &["did you mean `folds`?"]);
}

#[test]
fn an_unknown_metric_is_told_with_those_of_the_task() {
    let study = "[study]\nname = \"s\"\nmetric = \"acuracy\"\nalso = [\"rmse\"]\n";
    let found = found(&file([study, DATA, SPLIT, REST]));
    assert_eq!(found.len(), 2, "{found:#?}");
    let known = "known for classification: auroc, auprc, accuracy";
    one(
        &found[..1],
        "line 3, column 10: there is no metric \"acuracy\"",
        &["mean `accuracy`?", known],
    );
    one(&found[1..], "line 4, column 9: metric \"rmse\" measures regression", &[known]);
}

#[test]
fn one_fold_is_refused() {
    let found = found(&file([STUDY, DATA, "[split]\nouter = { folds = 1 }\n", REST]));
    one(&found, "line 10, column 19: folds is 1; at least 2 are needed", &["holdout = 0.2"]);
}

#[test]
fn a_class_with_fewer_rows_than_folds_is_refused() {
    let split = "[split]\nouter = { folds = 11, stratify = false }\n";
    let found = found(&file([STUDY, DATA, split, REST]));
    let words = "class `ill` of column `stage` has 10 rows, fewer than the 11 folds";
    one(&found, "line 10, column 19: ", &[words, "ask for at most 10 folds, or drop"]);
}

#[test]
fn a_group_column_that_does_not_exist_is_told_with_the_nearest_one() {
    let data = format!("{DATA}group = \"pateint\"\n");
    let found = found(&file([STUDY, &data, SPLIT, REST]));
    let words = ["group \"pateint\" is no column", "did you mean `patient`?"];
    one(&found, "line 9, column 9: ", &words);
}

#[test]
fn missing_values_are_told_with_their_rows_and_what_to_do() {
    let table = rows().replace("30,0.", "NA,0.").replace(",0.3,", ",,");
    let found = found_with(&table, &file([STUDY, DATA, SPLIT, REST]));
    let rows =
        "cells are missing in 7 rows (row 1 is the first of the data): 1, 4, 8, 15, 22, 29, 36";
    let help = ["missing = \"mean\"", "missing = \"drop\"", "`age` (6), `dose` (1)"];
    one(&found, "line 5, column 8: ", &[rows, help[0], help[1], help[2]]);
}

#[test]
fn more_than_ten_missing_rows_are_counted() {
    let table = rows().replace(",I\n", ",?\n");
    let found = found_with(&table, &file([STUDY, DATA, SPLIT, REST]));
    one(&found, "line 5, column 8: ", &["missing in 14 rows", "25, 28 and 4 more"]);
}

#[test]
fn a_missing_target_is_refused_unless_its_rows_are_dropped() {
    let table = rows().replacen(",well,", ",,", 2);
    let data = |missing| format!("{DATA}missing = \"{missing}\"\n");
    let text = |missing| file([STUDY, &data(missing), SPLIT, REST]);
    for missing in ["refuse", "mean"] {
        let found = found_with(&table, &text(missing));
        one(
            &found,
            "line 5, column 8: ",
            &["target `stage` is missing in 2 rows", ": 2, 3", "drop"],
        );
    }
    let checked = with(&table, &text("drop")).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(checked.study.data.rows, 38);
    assert_eq!(checked.notes, ["2 of 40 rows are left out for missing cells"]);
}

#[test]
fn a_target_with_one_value_is_refused() {
    let found = found_with(&rows().replace(",ill,", ",well,"), &file([STUDY, DATA, SPLIT, REST]));
    one(&found, "line 6, column 10: target `stage` has one value, `well`", &["nothing to learn"]);
}

#[test]
fn a_space_with_no_points_is_refused() {
    let arm = "[seeds]\ncount = 3\n[arms.a]\nmodel = \"mlp\"\n\
               space = { lr = [], dropout = { linear = [0, 0.5], points = 0 } }\n";
    let found = found(&file([STUDY, DATA, SPLIT, arm]));
    assert_eq!(found.len(), 2, "{found:#?}");
    one(
        &found[..1],
        "line 15, column 16: a space with no points: `lr` lists nothing",
        &["take it out"],
    );
    one(&found[1..], "line 15, column 60: a space with no points: `dropout` has points = 0", &[]);
}

#[test]
fn more_than_ten_million_trials_are_refused_with_the_product() {
    let arm = "[seeds]\ncount = 2_000_000\n[arms.a]\nmodel = \"linear\"\n\
               space = { lr = [0.1, 0.2], epochs = { int = [1, 100] } }\n";
    let found = found(&file([STUDY, DATA, SPLIT, arm]));
    let product = "4,000,000,000 trials are more than 10,000,000: 2,000,000 seeds × 2 partitions × \
                   5 outer folds × 200 configs";
    one(&found, "line 12, column 9: ", &[product]);
}

#[test]
fn a_space_too_large_to_list_is_refused_unlisted() {
    let lr = "{ log = [1e-4, 1e-1], points = 4294967295 }";
    let arm = format!(
        "[seeds]\ncount = 3\n[arms.a]\nmodel = \"linear\"\nspace = {{ lr = {lr}, weight_decay = {lr} }}\n"
    );
    let found = found(&file([STUDY, DATA, SPLIT, &arm]));
    one(&found, "line 15, column 9: ", &["trials are more than 10,000,000: 3 seeds × "]);
}

#[test]
fn all_findings_come_at_once_in_the_files_order() {
    let text = "[study]\nname = \".x\"\nmetric = \"aurocc\"\nnots = \"\"\n\
                [data]\npath = \"rows.csv\"\ntarget = \"stag\"\ntask = \"classification\"\n\
                drop = [\"amount\", \"patient\", \"site\"]\ngroup = \"clinic\"\n\
                [split]\nouter = { folds = 1 }\n[seeds]\ncount = \"three\"\n\
                [arms.a]\nmodel = \"mpl\"\nlr = -1\ndropout = 1.0\n\
                [arms.b]\nmodel = \"linear\"\nhidden = [8]\nspace = { lr = [] }\n[stop]\n";
    let table = rows().replacen("30,", ",", 1);
    let places: Vec<(usize, usize)> = with(&table, text)
        .expect_err("refused")
        .0
        .iter()
        .map(|finding| (finding.line, finding.column))
        .collect();
    let expected = [
        (2, 8),
        (3, 10),
        (4, 1),
        (6, 8),
        (7, 10),
        (10, 9),
        (12, 19),
        (14, 9),
        (16, 9),
        (17, 6),
        (18, 11),
        (21, 1),
        (22, 16),
        (23, 1),
    ];
    assert_eq!(places, expected);
}

#[test]
fn syntax_errors_come_with_their_places() {
    let found = found("[study]\nname = \nmetric = \"auroc\nalso = []\nalso = []\n");
    let places: Vec<&str> =
        found.iter().flat_map(|line| line.split(": not TOML")).step_by(2).collect();
    assert_eq!(places, ["line 2, column 8", "line 3, column 16", "line 5, column 1"], "{found:#?}");
}

#[test]
fn the_demonstration_checks_without_findings_and_has_a_thousand_trials_and_a_constant() {
    let text = include_str!("../../../../coordinator/demo/wdbc/study.toml");
    let bytes = include_bytes!("../../../../coordinator/demo/wdbc/breast-cancer.csv");
    let checked = check(text, &mut |path| {
        assert_eq!(path, "breast-cancer.csv");
        Ok(bytes.to_vec())
    });
    let checked = checked.unwrap_or_else(|findings| panic!("{}", findings.render("study.toml")));
    assert_eq!((checked.dataset.rows(), checked.dataset.width), (569, 30));
    assert_eq!(crate::design::Design::of(&checked.study).trials(), Some(1000 + 10));
    assert_eq!(checked.notes, Vec::<String>::new());
}

#[test]
fn a_search_draws_its_configs_from_data_and_space_alone() {
    let drawn = |search: &str, notes: &str| {
        let text = WHOLE
            .replace(
                "search = { method = \"grid\" }",
                &format!("search = {{ method = {search:?}, configs = 6 }}"),
            )
            .replace("{ log = [1e-4, 1e-1], points = 4 }", "{ log = [1e-4, 1e-1] }")
            .replace("Does depth matter?", notes);
        let checked = with(&rows(), &text).unwrap_or_else(|findings| panic!("{findings}"));
        let searched = checked.study.arms.into_iter().find(|arm| arm.configs.len() == 6);
        let configs = searched.expect("a searched arm").configs.into_iter();
        configs.map(|config| (config.point.to_string(), config.hyper.lr)).collect::<Vec<_>>()
    };
    for search in ["random", "sobol"] {
        let configs = drawn(search, "");
        assert_eq!(configs, drawn(search, "Other words."));
        assert!(configs.iter().all(|(_, lr)| (1e-4..=1e-1).contains(lr)), "{configs:?}");
        let low = configs.iter().take(4).filter(|(_, lr)| *lr < 10f64.powf(-2.5)).count();
        assert!(search == "random" || low == 2, "two of the first four in each half: {configs:?}");
    }
    assert_ne!(drawn("random", ""), drawn("sobol", ""));
}

#[test]
fn a_search_that_learns_needs_scores_that_are_not_of_test_rows() {
    let searched = |method: &str, configs: u32, inner: &str, space: &str| {
        let text = WHOLE
            .replace(
                "search = { method = \"grid\" }",
                &format!("search = {{ method = {method:?}, configs = {configs} }}"),
            )
            .replace("{ log = [1e-4, 1e-1], points = 4 }", space)
            .replace("[seeds]", &format!("{inner}\n[seeds]"));
        with(&rows(), &text)
    };
    let (inner, range) = ("inner = { folds = 2 }", "{ log = [1e-4, 1e-1] }");
    for method in ["tpe", "gp"] {
        let said = searched(method, 6, "", range).expect_err("flat").to_string();
        assert!(said.contains("those of test rows") && said.contains("inner ="), "{said}");
        let checked = searched(method, 6, inner, range).unwrap_or_else(|f| panic!("{f}"));
        let arm = checked.study.arms.iter().find(|arm| arm.learned.is_some()).expect("searched");
        assert_eq!(arm.configs.len(), 6);
        let examples: Vec<f64> = arm.configs.iter().map(|config| config.hyper.lr).collect();
        assert!(examples.iter().any(|lr| *lr < 1e-3) && examples.iter().any(|lr| *lr > 1e-2));
        assert_eq!(arm.configs[5].point.to_string(), "try=6");
        let said = checked.notes.join("\n");
        assert!(said.contains(&format!("{method} proposes 6 configs for each of its")), "{said}");
    }
    let said = searched("cmaes", 6, inner, range).expect_err("words").to_string();
    assert!(said.contains("cma-es needs numbers in order, which `hidden` has not"), "{said}");
    let said = searched("tpe", 1, inner, range).expect_err("one config").to_string();
    assert!(said.contains("nothing to learn"), "{said}");
    let whole = searched("tpe", 4_000, inner, "[0.1, 0.2]").unwrap_or_else(|f| panic!("{f}"));
    assert!(whole.notes.join("\n").contains("all that its space has, and not 4000"));
    let said = searched("tpe", 4_000, inner, range).expect_err("too large").to_string();
    assert!(said.contains("may propose") && said.contains("tune"), "{said}");
}

#[test]
fn an_axis_may_wait_for_another_ones_value_and_configs_for_their_sum() {
    let arm = |space: &str, more: &str| {
        let text = format!(
            "{STUDY}{DATA}{SPLIT}[seeds]\ncount = 3\n[arms.a]\nmodel = \"mlp\"\nspace = {space}\n{more}\n"
        );
        with(&rows(), &text)
    };
    let space = "{ optimizer = [\"adam\", \"sgd\"], momentum = { values = [0.0, 0.9], when = { optimizer = \"sgd\" } }, \
                 batch = [8, 16], epochs = { int = [1, 4], step = 3 } }";
    let checked = arm(space, "constraints = [{ product = [\"batch\", \"epochs\"], most = 32 }]");
    let study = checked.unwrap_or_else(|findings| panic!("{findings}")).study;
    let points: Vec<String> =
        study.arms[0].configs.iter().map(|config| config.point.to_string()).collect();
    assert_eq!(points.len(), 3 * 3, "{points:#?}");
    assert_eq!(points[0], "optimizer=adam batch=8 epochs=1");
    assert_eq!(points[3], "optimizer=sgd momentum=0 batch=8 epochs=1");
    assert!(points.iter().all(|point| !point.contains("batch=16 epochs=4")));
    assert!(study.arms[0].written.contains("momentum = 0.9"), "{}", study.arms[0].written);
    let later = "{ lr = { log = [0.01, 0.1], points = 2, when = { optimizer = [\"sgd\"] } }, optimizer = [\"adam\", \"sgd\"] }";
    let never = "{ optimizer = [\"adam\", \"adamw\"], lr = { values = [0.1], when = { optimizer = \"sgd\" } } }";
    let (both, small) =
        ("{ lr = [0.1, 0.2], batch = [8, 16] }", "{ lr = [0.1, 0.2], hidden = [[8], [16]] }");
    for (space, more, words) in [
        (later, "", "depends on `optimizer`, which must come before it"),
        (never, "", "waits for `optimizer` to be sgd, which it never is"),
        ("{ lr = { values = [0.1], when = {} } }", "", "names nothing that it depends on"),
        ("{ lr = { values = [0.1], points = 3 } }", "", "no key `points`"),
        (both, "constraints = [{ sum = [\"lr\", \"rate\"], most = 1 }]", "no axis `rate`"),
        (both, "constraints = [{ sum = [\"lr\"] }]", "has no `most`"),
        (both, "constraints = [{ most = 1 }]", "on a sum or on a product"),
        (both, "constraints = [{ sum = [\"batch\"], most = 4 }]", "loosen one"),
        (small, "constraints = [{ sum = [\"hidden\"], most = 4 }]", "not all numbers"),
    ] {
        let said = arm(space, more).expect_err(words).to_string();
        assert!(said.contains(words), "{said}");
    }
}
