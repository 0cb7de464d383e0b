//! Programs of users: started, watched, and asked how well they did.
//!
//! A program is arbitrary code: it runs only on an agent that was told to allow it, with the rights
//! of the agent's user and under limits, in a folder of its own, its environment cleared to a list.
//! None of its processes outlives its attempt. Deliberately absent: a shell; arguments are passed on
//! as they are.
//!
//! Floor: shell.

mod attempt;
mod cgroup;
mod curve;
mod data;
mod held_out;
mod log;
mod place;
mod processes;
mod results;
mod scores;
mod shim;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::id::{Digest, LeaseId, StudyId, TrialIndex};
use common::study::{Data, Study};
use common::table::Dataset;
use common::trial::Ending;
use common::wire::message::LogPart;

use crate::dataset::Datasets;
use crate::driver::{Job, Train, Trainer};

pub use shim::{ExecArgs, exec};

use cgroup::Delegated;
use data::DataFile;
use log::{Logs, Tail, only_newest};
use place::Place;

/// Runs the programs of one agent, and trains what is no program.
pub struct Programs {
    folder: PathBuf,
    datasets: Datasets,
    /// Why memory is watched and not limited.
    cgroups: Result<Delegated, String>,
    /// Numbers of the graphics cards that programs may use.
    cards: Vec<String>,
    /// Places of attempts that run now; each has its card.
    taken: Mutex<BTreeSet<usize>>,
    running: Mutex<BTreeMap<(StudyId, TrialIndex), Arc<Live>>>,
    logs: Logs,
    /// Whether this agent was told to leave.
    leaving: AtomicBool,
    /// Of arms that are no programs.
    trainer: Trainer,
    files: Mutex<BTreeMap<Digest, DataFile>>,
}

/// An attempt that runs.
#[derive(Debug)]
struct Live {
    lease: LeaseId,
    tail: Mutex<Tail>,
    progress: Mutex<Progress>,
}

/// What a program said last of how far it is.
#[derive(Debug, Default)]
struct Progress {
    words: String,
    told: Option<(String, Instant)>,
}

impl Programs {
    /// `folder` is made; `cache` and `shared` are where data files may be. Ends whatever an earlier
    /// life of this agent left running.
    pub fn open(
        folder: &Path,
        cache: PathBuf,
        shared: Vec<PathBuf>,
        trainer: Trainer,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        // Data are written anew in each life, and under names of their own.
        data::clear(&folder.join(DATA))?;
        for name in [WORK, FAILED, CHECKPOINTS, DATA] {
            fs::create_dir_all(folder.join(name))?;
        }
        processes::kill_those_of(&folder.join(WORK));
        for left in fs::read_dir(folder.join(WORK))? {
            set_aside(&folder, &left?.path(), "the agent died")?;
        }
        only_newest(&folder.join(CHECKPOINTS), CHECKPOINTS_KEPT, &|_| false)?;
        let logs = Logs::open(folder.join("logs"))?;
        Ok(Self {
            datasets: Datasets::new(cache, shared),
            cgroups: Delegated::find(),
            cards: cards(),
            taken: Mutex::default(),
            running: Mutex::default(),
            logs,
            leaving: AtomicBool::new(false),
            trainer,
            files: Mutex::default(),
            folder,
        })
    }

    /// How memory is limited here, for people.
    pub fn limits_in_words(&self) -> String {
        match &self.cgroups {
            Ok(_) => "a control group limits the memory and processes of each".to_string(),
            Err(why) => format!(
                "their memory is looked at every {} ms and not limited by the system: {why}",
                watch::MEMORY_EVERY.as_millis()
            ),
        }
    }

