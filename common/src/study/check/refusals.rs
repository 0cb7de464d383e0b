//! Every other refusal: a sound study with one part exchanged, and what must be said of which text.
//!
//! Floor: common.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::study::Finding;

pub(super) const SOUND: &str = r#"
[study]
name = "s"
metric = "auroc"
[data]
path = "rows.csv"
target = "stage"
task = "classification"
drop = ["amount", "note"]
[split]
outer = { folds = 3 }
[seeds]
count = 2
[arms.a]
model = "mlp"
space = { dropout = [0.0, 0.1] }
"#;

pub(super) fn rows() -> String {
    let mut text = String::from("age,dose,stage,amount,site,clinic,note\n");
    for row in 0..30 {
        let (site, class) = (["n", "s"][row / 15], ["ill", "well"][row % 2]);
        text += &format!(
            "{},{}e-1,{class},{row}.5,{site},c{},text {row}\n",
            30 + row % 7,
            row + 1,
            row / 6
        );
    }
    text
}

/// Exchanges one part of the sound study and one of its rows, and gives the findings.
pub(super) fn findings(part: &str, by: &str, cell: &str, other: &str) -> (String, Vec<Finding>) {
    assert!(SOUND.contains(part) && rows().contains(cell), "{part} or {cell} is nowhere");
    let text = SOUND.replacen(part, by, 1);
    let table = rows().replacen(cell, other, 1);
    let findings = check(&text, &mut |path| match path {
        "rows.csv" => Ok(table.clone().into_bytes()),
        _ => Err("no such file".to_string()),
    });
    (text, findings.err().unwrap_or_default().0)
}

/// `part` exchanged gives one finding, about the text `about`, with these words.
#[track_caller]
pub(super) fn refused(part: &str, by: &str, about: &str, words: &[&str]) {
    refused_rows(part, by, "", "", about, words);
}

#[track_caller]
fn refused_rows(part: &str, by: &str, cell: &str, other: &str, about: &str, words: &[&str]) {
    let (text, findings) = findings(part, by, cell, other);
    assert_eq!(findings.len(), 1, "{by}: {findings:#?}");
    assert_eq!(&text[findings[0].span.clone()], about, "{findings:#?}");
    let shown = findings[0].to_string();
    words.iter().for_each(|words| assert!(shown.contains(words), "{shown} has no {words:?}"));
}

#[track_caller]
pub(super) fn sound(part: &str, by: &str) {
    let (_, findings) = findings(part, by, "", "");
    assert_eq!(findings, [], "{by}");
}

#[test]
fn the_sound_study_has_no_finding() {
    sound("", "");
    sound("metric = \"auroc\"", "metric = { name = \"auroc\", at = \"last\" }");
    sound("folds = 3", "holdout = 0.2, repeats = 9");
    sound("folds = 3", "leave_out = \"site\"");
    sound("count = 2", "apart = { noise = 3 }");
    sound(
        "dropout = [0.0, 0.1]",
        "batch = { int = [8, 32], step = 8 }, lr = { linear = [0.1, 0.2], points = 3 }",
    );
    sound("\"amount\", \"note\"]", "\"amount\", \"note\"]\ngroup = \"clinic\"");
}

#[test]
fn what_later_versions_bring_is_refused_by_name() {
    refused(
        "\"auroc\"",
        "{ name = \"auroc\", at = \"best\" }",
        "\"best\"",
        &["not in this version"],
    );
    refused("\"auroc\"", "{ name = \"auroc\", at = \"step:9\" }", "\"step:9\"", &["at = \"last\""]);
    refused(
        "\"classification\"",
        "\"segmentation\"",
        "\"segmentation\"",
        &["a table holds no task"],
    );
    refused("[seeds]", "inner = { folds = 1 }\n[seeds]", "1", &["at least 2", "holdout"]);
    refused(
        "[seeds]",
        "inner = { select = \"best\" }\n[seeds]",
        "{ select = \"best\" }",
        &["folds = 3"],
    );
    let majority = "inner = { folds = 2, select = \"majority\" }\n[seeds]";
    refused("[seeds]", majority, "\"majority\"", &["tune = 3"]);
    refused("count = 2", "count = 2\ntune = 2", "2", &["inner folds"]);
    refused("[arms.a]", "[budget]\nhours = 0\n[arms.a]", "0", &["above 0", "8 or 0.5"]);
    let one_arm = "[stop]\nhalf_width = 0.1\n[arms.a]";
    refused("[arms.a]", one_arm, "[stop]", &["there is one", "add the arm"]);
}

