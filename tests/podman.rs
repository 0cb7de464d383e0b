//! Podman as root: images and pods of this project, and the commands of other tools that tests need.
//!
//! What is missing fails the test by its name. One such test runs on a machine at a time, since pods
//! have the names that a cluster gives them. Deliberately absent: what a test asks of them.
//!
//! Floor: wiring.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Podman with settings for a machine without systemd.
pub struct Podman {
    pub dir: TempDir,
    /// Of this process's images.
    pub tag: String,
    /// Held while this lives.
    _turn: File,
}

/// What a build said of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub digest: String,
    pub name: String,
    pub megabytes: u64,
}

impl Podman {
    /// Waits for its turn. `name`: of the test, in what it makes.
    pub fn new(name: &str) -> Self {
        for tool in ["podman", "runc", "catatonit", "debootstrap", "iptables", "python3"] {
            assert!(is_there(tool), "{tool} is missing: apt-get install {tool}");
        }
        let path = std::env::temp_dir().join("seedsweep-podman.lock");
        let turn = File::options().create(true).append(true).open(&path).expect("a lock's file");
        turn.lock().expect("its turn");
        let dir = tempfile::tempdir().expect("a folder");
        // Without a limit of its own podman asks for more than an ordinary machine allows.
        let settings =
            "[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = \"cgroupfs\"\n";
        fs::write(dir.path().join("containers.conf"), settings).expect("written");
        let tag = format!("test-{name}-{}", std::process::id());
        Self { dir, tag, _turn: turn }
    }

    /// A command that sees these settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("CONTAINERS_CONF", self.dir.path().join("containers.conf"))
            .env("DISABLE_HC_SYSTEMD", "true")
            .current_dir(root())
            .stdin(Stdio::null());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command("podman").args(arguments).output().expect("podman runs")
    }

    /// What a command that has to succeed printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        succeeded(&output, &format!("podman {}", arguments.join(" ")))
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments)).expect("JSON")
    }

    /// Builds images of the programs beside this test.
    pub fn build(&self, tag: &str, further: &[&str], images: &[&str]) -> Vec<Image> {
        let programs = programs();
        let mut command = self.command("deploy/container/build");
        command.args(["--base", "debootstrap", "--tag", tag, "--programs"]).arg(programs);
        command.args(further).args(images);
        let said = succeeded(&command.output().expect("it runs"), "deploy/container/build");
        let image = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [digest, name, megabytes, "MB"] = words[..] else { panic!("{line}") };
            let (digest, name) = (digest.to_string(), name.to_string());
            Image { digest, name, megabytes: megabytes.parse().expect("a size") }
        };
        said.lines().map(image).collect()
    }

    /// Removes what may be there or not.
    pub fn forget(&self, arguments: &[&str]) {
        let _ = self.output(arguments);
    }
}

impl Drop for Podman {
    /// Nothing of this process stays but the base, which is not made again.
    fn drop(&mut self) {
        let list = |arguments: &[&str]| {
            let output = self.output(arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().filter(|name| name.contains(&self.tag)).map(str::to_string).collect()
        };
        let containers: Vec<String> = list(&["ps", "--all", "--format", "{{.Names}}"]);
        for name in containers {
            self.forget(&["rm", "--force", "--volumes", "--time", "0", &name]);
        }
        let images: Vec<String> = list(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        for name in images {
            self.forget(&["image", "rm", "--force", &name]);
        }
    }
}

/// What a tool printed; one that failed ends the test with what it said.
pub fn succeeded(output: &Output, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{complained}", output.status);
    said
}

/// A Python with the packages that judge manifests and lists of materials; made once.
pub fn python() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make_python).clone()
}

fn make_python() -> PathBuf {
    let venv = root().join("target/venv-deploy");
    let made = venv.join("made");
    if !made.exists() {
        let _ = fs::remove_dir_all(&venv);
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(&venv);
        succeeded(&make.output().expect("python3 runs"), "python3 -m venv (python3-venv)");
        let mut install = Command::new(venv.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        succeeded(&install.output().expect("pip runs"), "pip install");
        fs::write(&made, "").expect("written");
    }
    venv.join("bin/python")
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Where the programs beside this test are.
fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("this test's path");
    this.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>").to_path_buf()
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(tool).is_file())
}

const PACKAGES: [&str; 2] =
    ["kubernetes-validate==1.37.0", "cyclonedx-python-lib[json-validation]>=9,<12"];
