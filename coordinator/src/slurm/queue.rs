//! Slurm's queue and its times, as `squeue` and `sbatch` write them.
//!
//! Fields are asked for by name and read by place: `squeue --json` is not everywhere.
//!
//! Floor: core.

use thiserror::Error;

/// One job, or one element of an array of jobs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// `123`, or `123_4` of an array.
    pub id: String,
    pub state: JobState,
    /// Its name, which says whose it is.
    pub name: String,
    /// How long it has run, as Slurm writes it.
    pub ran: String,
    /// Why it waits, in Slurm's word.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JobState {
    /// Has no nodes yet, or none that are up.
    Pending,
    Running,
    /// Has been told to end, or has ended.
    Ending,
}

/// Why what Slurm wrote is not understood.
#[derive(Debug, Eq, Error, PartialEq)]
pub enum QueueError {
    #[error("a line of squeue is not `job|state|name|time|reason`: {line:?}")]
    Line { line: String },
    #[error("sbatch answered {answer:?} instead of a job's number")]
    Number { answer: String },
}

/// What squeue is asked for with `--format`.
pub const FORMAT: &str = "%i|%t|%j|%M|%r";

/// Reads what `squeue --noheader --array --format FORMAT` wrote, in its order: those of which the name is
/// ours. Others may be of kinds that we never submit.
pub fn jobs(text: &str, ours: impl Fn(&str) -> bool) -> Result<Vec<Job>, QueueError> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let mine = lines.filter(|line| line.split('|').nth(2).is_none_or(&ours));
    mine.map(job).collect()
}

fn job(line: &str) -> Result<Job, QueueError> {
    let wrong = || QueueError::Line { line: line.to_string() };
    let fields: Vec<&str> = line.trim().splitn(5, '|').collect();
    let [id, state, name, ran, reason] = fields[..] else { return Err(wrong()) };
    if !is_job_id(id) {
        return Err(wrong());
    }
    let state = match state {
        // Configuring: its nodes are being started. The last four were requeued, or are held.
        "PD" | "CF" | "RQ" | "RH" | "RD" | "SE" => JobState::Pending,
        "R" | "S" | "ST" | "SI" | "SO" | "RS" => JobState::Running,
        _ => JobState::Ending,
    };
    let text = |field: &str| field.to_string();
    Ok(Job { id: text(id), state, name: text(name), ran: text(ran), reason: text(reason) })
}

impl Job {
    /// Whether somebody must release it before it can run.
    pub fn is_held(&self) -> bool {
        self.state == JobState::Pending && self.reason.to_lowercase().contains("held")
    }
}

/// The name of the agent in a job, under which the coordinator knows it.
pub fn agent_name(job: &str) -> String {
    format!("slurm-{job}")
}

/// Reads what `sbatch --parsable` wrote: `123`, or `123;cluster`.
pub fn submitted(answer: &str) -> Result<String, QueueError> {
    let number = answer.trim().split(';').next().unwrap_or_default();
    match is_number(number) {
        true => Ok(number.to_string()),
        false => Err(QueueError::Number { answer: answer.trim().to_string() }),
    }
}

fn is_job_id(text: &str) -> bool {
    match text.split_once('_') {
        Some((job, element)) => is_number(job) && is_number(element),
        None => is_number(text),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Seconds of a time limit as `sbatch --time` takes it: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`.
pub fn seconds(text: &str) -> Result<u64, String> {
    let refused = || {
        format!(
            "{text:?} is not a time limit; write minutes, or hours as 4:00:00, or days as 2-12:00:00"
        )
    };
    let number = |part: &str| -> Option<u64> {
        (is_number(part) && part.len() <= 6).then(|| part.parse().ok()).flatten()
    };
    let numbers = |text: &str| text.split(':').map(number).collect::<Option<Vec<u64>>>();
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days).ok_or_else(refused)?), rest),
        None => (None, text),
    };
    let parts = numbers(rest).ok_or_else(refused)?;
    let (hours, minutes, seconds) = match (days, &parts[..]) {
        (None, [minutes]) => (0, *minutes, 0),
        (None, [minutes, seconds]) => (0, *minutes, *seconds),
        (Some(_), [hours]) => (*hours, 0, 0),
        (Some(_), [hours, minutes]) => (*hours, *minutes, 0),
        (_, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return Err(refused()),
    };
    Ok(days.unwrap_or(0) * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read_with_arrays_and_reasons() {
        let text = "12_3|R|seedsweep-ab|1:02|None\n13|PD|seedsweep-ab|0:00|JobHeldUser\n\
                    14|CG|x|2:00|None\n";
        let read = jobs(text, |_| true).expect("three jobs");
        let told: Vec<_> = read.iter().map(|job| (job.id.as_str(), job.state)).collect();
        let states = [JobState::Running, JobState::Pending, JobState::Ending];
        assert_eq!(told, [("12_3", states[0]), ("13", states[1]), ("14", states[2])]);
        assert_eq!(read.iter().map(Job::is_held).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(agent_name(&read[0].id), "slurm-12_3");
    }

    #[test]
    fn a_line_that_is_no_job_is_refused() {
        for line in ["12_[1-4]|PD|x|0:00|None", "12|R|x", "|R|x|0:00|None", "slurm_load_jobs error"]
        {
            assert_eq!(jobs(line, |_| true), Err(QueueError::Line { line: line.to_string() }));
        }
        assert_eq!(jobs("\n", |_| true), Ok(Vec::new()));
    }

    #[test]
    fn jobs_of_others_may_be_of_any_kind() {
        let text = "120+0|R|mpi|1:02|None\n12_3|R|seedsweep-ab|1:02|None\n";
        let read = jobs(text, |name| name == "seedsweep-ab").expect("ours is plain");
        assert_eq!(read.len(), 1);
        assert!(jobs(text, |_| true).is_err());
    }

    #[test]
    fn the_number_of_a_new_job_is_read() {
        assert_eq!(submitted("123\n").as_deref(), Ok("123"));
        assert_eq!(submitted("123;alps\n").as_deref(), Ok("123"));
        assert!(submitted("Submitted batch job 123").is_err());
    }

    #[test]
    fn time_limits_are_read_as_slurm_reads_them() {
        let read = ["30", "1:30", "4:00:00", "2-0", "1-12:30", "1-00:00:05"].map(seconds);
        let wanted = [1_800, 90, 14_400, 172_800, 131_400, 86_405].map(Ok);
        assert_eq!(read, wanted);
        for text in ["", "4h", "1:2:3:4", "-1", "1-", "UNLIMITED", "99999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