#[test]
fn controls_that_cannot_be_are_refused() {
    let beside = |controls: &str| format!("\"auroc\"\ncontrols = {controls}");
    let metric = "\"auroc\"";
    refused(metric, &beside("5"), "5", &["`controls` must be a table, and is 5"]);
    let unknown = "{ shuffled = 5 }";
    refused(metric, &beside(unknown), "shuffled", &["controls has no key `shuffled`", "permuted"]);
    refused(metric, &beside("{ permuted = 0 }"), "0", &["must be from 1 to 1000"]);
    refused(metric, &beside("{ permuted = true }"), "true", &["must be a whole number"]);
    refused(metric, &beside("{ constant = 1 }"), "1", &["must be true or false"]);
    let constant = "model = \"constant\"\n";
    let part = "model = \"mlp\"\nspace = { dropout = [0.0, 0.1] }\n";
    refused(part, constant, "a", &["no arm learns anything"]);
    let tuned = format!("{part}[arms.b]\n{constant}lr = 0.1\n");
    refused(part, &tuned, "lr", &["a constant has no `lr`", "take it out"]);
    let two = format!("{part}[arms.b]\n{constant}[arms.c]\n{constant}");
    refused(part, &two, "c", &["\"c\" says what \"b\" says"]);
    let study = |arms: &str| {
        let text = SOUND.replacen(metric, &beside("{ permuted = 2 }"), 1) + arms;
        let told = check(&text, &mut |_| Ok(rows().into_bytes())).err().unwrap_or_default();
        told.0.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(study(""), "");
    let same = study("[arms.\"a.Permuted\"]\nmodel = \"linear\"\n");
    assert!(same.contains("what a permuted control is called"), "{same}");
    let long = study(&format!("[arms.{}]\nmodel = \"linear\"\n", "b".repeat(56)));
    assert!(long.contains("too long a name") && long.contains("at most 55 letters"), "{long}");
}

#[test]
fn trials_of_controls_are_counted() {
    let metric = "\"auroc\"";
    let many = format!("{metric}\ncontrols = {{ permuted = 1000 }}");
    let text = SOUND.replacen(metric, &many, 1).replace("count = 2", "count = 1_666_000");
    let told = check(&text, &mut |_| Ok(rows().into_bytes())).expect_err("too many");
    assert_eq!(told.0.len(), 1, "{told}");
    let words = "10,002,003 trials are more than 10,000,000, inner folds and controls counted";
    assert!(told.0[0].message.contains(words), "{told}");
}

#[test]
fn an_arm_that_is_called_constant_and_is_none_is_noted() {
    let text = SOUND.replace("[arms.a]", "[arms.Constant]");
    let checked = check(&text, &mut |_| Ok(rows().into_bytes())).expect("valid");
    assert_eq!(checked.study.arms.len(), 1);
    assert!(checked.notes[0].contains("called like the constant control"), "{:?}", checked.notes);
}

#[test]
fn wrong_types_say_what_was_expected_and_what_is_there() {
    refused("\"s\"", "7", "7", &["`name` must be a text in quotes, and is 7"]);
    refused("3 }", "\"three\" }", "\"three\"", &["a whole number, and is the text \"three\""]);
    refused("3 }", "3, stratify = 1 }", "1", &["true or false, and is 1"]);
    refused("[0.0, 0.1]", "0.1", "0.1", &["a list or a range, and is 0.1", "dropout = …"]);
    refused("[0.0, 0.1]", "[0.0, true]", "true", &["`dropout` must be a number, and is true"]);
    refused("\"auroc\"", "[\"auroc\"]", "[\"auroc\"]", &["and is a list"]);
    refused("2\n", "1979-05-27\n", "1979-05-27", &["and is the date"]);
    refused("drop = [\"amount\", \"note\"]", "drop = \"note\"", "\"note\"", &["must be a list"]);
}

#[test]
fn values_out_of_range_say_the_range() {
    refused("space", "lr = 0\nspace", "0", &["`lr` is 0; it must be above 0"]);
    refused("space", "lr = inf\nspace", "inf", &["above 0"]);
    refused("[0.0, 0.1]", "[1.0]", "1.0", &["0 or above, and below 1"]);
    refused("space", "epochs = 0\nspace", "0", &["from 1 to 1000000"]);
    refused("space", "batch = -1\nspace", "-1", &["`batch` is -1"]);
    refused("space", "weight_decay = -0.1\nspace", "-0.1", &["0 or above"]);
    refused("space", "hidden = [0]\nspace", "0", &["from 1 to 65536"]);
    refused("space", "hidden = []\nspace", "[]", &["linear"]);
    refused("count = 2", "count = 0", "0", &["from 1"]);
    refused("3 }", "3, repeats = 0 }", "0", &["`repeats` is 0"]);
    refused("folds = 3", "holdout = 1.0", "1.0", &["above 0 and below 1"]);
    refused("\"s\"", "\"a/b\"", "\"a/b\"", &["1 to 64"]);
    refused("\"s\"", "\".s\"", "\".s\"", &["no dot first"]);
    refused("arms.a", "arms.\"a b\"", "\"a b\"", &["an arm's name"]);
}

#[test]
fn arms_that_contradict_themselves_are_refused() {
    refused("space", "dropout = 0.2\nspace", "dropout", &["both fixed and in the space"]);
    refused("\"mlp\"", "\"linear\"", "dropout", &["a linear model has no `dropout`"]);
    refused("\"mlp\"", "\"mpl\"", "\"mpl\"", &["did you mean `mlp`?", "linear, mlp"]);
    refused("space", "momentum = 0.5\nspace", "momentum", &["belongs to sgd"]);
    refused(
        "space = { dropout = [0.0, 0.1] }",
        "search = { method = \"grid\" }",
        "{ method = \"grid\" }",
        &["no space"],
    );
    refused(
        "space =",
        "search = { method = \"gird\" }\nspace =",
        "\"gird\"",
        &["did you mean `grid`?"],
    );
    refused("[0.0, 0.1]", "[0.1, 0.1]", "0.1", &["lists 0.1 twice"]);
    refused("dropout = [0.0, 0.1]", "hidden = [32, [8]]", "32", &["[[32], [64, 64]]"]);
    refused("dropout = [0.0, 0.1]", "", "{  }", &["a space with no points"]);
}

#[test]
fn ranges_that_span_nothing_are_refused() {
    let dropout = |by: &str, about: &str, words: &str| refused("[0.0, 0.1]", by, about, &[words]);
    dropout("{ log = [0.0, 0.1], points = 3 }", "[0.0, 0.1]", "no logarithm");
    dropout("{ linear = [0.1, 0.0], points = 3 }", "[0.1, 0.0]", "smaller end first");
    dropout("{ linear = [0.1], points = 3 }", "[0.1]", "two ends");
    dropout("{ linear = [0.0, 0.1], points = 1 }", "1", "a range of one point");
    dropout("{ linear = [0.0, 0.1] }", "{ linear = [0.0, 0.1] }", "has no `points`");
    dropout("{ int = [1, 2] }", "[1, 2]", "cannot range by int");
    dropout("{ points = 2 }", "{ points = 2 }", "one of log, linear and int");
    let epochs = |by: &str, about: &str, words: &str| {
        refused("dropout = [0.0, 0.1]", &format!("epochs = {by}"), about, &[words]);
    };
    epochs("{ int = [9, 3] }", "[9, 3]", "a space with no points");
    epochs("{ int = [3, 9], points = 2 }", "points", "write `step`");
    epochs("{ log = [1, 9], points = 2 }", "[1, 9]", "int = [10, 30]");
}

#[test]
fn paths_that_cannot_be_used_are_refused() {
    let path = |by: &str, words: &str| {
        let quoted = format!("'{by}'");
        refused("\"rows.csv\"", &quoted, &quoted, &[words]);
    };
    path("/rows.csv", "not relative");
    path(r"C:\rows.csv", "not relative");
    path("a/../../rows.csv", "leaves the study file's folder");
    path("rows.xlsx", "one of: .csv, .tsv, .parquet");
    path("nowhere.csv", "cannot read nowhere.csv: no such file");
}

#[test]
fn tables_that_are_no_tables_are_refused() {
    let rows = |cell: &str, other: &str, words: &str| {
        refused_rows("", "", cell, other, "\"rows.csv\"", &[words]);
    };
    rows("age,dose", "age,age", "columns 1 and 2 are both named `age`");
    rows("\n30,1e-1", "\n30", "1 line has not 7 cells as the header has: 2");
    rows("\n30,1e-1", "\ninf,1e-1", "column `age` is infinite or beyond 3.4e38 in 1 row");
    rows("\n30,1e-1", "\n1e39,1e-1", ": 1");
    let table = rows_header_only();
    let told = check(SOUND, &mut |_| Ok(table.clone().into_bytes())).expect_err("refused");
    assert!(told.to_string().contains("the file has a header and no rows"), "{told}");
}

fn rows_header_only() -> String {
    rows().lines().next().unwrap_or_default().to_string()
}

#[test]
fn columns_must_fit_their_part() {
    refused("\"stage\"", "\"stagee\"", "\"stagee\"", &["did you mean `stage`?"]);
    refused("\"note\"]", "\"note\", \"stage\"]", "\"stage\"", &["the target and is also dropped"]);
    refused("\"note\"]", "\"note\", \"zzz\"]", "\"zzz\"", &["its columns are: age, dose, stage"]);
    refused("\"note\"]", "\"note\", \"note\"]", "\"note\"", &["listed twice"]);
    refused(
        "\"note\"]",
        "\"note\"]\ngroup = \"stage\"",
        "\"stage\"",
        &["the target and also the group"],
    );
    refused(", \"note\"]", "]", "\"rows.csv\"", &["`note` is text of 30 different values", "drop"]);
    let all = "\"note\", \"age\", \"dose\", \"site\", \"clinic\"]";
    refused("\"note\"]", all, "\"rows.csv\"", &["no columns left to be features"]);
}

#[test]
fn few_cells_that_are_no_numbers_are_named_rather_than_their_column() {
    let mut table = rows().replace("\n30,2e-1", "\n30,2e-l");
    assert!(!table.contains("2e-l"), "row 2 is of another age");
    table = table.replacen(",2e-1,", ",2e-l,", 1).replacen(",30e-1,", ",n/a,", 1);
    let told = check(SOUND, &mut |_| Ok(table.clone().into_bytes())).expect_err("refused");
    let words = "row 2: `2e-l`, row 30: `n/a` are not numbers, as 28 other cells of column `dose`";
    assert_eq!(told.0.len(), 1, "{told}");
    assert!(told.0[0].message.starts_with(words), "{told}");
    let words = ["row 2: `2e-l` is not a number, as 29 other", "correct these cells"];
    refused_rows("", "", ",2e-1,", ",2e-l,", "\"rows.csv\"", &words);
}

#[test]
fn a_text_column_of_many_values_may_be_a_group() {
    let group = "name it in `group` if rows belong together";
    refused(", \"note\"]", "]", "\"rows.csv\"", &["add \"note\" to `drop`", group]);
    let (_, found) = findings(", \"note\"]", "]\ngroup = \"clinic\"", "", "");
    assert!(found.len() == 1 && !found[0].to_string().contains(group), "{found:#?}");
}

#[test]
fn classes_that_differ_by_case_alone_are_noted() {
    let table = rows().replacen(",ill,", ",Ill,", 5);
    let checked = check(SOUND, &mut |_| Ok(table.clone().into_bytes()));
    let notes = checked.unwrap_or_else(|findings| panic!("{findings}")).notes;
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(notes[0].starts_with("classes \"Ill\", \"ill\" of column `stage` differ"), "{notes:?}");
}

#[test]
fn a_misspelt_key_is_not_missing_too() {
    refused("metric =", "metrc =", "metrc", &["did you mean `metric`?"]);
    refused("target =", "traget =", "traget", &["did you mean `target`?"]);
    refused("drop =", "dorp =", "dorp", &["did you mean `drop`?"]);
    refused("folds", "fodls", "fodls", &["did you mean `folds`?"]);
    refused("[seeds]", "[seed]", "seed", &["did you mean `seeds`?"]);
    refused("[0.0, 0.1]", "{ lgo = [0.1, 0.2], points = 2 }", "lgo", &["did you mean `log`?"]);
}

#[test]
fn a_search_says_how_many_configs_it_draws() {
    let search = |written: &str| format!("search = {{ {written} }}\nspace =");
    let refused = |written: &str, span: &str, words: &[&str]| {
        refused("space =", &search(written), span, words);
    };
    refused("method = \"random\"", "{ method = \"random\" }", &["configs = 20"]);
    refused("method = \"sobol\", configs = 0", "0", &["from 1 to 5000"]);
    refused("method = \"grid\", configs = 4", "4", &["as many configs as its space"]);
    refused("method = \"random\", configs = 4, rungs = 2", "2", &["`rungs` is for", "halving"]);
    let asha = "{ method = \"asha\", configs = 9 }";
    refused("method = \"asha\", configs = 9", asha, &["asha learns from scores", "inner = {"]);
    refused("method = \"asha\"", "{ method = \"asha\" }", &["configs = 20"]);
    refused("method = \"radnom\", configs = 4", "\"radnom\"", &["did you mean", "random"]);
}

#[test]
fn a_race_that_could_drop_nothing_is_refused() {
    let part = "outer = { folds = 3 }\n[seeds]\ncount = 2\n[arms.a]\nmodel = \"mlp\"\n";
    let text = |inner: &str, tune: &str, search: &str| {
        format!(
            "outer = {{ folds = 3 }}\n{inner}\n[seeds]\ncount = 2\n{tune}\n[arms.a]\nmodel = \"mlp\"\n\
             search = {{ {search} }}\n"
        )
    };
    let refused = |(inner, tune, search): (&str, &str, &str), about: &str, words: &[&str]| {
        refused(part, &text(inner, tune, search), about, words);
    };
    let (inner, grid) = ("inner = { folds = 2 }", "method = \"grid\", race = true");
    sound(part, &text(inner, "tune = 6", grid));
    sound(part, &text(inner, "tune = 3", &format!("{grid}, first = 2, level = 0.9")));
    refused(("", "", grid), "true", &["there are none", "inner = { folds = 3 }", "tune = 10"]);
    refused((inner, "", grid), "true", &["no seeds of their own", "tune = 10"]);
    let few = ["after 5 tuning seeds, and there are 5", "tune = 10 or more", "first = 4"];
    refused((inner, "tune = 5", grid), "true", &few);
    let halves = "method = \"halving\", configs = 9, race = true";
    refused((inner, "tune = 6", halves), "true", &["by epochs", "\"sobol\""]);
    let at_once = "method = \"asha\", configs = 9, race = true";
    refused((inner, "tune = 6", at_once), "true", &["asha drops configs by epochs", "\"sobol\""]);
    let learns = "method = \"tpe\", configs = 9, race = true";
    refused((inner, "tune = 6", learns), "true", &["tpe proposes each config", "take `race` out"]);
    let one_se = "inner = { folds = 2, select = \"one-se\" }";
    refused((one_se, "tune = 6", grid), "\"one-se\"", &["mean", "select = \"best\""]);
    let stray = "method = \"grid\", level = 0.9";
    refused((inner, "tune = 6", stray), "0.9", &["`level` is for race = true"]);
    refused((inner, "tune = 6", &format!("{grid}, first = 1")), "1", &["from 2 to 1000"]);
    refused((inner, "tune = 6", &format!("{grid}, level = 95")), "95", &["between 0 and 1"]);
}

#[test]
fn a_bare_word_is_told_to_need_quotes() {
    refused("\"s\"", "three", "three", &["not TOML: text needs quotes: \"three\""]);
    refused("\"auroc\"", "auroc", "auroc", &["not TOML: text needs quotes: \"auroc\""]);
    refused("3 }", "3, stratify = True }", "True", &["not TOML: write true, not True"]);
}

#[test]
fn a_table_given_as_a_study_file_has_ten_findings() {
    let told = check(&rows(), &mut |_| Err(String::new())).expect_err("refused");
    assert_eq!(told.0.len(), 10, "{told}");
    assert!(told.0[9].message.ends_with(" more like this"), "{told}");
}

#[test]
fn targets_must_fit_the_task() {
    let amount = "target = \"amount\"\ntask = \"classification\"\ndrop = [\"stage\", \"note\"]";
    let part = "target = \"stage\"\ntask = \"classification\"\ndrop = [\"amount\", \"note\"]";
    refused(part, amount, "\"classification\"", &["not whole, such as 0.5 in row 1", "regression"]);
    let text = SOUND.replace("classification", "regression").replace("auroc", "rmse");
    let told = check(&text, &mut |_| Ok(rows().into_bytes())).expect_err("refused");
    assert!(
        told.to_string().contains("target `stage` is text, and a regression needs numbers"),
        "{told}"
    );
}

#[test]
fn divisions_that_the_rows_do_not_allow_are_refused() {
    let group = |split: &str| format!("\"note\"]\ngroup = \"clinic\"\n[split]\nouter = {split}\n");
    let part = "\"note\"]\n[split]\nouter = { folds = 3 }\n";
    refused(
        part,
        &group("{ folds = 6 }"),
        "6",
        &["column `clinic` has 5 groups, fewer than the 6 folds"],
    );
    let torn = ["1 group of column `clinic` have rows under several values of `site`: c2"];
    refused(part, &group("{ leave_out = \"site\" }"), "\"site\"", &torn);
    refused("folds = 3", "folds = 31", "31", &["31 folds are more than the 30 rows"]);
    refused("folds = 3", "holdout = 0.01", "0.01", &["leaves none to test"]);
    refused("folds = 3", "holdout = 0.99", "0.99", &["leaves none to train"]);
    refused("folds = 3", "folds = 3, holdout = 0.5", "0.5", &["both `folds` and `holdout`"]);
    refused("folds = 3", "repeats = 3", "{ repeats = 3 }", &["does not say how"]);
    refused("folds = 3", "leave_out = \"sites\"", "\"sites\"", &["did you mean `site`?"]);
    refused("folds = 3", "leave_out = \"site\", repeats = 2", "repeats", &["means nothing"]);
}

#[test]
fn many_rare_classes_are_one_finding() {
    let part = "target = \"stage\"\ntask = \"classification\"\ndrop = [\"amount\", \"note\"]";
    let text = SOUND.replace(part, &part.replace("\"stage\"", "\"age\""));
    let text = text.replace("folds = 3", "folds = 5");
    let told = check(&text, &mut |_| Ok(rows().into_bytes())).expect_err("refused");
    let words =
        "5 classes of column `age` have few rows, fewer than the 5 folds: `32` (4), `33` (4)";
    assert_eq!(told.0.len(), 1, "{told}");
    assert!(told.0[0].message.starts_with(words), "{told}");
}

#[test]
fn a_column_without_any_value_has_no_mean() {
    let text = SOUND.replace("[split]", "missing = \"mean\"\n[split]");
    let table: Vec<String> = rows().lines().map(|line| format!("{line},")).collect();
    let table = table.join("\n").replacen("note,", "note,empty", 1);
    let told = check(&text, &mut |_| Ok(table.clone().into_bytes())).expect_err("refused");
    assert_eq!(told.0.len(), 1, "{told}");
    assert!(told.to_string().contains("column `empty` has no value in any row"), "{told}");
}

proptest! {
    /// Whatever is torn out of a study file, doubled or put elsewhere: either it is a study, or
    /// there is at least one finding, and each is about bytes of the file.
    #[test]
    fn no_file_breaks_the_check(
        cuts in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<Index>()), 1..4),
        table_cut in any::<Index>(),
    ) {
        let mut text = SOUND.to_string();
        for (from, to, at) in cuts {
            let (from, to) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let piece = text[from.min(to)..from.max(to)].to_string();
            if from < to {
                text.replace_range(from..to, "");
            }
            text.insert_str(at.index(text.len() + 1), &piece[..piece.len().min(30)]);
        }
        let table = &rows()[table_cut.index(rows().len())..];
        if let Err(findings) = check(&text, &mut |_| Ok(table.as_bytes().to_vec())) {
            prop_assert!(!findings.0.is_empty());
            for finding in findings.0 {
                prop_assert!(text.get(finding.span.clone()).is_some(), "{:?}", finding);
            }
        }
    }
}

