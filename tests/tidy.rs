//! The rules of the house that no compiler keeps: floors, headers, sizes, and who may name what.
//!
//! Every rule lists all its breaches as `file:line`. Comments and strings are not code: a rule about
//! code does not see them.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_file_begins_with_a_header_that_ends_with_its_floor() {
    hold(sources().iter().filter_map(|file| {
        let header: Vec<&str> =
            file.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let first = header.first().is_some_and(|line| line.len() > "//! ".len());
        let good = first && header.len() > 1 && file.floor().is_some();
        (!good).then(|| file.at(header.len().max(1), "no header that ends with `//! Floor: …`."))
    }));
}

#[test]
fn a_files_floor_is_that_of_its_folder() {
    hold(sources().iter().filter_map(|file| {
        let expected = match () {
            () if file.is_below(&["common/src"]) => "common",
            () if file.is_below(&PURE) => "core",
            () if file.is_below(&["common/link"]) => "shell",
            () if file.is_below(&["tests", "coordinator/src/cli", "agent/src/cli"]) => "wiring",
            () => return None,
        };
        (file.floor() != Some(expected)).then(|| file.at(1, &format!("its floor is {expected}")))
    }));
}

#[test]
fn pure_files_touch_no_socket_file_clock_thread_or_chance() {
    let pure = |file: &&Source| file.is_below(&["common/src"]) || file.is_below(&PURE);
    hold(sources().iter().filter(pure).flat_map(|file| {
        let mut breaches: Vec<String> =
            IMPURE.iter().flat_map(|name| file.mentions(name)).collect();
        // A test may start threads to show that they change nothing.
        let threads_too = !file.path.ends_with("/tests.rs");
        let std = IMPURE_STD.iter().filter(|name| threads_too || **name != "thread");
        breaches.extend(std.flat_map(|name| file.mentions_in("std", name)));
        breaches
    }));
}

#[test]
fn no_file_imports_upward() {
    hold(CRATES.into_iter().flat_map(|folder| {
        let files: Vec<Source> = sources_below(&[&format!("{folder}/src")]);
        let floors: BTreeMap<String, u8> =
            files.iter().filter_map(|file| Some((file.module(folder)?, file.height()?))).collect();
        let mut breaches = Vec::new();
        for file in &files {
            let Some(own) = file.height() else { continue };
            for (module, height) in &floors {
                // `sample` is there for tests alone.
                if *height > own && module != "sample" {
                    breaches.extend(file.mentions_in("crate", module));
                }
            }
        }
        breaches
    }));
}

#[test]
fn core_modules_do_not_import_across() {
    let all = ["node", "scheduler", "replica", "report", "session", "slurm", "trainer"];
    hold(sources().iter().filter(|file| file.is_below(&PURE)).flat_map(|file| {
        let own = file.path.split('/').nth(2).unwrap_or_default().trim_end_matches(".rs");
        let below: &[&str] = if own == "node" { &["scheduler", "replica"] } else { &[] };
        let across = all.into_iter().filter(|other| *other != own && !below.contains(other));
        across.flat_map(|other| file.mentions_in("crate", other)).collect::<Vec<_>>()
    }));
}

#[test]
fn common_imports_nothing_of_ours() {
    hold(sources_below(&["common/src"]).iter().flat_map(|file| {
        let ours = ["link::", "agent::", "coordinator::"];
        ours.iter().flat_map(|name| file.mentions(name)).collect::<Vec<_>>()
    }));
}

#[test]
fn each_hazard_is_named_in_its_own_place_alone() {
    let places: [(&str, &[&str]); 4] = [
        ("bincode", &["common/src/wire/codec.rs"]),
        ("raft::", &["coordinator/src/replica"]),
        ("kuva", &["coordinator/src/report/figures"]),
        ("redb", &["coordinator/src/disk.rs", "coordinator/src/disk"]),
    ];
    let files = sources();
    hold(places.into_iter().flat_map(|(name, allowed)| {
        let elsewhere = files.iter().filter(|file| !file.is_below(allowed));
        elsewhere.flat_map(|file| file.mentions(name)).collect::<Vec<_>>()
    }));
    for (name, allowed) in places {
        let there = files.iter().filter(|file| file.is_below(allowed));
        assert!(there.map(|file| file.mentions(name).len()).sum::<usize>() > 0, "{name} is unused");
    }
}

