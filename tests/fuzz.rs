//! Every fuzz target on every change: its whole corpus, then some seconds of changed bytes.
//!
//! No input may make a target panic, hold more than four times its length and 1 MiB beside what was
//! read, or work for more than 100 ms; and nothing that was read is more than its length explains. A
//! binary of its own, since it counts every allocation.
//! `SEEDSWEEP_FUZZ_SECONDS` says how long each target runs, `SEEDSWEEP_FUZZ_SEED` with which
//! randomness; `SEEDSWEEP_CORPUS=write` writes the corpus's first inputs anew after a format changed.
//!
//! Floor: wiring.

// What a test calls may unwrap as the test itself may.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use tests::targets::values::STUDY;
use tests::targets::{TARGETS, Target, target};

macro_rules! fuzz {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(target(stringify!($name)));
        })*

        #[test]
        fn every_target_is_run() {
            let named = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), named);
        }
    };
}

fuzz!(frame message raft entry state transfer spool token join study table samples);

#[test]
fn the_corpus_begins_with_real_values() {
    for target in &TARGETS {
        let folder = folder(target);
        // Made with the present clock or randomness: each run makes another.
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty());
        if std::env::var("SEEDSWEEP_CORPUS").is_ok_and(|how| how == "write") {
            fs::create_dir_all(&folder).expect("made");
            for (name, bytes) in &seeds {
                fs::write(folder.join(name), bytes).expect("written");
            }
        }
        for (name, bytes) in &seeds {
            let kept = fs::read(folder.join(name)).unwrap_or_default();
            let advice = "run with SEEDSWEEP_CORPUS=write if the format was meant to change";
            assert!(kept == *bytes, "{}/{name} is not in the corpus: {advice}", target.name);
        }
    }
}

#[test]
fn long_study_files_are_judged_within_the_time_too() {
    keep_panics();
    let study = target("study");
    let many =
        |count: usize, each: &dyn Fn(usize) -> String| -> String { (0..count).map(each).collect() };
    let list = |text: String| format!("[{text}]");
    let texts = list(many(6_000, &|at| format!("\"a{at}\",")));
    for (part, longer) in [
        ("{ log = [0.001, 0.1], points = 3 }", list(many(11_000, &|at| format!("{},", at + 1)))),
        ("[\"accuracy\", \"log_loss\"]", texts.clone()),
        ("[\"id\"]", texts),
        ("[budget]", many(6_000, &|at| format!("k{at} = 1\n"))),
        ("[budget]", many(2_500, &|at| format!("[arms.a{at}]\nmodel = \"x\"\n"))),
        (STUDY, "x\n".repeat(32_000)),
        (STUDY, format!("a = {}", "[".repeat(65_000))),
    ] {
        let text = STUDY.replace(part, &longer);
        assert!(text.len() > 32_000 && text.len() <= INPUT_MAX, "{}", text.len());
        hold(study, text.as_bytes());
    }
}

fn run(target: &Target) {
    keep_panics();
    let corpus = corpus(target);
    // Whatever a target sets up once is not counted against its first input.
    let _ = tried(target, &corpus[0]);
    corpus.iter().for_each(|input| hold(target, input));
    let seconds = number("SEEDSWEEP_FUZZ_SECONDS").unwrap_or(SECONDS);
    let seed = number("SEEDSWEEP_FUZZ_SEED").unwrap_or(1);
    let mut random = Random(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut runs = 0u64;
    while Instant::now() < until {
        for _ in 0..RUNS_AT_ONCE {
            hold(target, &changed(&corpus, &mut random));
        }
        runs += RUNS_AT_ONCE;
    }
    println!("{}: {} inputs of the corpus, {runs} changed ones", target.name, corpus.len());
}

/// Runs one input, and says all that is needed to run it again when something is wrong.
fn hold(target: &Target, input: &[u8]) {
    let Err(why) = tried(target, input) else { return };
    let small = smaller(target, input);
    let digest = blake3::hash(&small).to_hex();
    let name = format!("{}/{}", target.name, &digest[..16]);
    let saved = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name.replace('/', "-"));
    fs::write(&saved, &small).expect("written");
    let hex: String = small.iter().take(HEX_MAX).map(|byte| format!("{byte:02x}")).collect();
    panic!(
        "{why}\n{} bytes: {hex}\nmend it, and keep the input: cp {} tests/data/fuzz/{name}",
        small.len(),
        saved.display()
    );
}

thread_local! {
    /// What the last panic said, while it is only being tried whether there is one.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics that are looked for are kept, not printed.
fn keep_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let tries =
                PANIC.with_borrow_mut(|said| said.as_mut().map(|said| *said = panic.to_string()));
            if tries.is_none() {
                usual(panic);
            }
        }));
    });
}