#[test]
fn a_leave_out_column_with_one_value_is_refused() {
    let text = SOUND.replace("folds = 3", "leave_out = \"site\"");
    let table = rows().replace(",s,", ",n,");
    let told = check(&text, &mut |_| Ok(table.clone().into_bytes())).expect_err("refused");
    assert!(
        told.to_string().contains("column `site` has one value, `n`: no row would train"),
        "{told}"
    );
}

#[test]
fn tables_that_must_be_there_are_asked_for() {
    let told = check("", &mut |_| Err(String::new())).expect_err("refused");
    let messages: Vec<&str> = told.0.iter().map(|finding| finding.message.as_str()).collect();
    let missing = ["study", "data", "split", "seeds", "arms"];
    assert_eq!(messages, missing.map(|table| format!("a study file has no `{table}`")));
}

#[test]
fn what_only_may_be_wrong_is_noted() {
    let table = rows().replace(",n,", ",s,");
    let text = SOUND
        .replace("count = 2", "count = 1")
        .replace("\"note\"]", "\"note\"]\ngroup = \"clinic\"");
    let mut number = 0;
    let mut lines: Vec<String> = table.lines().map(String::from).collect();
    for line in &mut lines[1..] {
        number += 1;
        let (_, rest) = line.split_once(',').expect("two cells");
        *line = format!("{number},{rest}");
    }
    let checked = check(&text, &mut |_| Ok(lines.join("\n").into_bytes()));
    let notes = checked.unwrap_or_else(|findings| panic!("{findings}")).notes;
    assert_eq!(notes.len(), 3, "{notes:#?}");
    assert!(notes[0].contains("`age` has another whole number in every row"), "{notes:#?}");
    assert!(notes[1].contains("`site` has one value"), "{notes:#?}");
    assert!(notes[2].contains("one seed"), "{notes:#?}");
}

