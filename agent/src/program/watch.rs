//! A program while it runs: started through the shim, read, looked at, and ended with all it started.
//!
//! Floor: shell.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::curve::Curve;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::cgroup::Group;
use super::curve::{self, Told};
use super::place::Place;
use super::results::{Exit, Line, in_words, json_line, metric_line};
use super::{Live, locked, processes};

/// How a program's run ended.
#[derive(Debug)]
pub enum Ran {
    /// `memory_ran_out`: the system said that it killed for want of memory meanwhile.
    Exited { exit: Exit, memory_ran_out: bool },
    /// It was told to end when its time was up.
    TimeLimit,
    /// It held more than it may.
    Memory { used_mib: u64 },
    /// This agent was told to stop it.
    Stopped,
}

impl Ran {
    /// Whether it was ended from outside of its trial: it was stopped, or ended by what tells this agent to
    /// leave, such as a manager of machines that signals to all processes of a job.
    pub fn was_stopped(&self, agent_leaves: &dyn Fn() -> bool) -> bool {
        match self {
            Self::Stopped => true,
            Self::Exited { exit, .. } => exit.was_told() && agent_leaves(),
            Self::TimeLimit | Self::Memory { .. } => false,
        }
    }
}

/// A program that runs. Ended with all it started when dropped.
pub struct Watched<'a> {
    child: Child,
    group: Pid,
    place: &'a Place,
    cgroup: Option<Group>,
    live: Arc<Live>,
    metric: Arc<Mutex<Metrics>>,
    readers: mpsc::Receiver<()>,
    kills_before: u64,
    over: bool,
}

/// What lines of stdout said that began with `::metric`.
struct Metrics {
    last: Option<Line>,
    told: Told,
}

impl<'a> Watched<'a> {
    /// `told`: where the curve is gathered of what the program says.
    pub fn start(
        place: &'a Place,
        cgroup: Option<Group>,
        live: &Arc<Live>,
        told: Told,
    ) -> io::Result<Self> {
        let mut command = Command::new(SELF);
        command.args(["exec", "--parent", &std::process::id().to_string()]);
        if let Some(group) = &cgroup {
            command.arg("--cgroup").arg(group.path());
        }
        command.arg("--").args(&place.command);
        command.env_clear().envs(place.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&place.files).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let (done, readers) = mpsc::channel();
        let metric = Arc::new(Mutex::new(Metrics { last: None, told }));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut watched = Self {
            child,
            group,
            place,
            cgroup,
            live: Arc::clone(live),
            metric,
            readers,
            kills_before: processes::kills_for_memory(),
            over: false,
        };
        let metric = Some(Arc::clone(&watched.metric));
        let streams: [(Option<Box<dyn Read + Send>>, _); 2] = [
            (stdout.map(|pipe| Box::new(pipe) as _), metric),
            (stderr.map(|pipe| Box::new(pipe) as _), None),
        ];
        for (pipe, metric) in streams {
            let Some(pipe) = pipe else { continue };
            let (live, done) = (Arc::clone(live), done.clone());
            let read = move || {
                read_all(pipe, &live, metric.as_ref());
                drop(done);
            };
            let spawned = thread::Builder::new().name("program".to_string()).spawn(read);
            if let Err(error) = spawned {
                watched.end_all();
                return Err(error);
            }
        }
        Ok(watched)
    }