#[test]
fn the_coordinator_names_the_agent_only_where_it_embeds_one() {
    let embeds = [
        "coordinator/src/embedded.rs",
        "coordinator/src/cli/run.rs",
        "coordinator/src/cli/demo.rs",
    ];
    let files = sources_below(&["coordinator/src"]);
    let elsewhere = files.iter().filter(|file| !file.is_below(&embeds));
    hold(
        elsewhere.flat_map(|file| file.mentions("agent::driver")).chain(
            files
                .iter()
                .filter(|file| !file.is_below(&embeds))
                .flat_map(|file| file.mentions("use agent::")),
        ),
    );
}

#[test]
fn manifests_keep_the_floors() {
    let refused: [(&str, &[&str]); 4] = [
        ("common", &["tokio", "quinn", "candle-core", "candle-nn", "raft", "redb", "link"]),
        ("agent", &["coordinator", "raft", "redb"]),
        ("common/link", &["agent", "coordinator", "candle-core", "raft", "redb"]),
        ("agent/kernels", &["common", "link", "agent", "coordinator", "tokio", "raft", "redb"]),
    ];
    hold(refused.into_iter().flat_map(|(folder, refused)| {
        let depends = dependencies(folder);
        let breaches = refused.iter().filter(move |name| depends.contains_key(**name));
        breaches.map(move |name| format!("{folder}/Cargo.toml: depends on {name}"))
    }));
    let agent = &dependencies("coordinator")["agent"];
    assert!(agent.contains("optional = true"), "the coordinator can be built without an agent");
}

#[test]
fn files_have_600_lines_at_most() {
    hold(sources().iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| file.at(lines, &format!("{lines} lines")))
    }));
}

