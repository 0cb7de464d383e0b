//! The real programs as processes: started in a folder of their own, waited for with deadlines, and
//! killed when a test ends.
//!
//! No process outlives its test, and none sees the user's own folders or settings. What the
//! processes of a failed test wrote to stderr is printed. Deliberately absent: fixed waits; a test
//! waits for what it needs, and a deadline only bounds how long.
//!
//! Floor: wiring.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Coordinator,
    Agent,
}

/// A folder for one test: the home of its processes, and where their words are kept.
pub struct Site {
    dir: TempDir,
    started: AtomicU32,
    /// What every process logs; `None`: its own default.
    pub log: Option<&'static str>,
}

/// How a process that ran to its end ended.
#[derive(Debug)]
pub struct Answer {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

/// A process in the background; killed when dropped.
pub struct Running {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join(LOGS)).expect("made");
        Self { dir, started: AtomicU32::new(0), log: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Runs a command to its end.
    pub fn run(&self, program: Program, arguments: &[&str]) -> Answer {
        self.run_with(program, arguments, &[])
    }

    /// Runs a command to its end, with further variables.
    pub fn run_with(&self, program: Program, arguments: &[&str], env: &[(&str, &str)]) -> Answer {
        self.run_in(None, program, arguments, env)
    }

    /// Runs a command to its end in a network namespace.
    pub fn run_in(
        &self,
        netns: Option<&str>,
        program: Program,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Answer {
        let mut running = self.spawn_in(netns, program, arguments, env);
        let status = running.ends();
        running.answer(status)
    }

    /// As [`Site::run_in`], but one that takes too long is killed: `None`.
    pub fn run_within(
        &self,
        within: Duration,
        netns: Option<&str>,
        program: Program,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut running = self.spawn_in(netns, program, arguments, env);
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = running.ended() {
                return Some(running.answer(status));
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        None
    }

    /// Starts a process that goes on in the background.
    pub fn spawn(&self, program: Program, arguments: &[&str], env: &[(&str, &str)]) -> Running {
        self.spawn_in(None, program, arguments, env)
    }

    /// Starts it in a network namespace.
    pub fn spawn_in(
        &self,
        netns: Option<&str>,
        program: Program,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = arguments.first().unwrap_or(&"").replace('/', "-");
        let log = |ending| self.path(&format!("{LOGS}/{number:03}-{name}.{ending}"));
        let (stdout, stderr) = (log("out"), log("err"));
        let mut command = match netns {
            None => Command::new(program.path()),
            // It becomes the program: a signal to it is a signal to the program.
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(program.path());
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .envs(self.log.map(|filter| ("RUST_LOG", filter)))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("made"))
            .stderr(File::create(&stderr).expect("made"));
        let child = command.spawn().expect("the program starts");
        let command = format!("{program:?} {}", arguments.join(" "));
        Running { child, command, stdout, stderr }
    }
}

impl Drop for Site {
    /// The folder of a failed test is kept on demand, to be looked at.
    fn drop(&mut self) {
        if thread::panicking() && std::env::var_os("SEEDSWEEP_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("--- kept {}", self.dir.path().display());
        }
    }
}

impl Program {
    /// The binary that was built beside this test.
    fn path(self) -> PathBuf {
        let name = match self {
            Program::Coordinator => "coordinator",
            Program::Agent => "agent",
        };
        let this = std::env::current_exe().expect("this test's path");
        let profile = this.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
        let path = profile.join(name);
        let built = path.is_file();
        assert!(built, "{} is missing: cargo build --workspace --bins", path.display());
        path
    }
}

impl Answer {
    /// Asserts that the command succeeded.
    pub fn done(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Asserts the exit status of a failure; returns what was said about it.
    pub fn failed(self, status: i32) -> String {
        assert_eq!(self.status.code(), Some(status), "{self}");
        self.stderr
    }

    /// Its stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, command } = self;
        write!(f, "{command}\n{status}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

impl Running {
    /// SIGKILL: no last words, no last write.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ended");
    }

    /// Its number at the operating system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ctrl-C, as a terminal sends it.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Any signal, by its short name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
        assert!(sent.success(), "{kill}");
    }

    /// One number of `/proc/PID/status`, in KiB: `VmRSS` now, `VmHWM` the most there was.
    pub fn memory_kib(&self, which: &str) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(which)).expect("such a line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Of all its threads, since it was started.
    pub fn processor_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("it runs");
        // After the name, which may hold anything: user and system time, in hundredths.
        let numbers = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: u64 = numbers.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        ticks as f64 / 100.0
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits for its end.
    pub fn ends(&mut self) -> ExitStatus {
        self.ends_within(WITHIN)
    }

    /// Waits for the end of long work.
    pub fn ends_within(&mut self, within: Duration) -> ExitStatus {
        let command = self.command.clone();
        eventually_within(within, &format!("the end of {command}"), || self.ended())
    }

    fn answer(&self, status: ExitStatus) -> Answer {
        let (stdout, stderr) = (self.stdout(), self.stderr());
        Answer { status, stdout, stderr, command: self.command.clone() }
    }

    pub fn stderr_path(&self) -> &Path {
        &self.stderr
    }

    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits until its stderr has a line with `part`; returns the line.
    pub fn says(&self, part: &str) -> String {
        let what = format!("{part:?} from {}", self.command);
        eventually(&what, || self.stderr().lines().find(|l| l.contains(part)).map(str::to_string))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of {}\n{}", self.command, last_lines(&self.stderr()));
        }
    }
}

/// Looks again and again until there is something.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(WITHIN, what, look)
}

fn eventually_within<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < within, "waited {} s for {what}", within.as_secs());
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// The end of what a process said.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// Runs a command with something on its stdin; what it printed, or what it said.
pub fn run(command: &mut Command, stdin: &str) -> Result<String, String> {
    let name = format!("{command:?}");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| format!("{name}: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing may be gone.
        let _ = input.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{name}: {}", text(&output.stderr))),
    }
}

/// Every file below a folder, with its bytes.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).expect("readable");
            files.push((path, bytes));
        }
    }
    files
}

fn text(path: &Path) -> String {
    // While a failed test is taken down, its folder may be gone already.
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Far above what a busy machine needs: reached only when something hangs.
const WITHIN: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const LINES_SHOWN: usize = 40;
const LOGS: &str = "words";
