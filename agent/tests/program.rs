//! Programs as processes: what each way to end becomes, and that nothing outlives an attempt.
//!
//! Floor: wiring.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A study of twelve rows in two folds whose arm runs `train.sh`.
struct Site {
    dir: TempDir,
}

impl Site {
    /// `further`: lines of the arm.
    fn new(script: &str, further: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let rows: String = (0..12).map(|n| format!("{n},{}\n", n % 2)).collect();
        let site = Self { dir };
        site.write("rows.csv", &format!("x,y\n{rows}"));
        site.write("train.sh", script);
        site.write(
            "study.toml",
            &format!(
                "[study]\nname = \"own\"\nmetric = \"auroc\"\nalso = [\"accuracy\"]\n\
                 [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
                 [split]\nouter = {{ folds = 2 }}\n[seeds]\napart = {{ init = 2, order = 2 }}\n\
                 [arms.own]\ncommand = [\"sh\", \"train.sh\", \"{{lr}}\", \"{{seed.init}}\", \
                 \"{{seed.order}}\", \"{{fold}}\", \"{{arm}}\"]\nfiles = [\"train.sh\"]\n{further}\n\
                 space = {{ lr = [0.25, 1e-7] }}\n"
            ),
        );
        site.write("trial.json", "{\"study\": \"study.toml\", \"trial\": 1}");
        fs::create_dir(site.path("tmp")).expect("made");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn train(&self, further: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.args(["train", "trial.json", "--json"]).args(further);
        command.current_dir(self.dir.path()).env("TMPDIR", self.path("tmp"));
        command.env("SEEDSWEEP_TOKEN", "SW1.a.secret").env("HIDDEN", "from the agent");
        command.output().expect("the agent starts")
    }

    /// Trains with programs allowed: the answer, and what was said on stderr.
    fn run(&self) -> (Value, String) {
        let output = self.train(&["--allow-programs"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = serde_json::from_slice(&output.stdout);
        (answer.unwrap_or_else(|error| panic!("{error}: {said}")), said)
    }

    /// Trains in vain: the reason and its detail.
    fn fails(&self) -> (String, String) {
        let (answer, said) = self.run();
        let text = |key: &str| answer["failed"][key].as_str().map(str::to_string);
        (text("reason").unwrap_or_else(|| panic!("{answer} {said}")), text("detail").expect("one"))
    }
}

fn fails(script: &str, further: &str) -> (String, String) {
    Site::new(script, further).fails()
}

const GOOD: &str = "echo '{\"step\": 2, \"auroc\": 0.75}' >> \"$SEEDSWEEP_OUT\"\n";

#[test]
fn a_program_is_told_its_trial_and_its_last_line_is_the_outcome() {
    let script = "echo \"told $*\"; echo \"to stderr\" >&2\n\
                  cmp \"$SEEDSWEEP_TRIAL\" ../trial.json && wc -l < ../train-rows.txt\n\
                  echo '{\"step\": 1, \"auroc\": 0.5}' >> \"$SEEDSWEEP_OUT\"\n\
                  echo '::metric step=9 auroc=0.125'\n\
                  echo '{\"step\": 2, \"auroc\": 0.75, \"accuracy\": 0.5, \"loss\": 9}' >> \"$SEEDSWEEP_OUT\"\n\
                  for n in 1 2 3 4 5 6; do echo 0.5; done > rows.csv\n";
    let site = Site::new(script, "validation = 0.34");
    let (answer, said) = site.run();
    assert_eq!(answer["metrics"]["auroc"], 0.75, "{answer} {said}");
    assert_eq!(answer["metrics"]["accuracy"], 0.5);
    assert_eq!((&answer["epochs"], &answer["rows"]), (&2.into(), &6.into()));
    assert!(said.contains("told 0.0000001 0 0 0 own"), "{said}");
    assert!(said.contains("to stderr") && said.contains("\n4\n"), "{said}");
    let left: Vec<_> = fs::read_dir(site.path("tmp")).expect("there").collect();
    assert!(left.is_empty(), "nothing is left of one that went well: {left:?}");
    let again = site.run().0;
    assert_eq!(again["digest"], answer["digest"]);
}

#[test]
fn a_metric_on_stdout_is_as_good_as_a_line_in_the_file() {
    let (answer, said) = Site::new("echo noise; printf '::metric step=3 auroc=0.25'", "").run();
    assert_eq!(
        (&answer["metrics"]["auroc"], &answer["epochs"]),
        (&0.25.into(), &3.into()),
        "{said}"
    );
    assert!(answer["metrics"]["accuracy"].is_null(), "{answer}");
}

/// A study of `data` whose arm runs `script` with the path of the data as its argument.
fn site_of(data: &str, script: &str) -> Site {
    site_with("", data, script)
}

/// As `site_of`, with further lines of the study.
fn site_with(further: &str, data: &str, script: &str) -> Site {
    let site = Site::new(script, "");
    site.write("trial.json", "{\"study\": \"study.toml\", \"trial\": 0}");
    site.write(
        "study.toml",
        &format!(
            "[study]\nname = \"own\"\nmetric = \"accuracy\"\n{further}\n[data]\n{data}\n\
             task = \"classification\"\n[split]\nouter = {{ folds = 2 }}\n[seeds]\ncount = 1\n\
             [arms.own]\ncommand = [\"sh\", \"train.sh\", \"{{data}}\"]\nfiles = [\"train.sh\"]\n"
        ),
    );
    site
}

/// Finds the image of every row, or gives up.
const FINDS_IMAGES: &str = "names=$(sed -n 's/.*\"row_names\": \"\\(.*\\)\",*$/\\1/p' \"$SEEDSWEEP_TRIAL\")\n\
    for row in $(cat ../train-rows.txt ../test-rows.txt); do\n\
    file=$(sed -n \"$((row + 1))p\" \"$names\")\n\
    test -s \"$1/$file\" && echo \"row $row is $file\" || exit 9\n\
    done\n\
    echo '::metric accuracy=0.5'\n";

/// Rows that a program found, and in which folder.
fn found(said: &str) -> Vec<(u32, String)> {
    let line = |line: &str| {
        let (row, file) = line.split_once("row ")?.1.split_once(" is ")?;
        Some((row.parse().ok()?, file.split_once('/')?.0.to_string()))
    };
    said.lines().filter_map(line).collect()
}

/// Whether a row was found in the folder of its own class.
fn is_own((row, folder): &(u32, String)) -> bool {
    folder == if *row < 4 { "a" } else { "b" }
}

/// A study of eight images in two folders.
fn site_of_images(further: &str) -> Site {
    let site = site_with(further, "path = \"scans\"\nformat = \"images\"", FINDS_IMAGES);
    let image = include_bytes!("../../tests/data/samples/written/mask.png");
    for folder in ["a", "b"] {
        fs::create_dir_all(site.path("scans").join(folder)).expect("made");
        for number in 0..4 {
            let path = site.path("scans").join(folder).join(format!("{number}.png"));
            fs::write(path, image).expect("written");
        }
    }
    site
}

#[test]
fn a_folder_of_images_is_given_as_it_is_with_the_file_of_each_row() {
    let site = site_of_images("");
    let (answer, said) = site.run();
    assert_eq!(answer["metrics"]["accuracy"], 0.5, "{answer} {said}");
    let rows = found(&said);
    assert_eq!(rows.len(), 8, "{said}");
    assert!(rows.iter().all(is_own), "{said}");
}

#[test]
fn a_permuted_control_of_images_finds_them_in_the_folders_of_other_classes() {
    let site = site_of_images("controls = { constant = false, permuted = 1 }");
    site.write("trial.json", "{\"study\": \"study.toml\", \"trial\": 1}");
    let (answer, said) = site.run();
    assert_eq!(answer["metrics"]["accuracy"], 0.5, "{answer} {said}");
    let rows = found(&said);
    assert_eq!(rows.len(), 8, "{said}");
    let (trained, tested) = rows.split_at(4);
    assert!(tested.iter().all(is_own) && !trained.iter().all(is_own), "{said}");
    let left: Vec<_> = fs::read_dir(site.path("tmp")).expect("there").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_archive_of_arrays_is_given_as_a_file() {
    let script = "case $1 in *.npz) test -s \"$1\" && echo '::metric accuracy=0.25' ;; esac\n";
    let site = site_of("path = \"digits.npz\"", script);
    let archive = include_bytes!("../../coordinator/demo/digits/digits.npz");
    fs::write(site.path("digits.npz"), archive).expect("written");
    let (answer, said) = site.run();
    assert_eq!(answer["metrics"]["accuracy"], 0.25, "{answer} {said}");
}

#[test]
fn without_the_flag_nothing_is_started() {
    let site = Site::new("touch ../../started", "");
    let output = site.train(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--allow-programs"), "{said}");
    assert!(fs::read_dir(site.path("tmp")).expect("there").next().is_none());
}

#[test]
fn the_environment_is_cleared_to_a_list() {
    let script = format!("env\n{GOOD}");
    let (_, said) = Site::new(&script, "env = { LEVEL = \"x{lr}\" }").run();
    for hidden in ["HIDDEN", "SW1.a.secret", "SEEDSWEEP_TOKEN"] {
        assert!(!said.contains(hidden), "{said}");
    }
    for there in ["PATH=", "LEVEL=x0.0000001", "CUDA_VISIBLE_DEVICES=", "SEEDSWEEP_CHECKPOINT="] {
        assert!(said.contains(there), "{there}: {said}");
    }
}

#[test]
fn limits_are_on_the_program_before_its_first_instruction() {
    let script = format!("ulimit -c; ulimit -n; grep NoNewPrivs /proc/self/status\n{GOOD}");
    let (_, said) = Site::new(&script, "").run();
    let lines: Vec<&str> = said.lines().collect();
    let first = lines.iter().position(|line| *line == "0").expect("no core files");
    assert!(lines[first + 1].parse::<u64>().is_ok_and(|files| files <= 4_096), "{said}");
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
}

#[test]
fn at_the_time_limit_the_whole_group_is_gone_even_what_ignores_signals_and_leaves_it() {
    let script = "trap '' TERM\n\
                  sh -c 'trap \"\" TERM; echo $$ > ../child; (trap \"\" TERM; sleep 300) & wait; sleep 300' &\n\
                  setsid sh -c 'echo $$ > ../escaped; sleep 300' &\n\
                  while true; do sleep 1; done\n";
    let site = Site::new(script, "time_limit_s = 1");
    let began = Instant::now();
    let (reason, detail) = site.fails();
    assert_eq!(reason, "time limit", "{detail}");
    assert!(detail.contains("after its 1 s"), "{detail}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(6), "a grace time of 5 s is given: {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    let mark = site.path("tmp").to_string_lossy().into_owned();
    assert_eq!(processes_with(&mark), Vec::<String>::new());
    for name in ["child", "escaped"] {
        let kept = find(&site.path("tmp"), name).unwrap_or_else(|| panic!("{name} never ran"));
        let pid = fs::read_to_string(kept).expect("a number");
        // Where nobody fetches the last word of an orphan, it stays a zombie.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        assert!(matches!(state, None | Some("Z")), "{name} {pid} lives: {stat}");
    }
}

#[test]
fn a_program_that_ends_when_it_is_told_has_no_wait() {
    let script = "trap 'echo stopping; exit 0' TERM\nwhile true; do sleep 0.1; done\n";
    let began = Instant::now();
    assert_eq!(fails(script, "time_limit_s = 1").0, "time limit");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn statuses_and_signals_are_told_apart() {
    for (script, wanted, words) in [
        ("echo no card >&2; exit 75", "elsewhere", "no card"),
        ("echo lr is bad; exit 78", "bad config", "lr is bad"),
        ("echo oh; exit 3", "error", "exit status 3; it said last: oh"),
        ("kill -SEGV $$", "error", "signal 11"),
        ("kill -KILL $$", "error", "signal 9"),
        ("echo 'MemoryError: of Python'; exit 1", "out of memory", "MemoryError"),
    ] {
        let (reason, detail) = fails(script, "");
        assert_eq!(reason, wanted, "{script}: {detail}");
        assert!(detail.contains(words), "{script}: {detail}");
    }
}

#[test]
fn a_program_that_takes_more_memory_than_it_may_is_ended() {
    // A text that doubles until it is told to stop.
    let script = "awk 'BEGIN { s = \"12345678\"; for (;;) { s = s s; \
                  if (length(s) > 4000000) system(\"sleep 0.2\") } }'";
    let began = Instant::now();
    let (reason, detail) = fails(script, "memory_mib = 100\ntime_limit_s = 60");
    assert_eq!(reason, "out of memory", "{detail}");
    assert!(detail.contains("100 are allowed"), "{detail}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn what_is_no_outcome_says_what_was_expected_and_what_was_found() {
    let line = |text: &str| format!("echo '{text}' >> \"$SEEDSWEEP_OUT\"");
    for (script, found) in [
        (":".to_string(), "found no line"),
        (line("{\"step\": 1, \"auc\": 0.5}"), "a line with auc, step"),
        (line("{\"auroc\": 91}"), "91, which must be from 0 to 1"),
        (line("epoch 1: fine"), "epoch 1: fine is no JSON object"),
        (format!("{GOOD}echo 0.5 > rows.csv"), "6 scores, one a test row; found 1"),
    ] {
        let (reason, detail) = fails(&script, "");
        assert_eq!(reason, "error", "{detail}");
        assert!(detail.contains("expected") && detail.contains(found), "{script}: {detail}");
    }
    let (reason, _) = fails(&line("{\"auroc\": NaN}"), "");
    assert_eq!(reason, "diverged");
    let missing = Site::new("", "").dir;
    let text = fs::read_to_string(missing.path().join("study.toml")).expect("there");
    fs::write(missing.path().join("study.toml"), text.replace("\"sh\",", "\"no-such-program\","))
        .expect("written");
    fs::create_dir_all(missing.path().join("tmp")).expect("made");
    let (reason, detail) = Site { dir: missing }.fails();
    assert!(reason == "error" && detail.contains("cannot be started"), "{detail}");
}

#[test]
fn however_much_is_written_the_last_of_it_is_kept() {
    let script = format!("head -c 300000000 /dev/zero | tr '\\0' x; echo; echo the end\n{GOOD}");
    let (answer, said) = Site::new(&script, "time_limit_s = 100").run();
    assert_eq!(answer["metrics"]["auroc"], 0.75);
    assert!(said.len() < 1_100_000 && said.ends_with("the end\n"), "{} bytes", said.len());
}

/// Command lines of processes whose environment or arguments have this text.
fn processes_with(mark: &str) -> Vec<String> {
    let read = |pid: &str, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let entries = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let marked = numbers.filter(|pid| read(pid, "environ").contains(&format!("OUT={mark}")));
    marked.map(|pid| read(&pid, "cmdline")).collect()
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            return Some(path);
        }
    }
    None
}