/// The split of the sound study with an order column, and what else stands beside it.
fn ordered(data: &str, split: &str) -> String {
    format!("\"note\"]\norder = {data}\n[split]\nouter = {{ {split} }}\n")
}

const UNORDERED: &str = "\"note\"]\n[split]\nouter = { folds = 3 }\n";

#[test]
fn rows_in_order_of_time_are_sound() {
    sound(UNORDERED, &ordered("\"dose\"", "folds = 3"));
    sound(UNORDERED, &ordered("\"dose\"", "holdout = 0.2, repeats = 1, stratify = false"));
    sound(UNORDERED, &ordered("\"dose\"", "folds = 3 }\ninner = { folds = 2"));
    sound(UNORDERED, &ordered("\"age\"", "folds = 6"));
}

#[test]
fn an_order_that_cannot_be_kept_is_refused() {
    let by = |data: &str, split: &str| ordered(data, split);
    let help = "did you mean `dose`?";
    refused(UNORDERED, &by("\"dos\"", "folds = 3"), "\"dos\"", &["no column of the data", help]);
    let words = ["neither a number nor a date in 30 rows", "the first is \"c0\"", "2019-03-07"];
    refused(UNORDERED, &by("\"clinic\"", "folds = 3"), "\"clinic\"", &words);
    let words = ["`site` is neither", "in 30 rows"];
    refused(UNORDERED, &by("\"site\"", "folds = 3"), "\"site\"", &words);
    let words = ["8 successive parts", "has 7 different values", "at most 6 folds"];
    refused(UNORDERED, &by("\"age\"", "folds = 7"), "7", &words);
    let words = ["`repeats` above 1", "nothing is drawn"];
    refused(UNORDERED, &by("\"dose\"", "folds = 3, repeats = 2"), "repeats", &words);
    let words = ["`stratify` means nothing with `order`"];
    refused(UNORDERED, &by("\"dose\"", "folds = 3, stratify = true"), "true", &words);
    let words = ["by `order` or by `leave_out`"];
    refused(UNORDERED, &by("\"dose\"", "leave_out = \"site\""), "\"site\"", &words);
    let words = ["both sides of any moment"];
    refused(UNORDERED, &by("\"dose\"\ngroup = \"clinic\"", "folds = 3"), "\"clinic\"", &words);
    let words = ["is the target and also the order column"];
    refused(UNORDERED, &by("\"stage\"", "folds = 3"), "\"stage\"", &words);
    let words = ["is the order column and is also dropped"];
    refused(UNORDERED, &by("\"amount\"", "folds = 3"), "\"amount\"", &words);
    let words = ["cannot be divided into inner folds", "rows of one time kept whole"];
    let inner = by("\"age\"", "folds = 6 }\ninner = { folds = 2");
    refused(UNORDERED, &inner, "{ folds = 2 }", &words);
}

#[test]
fn a_row_without_a_time_is_refused() {
    let by = ordered("\"dose\"", "folds = 3");
    let words = ["the order column `dose` is missing in 1 row"];
    refused_rows(UNORDERED, &by, "30,1e-1", "30,", "\"rows.csv\"", &words);
    let words = ["is neither a number nor a date in 30 rows"];
    refused_rows(UNORDERED, &by, "30,1e-1", "30,2019-02-30", "\"dose\"", &words);
}
