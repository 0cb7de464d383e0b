//! The batch scripts: the files of `deploy/slurm` with their blanks filled in.
//!
//! Nothing secret is ever in a script, and no address: jobs read both from the shared folder when they
//! start, so that a job that waited for days finds where the coordinators are then.
//!
//! Floor: core.

/// What a script of agents says.
#[derive(Clone, Debug)]
pub struct AgentScript {
    /// The agent's program, with what goes before it: its words.
    pub program: Vec<String>,
    /// Shared by login and compute nodes.
    pub folder: String,
    pub gpus: u32,
    pub cpus: u32,
    pub time: String,
    /// Further options of sbatch, such as `--partition=gpu`.
    pub options: Vec<String>,
    /// Further arguments of `agent join`.
    pub arguments: Vec<String>,
    /// Whether a job whose time is over is put into the queue again.
    pub again: bool,
}

/// What a script of replicas says.
#[derive(Clone, Debug)]
pub struct ReplicaScript {
    pub program: Vec<String>,
    pub folder: String,
    pub name: String,
    pub cpus: u32,
    pub time: String,
    pub time_seconds: u64,
    /// How long before its end a replica's successor may take over.
    pub renew_seconds: u64,
    pub options: Vec<String>,
}

impl AgentScript {
    pub fn text(&self) -> String {
        let mut options = self.options.clone();
        if self.gpus > 0 {
            options.insert(0, format!("--gres=gpu:{}", self.gpus));
        }
        let blanks = [
            ("@OPTIONS@", options_in_lines(&options)),
            ("@CPUS@", self.cpus.to_string()),
            ("@TIME@", self.time.clone()),
            ("@FOLDER@", self.folder.clone()),
            ("@PROGRAM@", words(&self.program)),
            ("@ARGUMENTS@", words(&self.arguments())),
            ("@AGAIN@", self.again.to_string()),
        ];
        filled(AGENT, &blanks)
    }

    /// What the user wrote, and what goes with the kind of allocation where it does not say.
    fn arguments(&self) -> Vec<String> {
        let says = |flag: &str| {
            let with_value = format!("{flag}=");
            self.arguments.iter().any(|word| word == flag || word.starts_with(&with_value))
        };
        let mut arguments = Vec::new();
        if !says("--device") {
            let device = match self.gpus {
                0 => "cpu",
                // Loud where the program was built without CUDA: an allocated card must not lie idle.
                1 => "cuda:0",
                _ => "auto",
            };
            arguments.extend(["--device".to_string(), device.to_string()]);
        }
        if self.gpus == 0 && !says("--threads") {
            arguments.extend(["--threads".to_string(), self.cpus.to_string()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

impl ReplicaScript {
    pub fn text(&self) -> String {
        let blanks = [
            ("@OPTIONS@", options_in_lines(&self.options)),
            ("@CPUS@", self.cpus.to_string()),
            ("@TIME@", self.time.clone()),
            ("@SECONDS@", self.time_seconds.to_string()),
            ("@RENEW@", self.renew_seconds.to_string()),
            ("@FOLDER@", self.folder.clone()),
            ("@NAME@", self.name.clone()),
            ("@PROGRAM@", words(&self.program)),
        ];
        filled(REPLICA, &blanks)
    }
}

/// Whether a path may stand in a script and in `#SBATCH` lines, which know no quotes that hold everywhere.
pub fn is_plain_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,=@:".contains(c);
    path.starts_with('/') && path.chars().all(plain)
}

/// Whether an option may stand on a line of its own.
pub fn is_option(option: &str) -> bool {
    option.starts_with('-') && !option.chars().any(char::is_control)
}

fn options_in_lines(options: &[String]) -> String {
    options.iter().map(|option| format!("#SBATCH {option}\n")).collect()
}

/// Words as a shell reads them back.
fn words(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,=@:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Each blank once, from left to right: what fills one is never looked at again.
fn filled(template: &str, blanks: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('@') {
        let blank = blanks.iter().find(|(blank, _)| rest[start..].starts_with(blank));
        text.push_str(&rest[..start]);
        rest = match blank {
            Some((blank, value)) => {
                text.push_str(value);
                &rest[start + blank.len()..]
            }
            None => {
                text.push('@');
                &rest[start + 1..]
            }
        };
    }
    text + rest
}

const AGENT: &str = include_str!("../../../deploy/slurm/agent.sbatch");
const REPLICA: &str = include_str!("../../../deploy/slurm/coordinator.sbatch");

#[cfg(test)]
mod tests {
    use super::*;

    fn script(gpus: u32, arguments: &[&str]) -> AgentScript {
        AgentScript {
            program: vec!["/opt/bin/agent".to_string()],
            folder: "/home/ada/.local/share/seedsweep/slurm".to_string(),
            gpus,
            cpus: 4,
            time: "4:00:00".to_string(),
            options: vec!["--partition=gpu".to_string()],
            arguments: arguments.iter().map(ToString::to_string).collect(),
            again: false,
        }
    }

    #[test]
    fn a_script_says_what_was_asked_for() {
        let text = script(1, &[]).text();
        for line in [
            "#SBATCH --gres=gpu:1",
            "#SBATCH --partition=gpu",
            "#SBATCH --time=4:00:00",
            "#SBATCH --signal=TERM@120",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --cpus-per-task=4",
            "folder=/home/ada/.local/share/seedsweep/slurm",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("/opt/bin/agent join") && text.contains("--device cuda:0"), "{text}");
        let blank = text.split('@').skip(1).any(|rest| rest.starts_with(char::is_uppercase));
        assert!(!blank, "{text}");
    }

    #[test]
    fn what_the_user_says_of_the_agent_stands() {
        let told = script(1, &["--device=cpu", "--lanes", "8"]).text();
        assert!(told.contains("--device=cpu --lanes 8") && !told.contains("cuda"), "{told}");
        let cpu = script(0, &[]).text();
        assert!(cpu.contains("--device cpu --threads 4") && !cpu.contains("--gres"), "{cpu}");
    }

    #[test]
    fn words_reach_the_agent_as_they_were_given() {
        assert_eq!(words(&["a b".to_string(), "it's".to_string()]), r"'a b' 'it'\''s'");
        assert_eq!(
            filled("@A@ @B@ @", &[("@A@", "@B@".to_string()), ("@B@", "x".to_string())]),
            "@B@ x @"
        );
        assert!(is_plain_path("/scratch/ada-1/x_y.z") && !is_plain_path("/my files"));
        assert!(!is_plain_path("relative") && !is_plain_path("/a$HOME"));
        assert!(is_option("--mem=8G") && !is_option("mem") && !is_option("--x\n#SBATCH --y"));
    }
}
