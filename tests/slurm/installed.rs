//! A real Slurm on this machine: its controller, one node, and munge, each in a folder of the test.
//!
//! The node claims more processors than there are, and takes devices that every system has for GPUs, so
//! that they are really allocated. All runs as the user of the test, but that root's munge is the user
//! munge. Nothing of it outlives the test.
//!
//! Floor: wiring.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{eventually, run};

/// Slurm while a test needs it.
pub struct Slurm {
    /// In the order in which they are ended.
    processes: Vec<Child>,
    user: String,
    dir: TempDir,
}

/// One line of squeue.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    /// As squeue shortens it, such as `R`.
    pub state: String,
    pub name: String,
}

impl Slurm {
    pub fn start() -> Self {
        look_for_what_is_needed();
        let user = run(Command::new("id").arg("-un"), "").expect("a user");
        let dir = tempfile::Builder::new().prefix("slurm-").tempdir().expect("a folder");
        let mut slurm = Self { processes: Vec::new(), user, dir };
        slurm.write_settings();
        slurm.start_munge();
        slurm.begin("slurmctld", &["-D"]);
        slurm.begin("slurmd", &["-D", "-N", NODE]);
        slurm.processes.reverse();
        eventually("an idle node", || {
            let state = slurm.ask("sinfo", &["--noheader", "--format", "%T"]).ok()?;
            (state == "idle").then_some(())
        });
        slurm
    }

    /// What a command's environment needs to find it.
    pub fn variable(&self) -> (&'static str, String) {
        ("SLURM_CONF", self.path("slurm.conf").display().to_string())
    }

    /// Runs one of Slurm's commands; what it printed, or what it said.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let (name, value) = self.variable();
        run(Command::new(program).args(arguments).env(name, value), "")
    }

    /// As [`Slurm::ask`] of a command that must succeed.
    pub fn tell(&self, program: &str, arguments: &[&str]) -> String {
        self.ask(program, arguments).unwrap_or_else(|why| panic!("{why}"))
    }

    /// All jobs, in order of their numbers.
    pub fn jobs(&self) -> Vec<Line> {
        let format = ["--noheader", "--array", "--sort=i", "--format", "%i|%t|%j"];
        let text = self.tell("squeue", &format);
        let line = |line: &str| {
            let fields: Vec<String> = line.split('|').map(str::to_string).collect();
            let [id, state, name] = fields.try_into().expect("three fields");
            Line { id, state, name }
        };
        text.lines().map(line).collect()
    }

    /// How many jobs are in this state.
    pub fn count(&self, state: &str) -> usize {
        self.jobs().iter().filter(|job| job.state == state).count()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_settings(&self) {
        let path = self.dir.path().display();
        // Munge runs as its own user, who must come through to its folder.
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o711)).expect("permitted");
        for name in ["state", "spool", "munge"] {
            fs::create_dir(self.path(name)).expect("made");
        }
        let text = SETTINGS
            .replace("@PATH@", &path.to_string())
            .replace("@USER@", &self.user)
            .replace("@CONTROLLER@", &free_port().to_string())
            .replace("@NODE@", &free_port().to_string());
        fs::write(self.path("slurm.conf"), text).expect("written");
        let cards = CARDS.map(|card| format!("NodeName={NODE} Name=gpu File=/dev/{card}\n"));
        fs::write(self.path("gres.conf"), cards.concat()).expect("written");
    }

    fn start_munge(&mut self) {
        let key = self.path("munge/key");
        // Of this test alone, and worth nothing elsewhere.
        let bytes = blake3::hash(self.dir.path().as_os_str().as_encoded_bytes());
        fs::write(&key, bytes.as_bytes()).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("permitted");
        let folder = self.path("munge").display().to_string();
        let file = |flag: &str, name: &str| format!("--{flag}={folder}/{name}");
        let files = [
            file("key-file", "key"),
            file("socket", "socket"),
            file("pid-file", "pid"),
            file("log-file", "log"),
            file("seed-file", "seed"),
        ];
        let mut arguments = vec!["--foreground"];
        arguments.extend(files.iter().map(String::as_str));
        if self.user == "root" {
            run(Command::new("chown").args(["-R", "munge:munge", &folder]), "")
                .expect("given away");
            let become_munge = ["--reuid=munge", "--regid=munge", "--clear-groups", "munged"];
            self.begin("setpriv", &[&become_munge[..], &arguments].concat());
        } else {
            self.begin("munged", &arguments);
        }
        let socket = self.path("munge/socket");
        eventually("munge", || socket.exists().then_some(()));
    }

    fn begin(&mut self, program: &str, arguments: &[&str]) {
        let (name, value) = self.variable();
        let log = |ending: &str| {
            fs::File::create(self.path(&format!("{program}.{ending}"))).expect("made")
        };
        let child = Command::new(program)
            .args(arguments)
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        self.processes.push(child);
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // Steps outlive their node's daemon: jobs first.
        let _ = self.ask("scancel", &["--user", &self.user]);
        let until = Instant::now() + LAST_JOBS;
        while self.ask("squeue", &["--noheader"]).is_ok_and(|text| !text.is_empty()) {
            if Instant::now() >= until {
                let _ = self.ask("scancel", &["--user", &self.user, "--full", "--signal", "KILL"]);
                thread::sleep(Duration::from_secs(1));
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            let end = |name: &str| crate::process::last_lines(&text(&self.path(name)));
            eprintln!("--- slurmctld\n{}\n--- slurmd\n{}", end("slurmctld.err"), end("slurmd.err"));
        }
    }
}

fn look_for_what_is_needed() {
    for (program, package) in NEEDED {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        let found = found.is_ok_and(|found| found.status.success());
        assert!(found, "{program} is missing: apt-get install {package}");
    }
}

/// Of TCP, and just now of UDP too.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

const NEEDED: [(&str, &str); 6] = [
    ("slurmctld", "slurmctld"),
    ("slurmd", "slurmd"),
    ("sbatch", "slurm-client"),
    ("srun", "slurm-client"),
    ("munged", "munge"),
    ("setpriv", "util-linux"),
];

const NODE: &str = "localhost";
/// Devices that every system has, in place of cards.
pub const CARDS: [&str; 3] = ["full", "null", "zero"];
/// Agents take up to 25 s to leave.
const LAST_JOBS: Duration = Duration::from_secs(30);

const SETTINGS: &str = "\
ClusterName=seedsweep
SlurmctldHost=localhost
SlurmUser=@USER@
SlurmdUser=@USER@
AuthType=auth/munge
AuthInfo=socket=@PATH@/munge/socket,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort=@CONTROLLER@
SlurmdPort=@NODE@
StateSaveLocation=@PATH@/state
SlurmdSpoolDir=@PATH@/spool
SlurmctldPidFile=@PATH@/slurmctld.pid
SlurmdPidFile=@PATH@/slurmd.pid
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_min_interval=0,bf_interval=1
KillWait=30
MinJobAge=2
GresTypes=gpu
NodeName=localhost CPUs=16 RealMemory=1000 Gres=gpu:3 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
";