    /// Waits for its end, or ends it.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Ran {
        let began = Instant::now();
        let limit = (self.place.time_limit_s > 0)
            .then(|| Duration::from_secs(u64::from(self.place.time_limit_s)));
        let memory_max = u64::from(self.place.memory_mib) << 20;
        let (mut memory_at, mut progress_at) = (began, began);
        let mut pause = PAUSE_FIRST;
        loop {
            if let Some(exit) = self.exit() {
                let memory_ran_out = self.memory_ran_out();
                self.end_all();
                return Ran::Exited { exit, memory_ran_out };
            }
            let now = Instant::now();
            if stop() {
                self.ask_to_end(GRACE_OF_STOP);
                return Ran::Stopped;
            }
            if limit.is_some_and(|limit| now - began >= limit) {
                self.ask_to_end(GRACE);
                return Ran::TimeLimit;
            }
            if memory_max > 0 && now >= memory_at {
                memory_at = now + MEMORY_EVERY;
                let used = processes::memory(self.group, memory_max);
                if used > memory_max {
                    self.end_all();
                    return Ran::Memory { used_mib: used >> 20 };
                }
            }
            if now >= progress_at {
                progress_at = now + PROGRESS_EVERY;
                self.see_progress();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// The line that counts: the last one in the file, else the last `::metric` of stdout. Asked
    /// after the end.
    pub fn last_line(&self) -> Option<Result<Line, String>> {
        // What a killed process wrote is read in a moment; one that escaped is not waited for.
        let until = Instant::now() + READ_WITHIN;
        while self.readers.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        match last_line(&self.place.out, true) {
            Some(text) => Some(json_line(&text)),
            None => locked(&self.metric).last.clone().map(Ok),
        }
    }

    /// The curve of the lines among which the one that counts is. Asked after [`Watched::last_line`].
    pub fn curve(&self) -> Option<Curve> {
        let told = locked(&self.metric).told.clone();
        match last_line(&self.place.out, true) {
            Some(_) => curve::of_file(&self.place.out, told),
            None => told.curve(),
        }
    }

    /// How it ended, if it has; it stays a zombie, so that its number is nobody else's.
    fn exit(&self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.group), options).ok().flatten()?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Some(Exit::Status(status)),
            (None, Some(signal)) => Some(Exit::Signal(signal)),
            (None, None) => None,
        }
    }

    fn memory_ran_out(&self) -> bool {
        let of_group = self.cgroup.as_ref().is_some_and(|group| group.kills_for_memory() > 0);
        of_group || processes::kills_for_memory() > self.kills_before
    }

    /// SIGTERM to all, and after the grace time SIGKILL.
    fn ask_to_end(&mut self, grace: Duration) {
        processes::signal_group(self.group, Signal::TERM);
        let until = Instant::now() + grace;
        while self.exit().is_none() && Instant::now() < until {
            thread::sleep(PAUSE_LONGEST);
        }
        self.end_all();
    }

    /// Nothing that it started goes on.
    fn end_all(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        processes::signal_group(self.group, Signal::KILL);
        if let Some(group) = &self.cgroup {
            group.kill();
        }
        processes::kill_those_of(&self.place.folder);
        let _ = self.child.wait();
    }

    fn see_progress(&self) {
        let line = last_line(&self.place.out, false).and_then(|text| json_line(&text).ok());
        let line = line.or_else(|| locked(&self.metric).last.clone());
        if let Some(line) = line {
            locked(&self.live.progress).words = in_words(&line);
        }
    }
}

impl Metrics {
    fn take(&mut self, said: Line) {
        self.told.take(&said);
        self.last = Some(said);
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// Keeps the last of a stream, and of its lines those that tell a metric.
fn read_all(mut pipe: Box<dyn Read + Send>, live: &Live, metric: Option<&Arc<Mutex<Metrics>>>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut line: Vec<u8> = Vec::new();
    let mut too_long = false;
    while let Ok(length) = pipe.read(&mut chunk) {
        if length == 0 {
            break;
        }
        locked(&live.tail).push(&chunk[..length]);
        let Some(metric) = metric else { continue };
        for piece in chunk[..length].split_inclusive(|byte| *byte == b'\n') {
            too_long |= line.len() + piece.len() > LINE_MAX;
            if !too_long {
                line.extend(piece);
            }
            if piece.ends_with(b"\n") {
                let said = (!too_long).then(|| metric_line(&String::from_utf8_lossy(&line)));
                if let Some(Some(said)) = said {
                    locked(metric).take(said);
                }
                line.clear();
                too_long = false;
            }
        }
    }
    if let (Some(metric), Some(said)) = (metric, metric_line(&String::from_utf8_lossy(&line))) {
        locked(metric).take(said);
    }
}

/// The last line of a file that is not blank, however long the file; with `unended` one without a
/// newline behind it too.
fn last_line(path: &Path, unended: bool) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.seek(SeekFrom::Start(about.len().saturating_sub(LINE_MAX as u64))).ok()?;
    let mut bytes = Vec::new();
    file.take(LINE_MAX as u64).read_to_end(&mut bytes).ok()?;
    if !unended {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n')? + 1);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_string)
}

/// This program, even when its file was replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// How often memory is looked at.
pub const MEMORY_EVERY: Duration = Duration::from_millis(100);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The same for a trial that is nobody's any more.
const GRACE_OF_STOP: Duration = Duration::from_secs(2);
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
const READ_WITHIN: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LONGEST: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 64 << 10;
const LINE_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_ended_together_with_its_agent_was_stopped() {
        let exited = |exit| Ran::Exited { exit, memory_ran_out: false };
        let (leaves, stays) = (|| true, || false);
        for told in [Exit::Signal(15), Exit::Signal(2), Exit::Status(143)] {
            assert!(exited(told).was_stopped(&leaves) && !exited(told).was_stopped(&stays));
        }
        // Its own end is its own, whatever its agent does.
        for own in [Exit::Status(0), Exit::Status(1), Exit::Signal(11)] {
            assert!(!exited(own).was_stopped(&leaves), "{own:?}");
        }
        assert!(Ran::Stopped.was_stopped(&stays) && !Ran::TimeLimit.was_stopped(&leaves));
    }
}