#[test]
fn functions_have_70_lines_at_most() {
    hold(sources().iter().flat_map(|file| {
        let long = functions(&file.code).into_iter().filter(|f| f.lines > FUNCTION_LINES_MAX);
        long.map(|f| file.at(f.line, &format!("{} has {} lines", f.name, f.lines)))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn every_test_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("readable");
    let lines = text.lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {lines} lines");
    let files = sources();
    let held_by = text.lines().skip_while(|line| *line != "## Invariants").skip(1);
    let rows: Vec<&str> = held_by.filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 2, "the invariants are a table");
    hold(rows.into_iter().flat_map(|row| {
        let tests = row.rsplit(" | ").next().unwrap_or_default().split('`').skip(1).step_by(2);
        let absent = tests.filter(|name| {
            let declared = format!("fn {name}");
            files.iter().all(|file| file.mentions(&declared).is_empty())
        });
        absent.map(|name| format!("ARCHITECTURE.md: no test {name}")).collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_is_left_for_later() {
    let later = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut files = Vec::new();
    walk(&root(), &mut files);
    hold(files.into_iter().filter(|path| !path.contains("/data/")).flat_map(|path| {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_default();
        let lines = text.lines().enumerate();
        let found = lines.filter(|(_, line)| later.iter().any(|word| line.contains(word)));
        found.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())).collect::<Vec<_>>()
    }));
}

#[test]
fn the_top_level_holds_what_the_design_draws() {
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("readable");
    let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
    hold(fs::read_dir(root()).expect("readable").filter_map(|entry| {
        let name = entry.expect("readable").file_name().into_string().expect("text");
        let known = TOP_LEVEL.contains(&name.as_str()) || ignored.contains(&name.as_str());
        (!known).then(|| format!("{name}: not in the design"))
    }));
}

#[test]
fn the_reader_of_code_sees_neither_comments_nor_strings() {
    let text = "let a = \"fn b() { // \\\" {\"; // fn c() {\n/* { /* { */ */ let d = '{'; 'e: loop {}\n\
                let f = r#\"\" { \"#; let g = b'\\''; h::<'static>()";
    let code = code(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for gone in ["fn b", "fn c", "'{'", "\" {"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    for there in ["let a", "let d", "loop {}", "let f", "let g", "h::<'static>()"] {
        assert!(code.contains(there), "{there} in {code}");
    }
    let lengths =
        functions("fn a<T: Fn() -> u8>(b: [u8; 3])\nwhere\n    T: C,\n{\n}\nfn d();\nfn e() {}");
    let lengths: Vec<(&str, usize, usize)> =
        lengths.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(lengths, [("a", 1, 5), ("e", 7, 1)]);
}

/// One Rust file of ours.
struct Source {
    /// From the top level.
    path: String,
    text: String,
    /// The text with comments and strings blanked out, line for line.
    code: String,
}

impl Source {
    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    fn is_below(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.path
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The word of the header's last line.
    fn floor(&self) -> Option<&str> {
        let last = self.text.lines().take_while(|line| line.starts_with("//!")).last()?;
        let word = last.strip_prefix("//! Floor: ")?.strip_suffix('.')?;
        FLOORS.contains(&word).then_some(word)
    }

    fn height(&self) -> Option<u8> {
        let floor = self.floor()?;
        FLOORS.iter().position(|known| *known == floor).map(|height| height as u8)
    }

    /// The module of its crate that this file is the root of.
    fn module(&self, folder: &str) -> Option<String> {
        let rest = self.path.strip_prefix(&format!("{folder}/src/"))?;
        let name = rest.strip_suffix("/mod.rs").or_else(|| rest.strip_suffix(".rs"))?;
        (!name.contains('/') && !["lib", "main"].contains(&name)).then(|| name.to_string())
    }

    /// Lines of code with `name` as words of their own.
    fn mentions(&self, name: &str) -> Vec<String> {
        let lines = self.code.lines().enumerate();
        let found = lines.filter(|(_, line)| has_word(line, name));
        found.map(|(at, line)| self.at(at + 1, line.trim())).collect()
    }

    /// Lines of code with `parent::name`, or with `name` in a list `parent::{…}`.
    fn mentions_in(&self, parent: &str, name: &str) -> Vec<String> {
        let mut found = self.mentions(&format!("{parent}::{name}"));
        let list = format!("{parent}::{{");
        for (start, _) in self.code.match_indices(&list) {
            let inside = &self.code[start + list.len()..];
            let mut depth = 0usize;
            let mut item_begins = true;
            for (at, c) in inside.char_indices() {
                if item_begins && depth == 0 && starts_with_word(&inside[at..], name) {
                    let line = self.code[..start + list.len() + at].matches('\n').count() + 1;
                    found.push(self.at(line, &format!("{parent}::{name}")));
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                item_begins = c == ',' || (item_begins && c.is_whitespace());
            }
        }
        found
    }
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body, from `fn` to its closing brace.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let own_word = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[start + "fn ".len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !own_word || name.is_empty() {
            continue;
        }
        let Some(length) = body_end(rest) else { continue };
        let line = code[..start].matches('\n').count() + 1;
        let lines = rest[..length].matches('\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

/// Where the body that begins after a signature ends; `None` for a signature alone.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0usize, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return Some(at),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// The text without what is in comments and between quotes; every line stays on its line.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = comment(&bytes[at..])
            .or_else(|| {
                quoted(&bytes[at..], code.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
            .filter(|length| *length > 0);
        let Some(length) = length else {
            let c = text[at..].chars().next().unwrap_or(' ');
            code.push(c);
            at += c.len_utf8();
            continue;
        };
        let end = (at + length).min(bytes.len());
        code.extend(bytes[at..end].iter().filter(|byte| **byte == b'\n').map(|_| '\n'));
        code.push(' ');
        at = end;
    }
    code
}

/// Length of a comment that begins here.
fn comment(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"//") {
        return Some(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    }
    if !bytes.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// Length of a string or character that begins here; a lifetime is neither.
fn quoted(bytes: &[u8], in_word: bool) -> Option<usize> {
    let prefix = match bytes {
        [b'b' | b'c', b'r', ..] if !in_word => 2,
        [b'r' | b'b' | b'c', ..] if !in_word => 1,
        _ => 0,
    };
    let rest = &bytes[prefix..];
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    let raw = prefix > 0 && bytes[prefix - 1] == b'r';
    if raw && rest.get(hashes) == Some(&b'"') {
        let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
        let body = &rest[hashes + 1..];
        let length = body.windows(end.len()).position(|window| window == end)?;
        return Some(prefix + hashes + 1 + length + end.len());
    }
    match rest {
        [b'"', body @ ..] if !raw => Some(prefix + 1 + closed_by(body, b'"')),
        [b'\'', b'\\', ..] => Some(prefix + 1 + closed_by(&rest[1..], b'\'')),
        [b'\'', body @ ..] => {
            // A character of any length in UTF-8, closed at once; else a lifetime.
            let width = std::str::from_utf8(&body[..body.len().min(4)])
                .map_or_else(|e| e.valid_up_to(), str::len);
            let first = std::str::from_utf8(&body[..width]).ok()?.chars().next()?;
            (body.get(first.len_utf8()) == Some(&b'\'')).then(|| prefix + 2 + first.len_utf8())
        }
        _ => None,
    }
}

/// Bytes up to and with the next `quote` that no backslash hides.
fn closed_by(body: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

fn has_word(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && starts_with_word(&line[at..], name)
    })
}

fn starts_with_word(text: &str, name: &str) -> bool {
    text.strip_prefix(name).is_some_and(|rest| {
        name.ends_with("::") || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// Name → the rest of its line, of a manifest's `[dependencies]`.
fn dependencies(folder: &str) -> BTreeMap<String, String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("readable");
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let entries: BTreeMap<String, String> = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(['.', ' ', '=']))
        .map(|(name, rest)| (name.to_string(), rest.to_string()))
        .collect();
    assert!(!entries.is_empty(), "{folder}/Cargo.toml has no dependencies");
    entries
}

fn sources() -> Vec<Source> {
    sources_below(&["common", "coordinator", "agent", "tests"])
}

fn sources_below(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut paths));
    let files: Vec<Source> = paths
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).expect("readable");
            let code = code(&text);
            Source { path, text, code }
        })
        .collect();
    assert!(!files.is_empty(), "no sources below {folders:?}");
    files
}

/// Every file below `folder`, as a path from the top level, in order.
fn walk(folder: &Path, files: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !["target", ".git", "__pycache__"].contains(&name) {
                walk(&path, files);
            }
        } else if let Ok(below) = path.strip_prefix(root()) {
            files.push(below.to_string_lossy().into_owned());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Fails with all breaches at once.
fn hold(breaches: impl IntoIterator<Item = String>) {
    let breaches: Vec<String> = breaches.into_iter().collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// From below.
const FLOORS: [&str; 4] = ["common", "core", "shell", "wiring"];

const CRATES: [&str; 4] = ["common", "coordinator", "agent", "agent/kernels"];

/// What decides, apart from `common`.
const PURE: [&str; 7] = [
    "coordinator/src/node",
    "coordinator/src/scheduler",
    "coordinator/src/replica",
    "coordinator/src/report",
    "coordinator/src/slurm",
    "agent/src/session",
    "agent/src/trainer",
];

const IMPURE: [&str; 10] = [
    "tokio",
    "quinn",
    "link::",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread_rng",
    "rand::random",
];

const IMPURE_STD: [&str; 6] = ["fs", "net", "thread", "env", "process", "io"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const ARCHITECTURE_LINES_MAX: usize = 150;

const TOP_LEVEL: [&str; 17] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "common",
    "coordinator",
    "agent",
    "deploy",
    "tests",
    ".ci",
    ".cargo",
    ".clippy.toml",
    ".git",
    ".gitignore",
    ".rustfmt.toml",
];