    /// What running programs said of how far they are and was not told yet; of each once a second.
    pub fn progress(&self) -> Vec<(LeaseId, String)> {
        let now = Instant::now();
        let running: Vec<Arc<Live>> = locked(&self.running).values().map(Arc::clone).collect();
        let news = |live: &Arc<Live>| {
            let mut progress = locked(&live.progress);
            let early = |at: &Instant| now.duration_since(*at) < TOLD_EVERY;
            let old = progress
                .told
                .as_ref()
                .is_some_and(|(words, at)| *words == progress.words || early(at));
            if old || progress.words.is_empty() {
                return None;
            }
            progress.told = Some((progress.words.clone(), now));
            Some((live.lease, progress.words.clone()))
        };
        running.iter().filter_map(news).collect()
    }

    /// What a trial's program wrote, from byte `from` on; `None` when nothing is kept of it.
    pub fn log(&self, study: StudyId, trial: TrialIndex, from: u64) -> Option<LogPart> {
        let live = locked(&self.running).get(&(study, trial)).map(Arc::clone);
        match live {
            Some(live) => {
                let kept = locked(&live.tail).kept();
                let words = locked(&live.progress).words.clone();
                Some(log::part(live.lease, &kept, from, (true, words)))
            }
            None => self.logs.read(study, trial, from),
        }
    }

    fn begin(&self, job: &Job, trial: TrialIndex) -> Arc<Live> {
        let lease = job.lease;
        let live = Arc::new(Live { lease, tail: Mutex::default(), progress: Mutex::default() });
        locked(&self.running).insert((job.id, trial), Arc::clone(&live));
        live
    }

    fn end(&self, job: &Job, trial: TrialIndex, live: &Live, state: &str) {
        let kept = locked(&live.tail).kept();
        if let Err(error) = self.logs.keep((job.id, trial), live.lease, &kept, state) {
            tracing::warn!(%error, "what a program wrote could not be kept");
        }
        locked(&self.running).remove(&(job.id, trial));
    }

    /// Removes what nobody needs any more of an attempt's folders: all of one that went well, and of
    /// those that failed all but the last few.
    fn tidy(&self, place: &Place, ending: Option<&Ending>, state: &str) -> io::Result<()> {
        match ending {
            Some(Ending::Failed { .. }) => set_aside(&self.folder, &place.folder, state)?,
            _ => {
                data::remove_all(&place.folder.join(DATA));
                fs::remove_dir_all(&place.folder)?;
            }
        }
        let over = match ending {
            Some(Ending::Complete(_)) => true,
            Some(Ending::Failed { reason, .. }) => reason.is_final(),
            None => false,
        };
        if over {
            fs::remove_dir_all(&place.checkpoint)?;
        }
        let running: BTreeSet<String> =
            locked(&self.running).keys().map(|(study, trial)| format!("{study}-{trial}")).collect();
        let in_use = |name: &OsStr| name.to_str().is_some_and(|name| running.contains(name));
        only_newest(&self.folder.join(CHECKPOINTS), CHECKPOINTS_KEPT, &in_use)
    }

    /// A data file or folder that programs may read, with the study's bytes.
    fn data_file(&self, data: &Data) -> Result<DataFile, String> {
        // A folder may have many files: they are not looked at while others wait.
        let known = locked(&self.files).get(&data.digest).cloned();
        if let Some(known) = known.filter(DataFile::is_unchanged) {
            return Ok(known);
        }
        let mut files = locked(&self.files);
        let before = files.get(&data.digest);
        if let Some(known) = before.filter(|known| known.is_unchanged()) {
            return Ok(known.clone());
        }
        let file = DataFile::put(&self.folder.join(DATA), data, &self.bytes(data)?, before)?;
        files.insert(data.digest, file.clone());
        Ok(file)
    }

    /// The verified bytes of a study's data.
    fn bytes(&self, data: &Data) -> Result<Vec<u8>, String> {
        let gone = || "the data file is not on this machine any more".to_string();
        self.datasets.find(data).ok_or_else(gone)
    }

    /// Whether this agent leaves, or is told so in a moment: who ends a program may tell the agent too, in
    /// whatever order.
    fn leaves(&self) -> bool {
        let until = Instant::now() + TOLD_WITHIN;
        loop {
            if self.leaving.load(Ordering::Relaxed) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(TOLD_WITHIN / 50);
        }
    }