/// What an input did wrong.
fn tried(target: &Target, input: &[u8]) -> Result<(), String> {
    let mut read = Ok(None);
    PANIC.set(Some(String::new()));
    let began = Instant::now();
    let counted = allocation_counter::measure(|| {
        read = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    let took = began.elapsed();
    let said = PANIC.take().unwrap_or_default();
    let Ok(read) = read else { return Err(format!("it panicked: {said}")) };
    let kept = u64::try_from(counted.bytes_current).unwrap_or_default();
    let most = counted.bytes_max.saturating_sub(kept);
    let (length, whole) = (input.len() as u64, read.is_some());
    drop(read);
    let each = if target.is_compact { EACH_MAX } else { EACH_OF_TEXTS_MAX };
    if counted.bytes_max > each * length + target.room {
        return Err(format!("it took {} bytes", counted.bytes_max));
    }
    // What was read in vain is gone, and cannot be told from what reading took.
    if whole && target.is_compact && most > BESIDE_MAX * length + kept + target.room {
        return Err(format!("it took {most} bytes beside the {kept} that were read"));
    }
    if took > TIME_MAX {
        let least = at_best(target, input);
        if least > TIME_MAX {
            return Err(format!("it took {least:?}"));
        }
    }
    Ok(())
}

/// How long an input takes where nothing else has the processor: the least of some tries.
fn at_best(target: &Target, input: &[u8]) -> Duration {
    let once = |_| {
        let began = Instant::now();
        drop((target.run)(input));
        began.elapsed()
    };
    (0..TRIES).map(once).min().unwrap_or_default()
}

/// The same fault with fewer bytes, if some can be left out within a moment.
fn smaller(target: &Target, input: &[u8]) -> Vec<u8> {
    let mut best = input.to_vec();
    let until = Instant::now() + SMALLER_WITHIN;
    let mut piece = best.len().div_ceil(2);
    while piece > 0 && Instant::now() < until {
        let mut at = 0;
        let mut shrunk = false;
        while at < best.len() && Instant::now() < until {
            let mut less = best.clone();
            less.drain(at..(at + piece).min(best.len()));
            if tried(target, &less).is_err() {
                best = less;
                shrunk = true;
            } else {
                at += piece;
            }
        }
        if !shrunk {
            piece /= 2;
        }
    }
    best
}

/// An input of the corpus with some of its bytes changed.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.one_of(corpus).clone();
    for _ in 0..=random.below(7) {
        let at = random.below(bytes.len() + 1);
        let many = random.below(16).min(bytes.len() - at);
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.insert(at, random.next() as u8),
            3 => drop(bytes.drain(at..at + many)),
            4 => bytes.truncate(at),
            5 => {
                let copy = bytes[at..at + many].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            6 => {
                let other = random.one_of(corpus);
                let from = random.below(other.len() + 1);
                let length = random.below(other.len() - from + 1).min(random.below(256));
                bytes.splice(at..at, other[from..from + length].iter().copied());
            }
            _ => {
                let number = interesting(random);
                let end = (at + number.len()).min(bytes.len());
                let over = if random.below(2) == 0 { at..end } else { at..at };
                bytes.splice(over, number);
            }
        }
    }
    if random.below(LONG_ONE_IN) == 0 {
        lengthen(&mut bytes, random);
    }
    bytes.truncate(INPUT_MAX);
    bytes
}

/// Says one piece again and again, up to the longest input: what takes more than its length shows.
fn lengthen(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let piece = bytes[at..(at + 1 + random.below(64)).min(bytes.len())].to_vec();
    if piece.is_empty() {
        return;
    }
    let room = INPUT_MAX.saturating_sub(bytes.len());
    let counted = random.below(2) == 0;
    let mut more = Vec::new();
    while more.len() < room {
        more.extend(&piece);
        if counted {
            // So that no two are the same.
            more.extend(format!("{:x}", more.len()).bytes());
        }
    }
    bytes.splice(at..at, more);
}

/// A number at an edge, in one of the spellings that formats here have.
fn interesting(random: &mut Random) -> Vec<u8> {
    let edge = *random.one_of(&EDGES);
    let number = edge.wrapping_add(random.below(3) as u64).wrapping_sub(1);
    match random.below(8) {
        0 => vec![number as u8],
        1 => (number as u16).to_be_bytes().to_vec(),
        2 => (number as u32).to_be_bytes().to_vec(),
        3 => number.to_le_bytes().to_vec(),
        4 => [&[251][..], &(number as u16).to_le_bytes()].concat(),
        5 => [&[252][..], &(number as u32).to_le_bytes()].concat(),
        6 => [&[253][..], &number.to_le_bytes()].concat(),
        _ => number.to_string().into_bytes(),
    }
}

/// Every input that is kept for a target, in order of its name.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder(target)).expect("a corpus");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no corpus", target.name);
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/fuzz").join(target.name)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// SplitMix64: the same inputs from the same seed, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        common::seed::mix(self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Of each target, where nothing else is asked for: all of them in half a minute of two cores.
const SECONDS: u64 = 10;
const RUNS_AT_ONCE: u64 = 64;
/// A long input takes as long as a hundred short ones.
const LONG_ONE_IN: usize = 100;
const INPUT_MAX: usize = 64 << 10;
/// For each byte of input, beside what was read; that itself once more, since lists grow by doubling.
const BESIDE_MAX: u64 = 4;
/// A byte can stand for an empty list or text of a message, and its list may just grow; not for more.
const EACH_MAX: u64 = 64;
/// A byte of a table can be a column; one of a study file, an error of its parser, which keeps all.
const EACH_OF_TEXTS_MAX: u64 = 320;
const TIME_MAX: Duration = Duration::from_millis(100);
/// So that a busy machine does not look like a slow target.
const TRIES: u32 = 5;
const SMALLER_WITHIN: Duration = Duration::from_secs(5);
const HEX_MAX: usize = 4 << 10;
const EDGES: [u64; 14] = [
    0,
    1,
    64,
    127,
    250,
    255,
    256,
    65_535,
    1 << 20,
    1 << 30,
    u32::MAX as u64,
    1 << 56,
    i64::MAX as u64,
    u64::MAX,
];