    /// The lowest free place, and the card that goes with it.
    fn take_place(&self) -> (usize, Option<String>) {
        let mut taken = locked(&self.taken);
        let free = (0..).find(|place| !taken.contains(place)).unwrap_or_default();
        taken.insert(free);
        let card = self.cards.get(free % self.cards.len().max(1)).cloned();
        (free, card)
    }

    fn leave_place(&self, place: usize) {
        locked(&self.taken).remove(&place);
    }
}

impl Drop for Programs {
    /// Folders that are read-only would stay where all else is removed.
    fn drop(&mut self) {
        let _ = data::clear(&self.folder.join(DATA));
    }
}

impl Train for Programs {
    fn train(
        &self,
        study: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        self.trainer.train(study, dataset, trials, stop)
    }

    fn train_job(&self, job: &Job, stop: &dyn Fn() -> bool) -> Option<Vec<Ending>> {
        if !job.has_programs() {
            return self.train(&job.study, &job.dataset, &job.trials, stop);
        }
        job.trials.iter().map(|trial| attempt::run(self, job, *trial, stop)).collect()
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.trainer.leave();
    }

    fn checkpoint(&self, study: &Study, trial: TrialIndex) -> Option<Vec<u8>> {
        self.trainer.checkpoint(study, trial)
    }

    fn take_checkpoint(&self, study: &Study, trial: TrialIndex, bytes: &[u8]) -> bool {
        self.trainer.take_checkpoint(study, trial, bytes)
    }

    fn resumed(&self) -> Vec<u32> {
        self.trainer.resumed()
    }

    fn programs(&self) -> Option<&Programs> {
        Some(self)
    }
}

/// What the variable says, else every card of this machine.
fn cards() -> Vec<String> {
    if let Ok(listed) = std::env::var("CUDA_VISIBLE_DEVICES") {
        return listed.split(',').map(|card| card.trim().to_string()).collect();
    }
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    let number = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_prefix("nvidia")?.parse::<u32>().ok()
    };
    let numbers: BTreeSet<u32> = entries.filter_map(number).collect();
    numbers.into_iter().map(|number| number.to_string()).collect()
}

/// Keeps the folder of an attempt that failed, with why it did.
fn set_aside(folder: &Path, attempt: &Path, state: &str) -> io::Result<()> {
    // A control's own copy of the data is not kept to be looked at.
    data::remove_all(&attempt.join(DATA));
    // The newest stay, and this makes it one of them.
    fs::write(attempt.join("ending.txt"), format!("{state}\n"))?;
    let failed = folder.join(FAILED);
    let name = attempt.file_name().unwrap_or_default();
    let _ = fs::remove_dir_all(failed.join(name));
    fs::rename(attempt, failed.join(name))?;
    only_newest(&failed, FAILED_KEPT, &|_| false)
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const WORK: &str = "work";
const FAILED: &str = "failed";
const CHECKPOINTS: &str = "checkpoints";
const DATA: &str = "data";
/// Folders of attempts that failed, kept to be looked at.
const FAILED_KEPT: usize = 4;
/// Checkpoints of trials that did not end here.
const CHECKPOINTS_KEPT: usize = 64;
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Between a signal to a program and the same one to its agent.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_told_to_leave_a_moment_later_leaves() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name| dir.path().join(name);
        let opened =
            Programs::open(&path("programs"), path("data"), Vec::new(), Trainer::new(None));
        let programs = opened.expect("opened");
        let began = Instant::now();
        assert!(!programs.leaves() && began.elapsed() >= TOLD_WITHIN);
        thread::scope(|scope| {
            let asked = scope.spawn(|| programs.leaves());
            thread::sleep(TOLD_WITHIN / 10);
            programs.leave();
            assert!(asked.join().expect("no panic"));
        });
    }
}
