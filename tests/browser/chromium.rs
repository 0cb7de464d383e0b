//! A real Chromium without a window, driven by its own protocol over two pipes.
//!
//! It has a profile of its own, resolves no name, and ends with its test. Every request that a page
//! makes is kept. Deliberately absent: a driver program, and any port.
//!
//! Floor: wiring.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// One tab.
pub struct Chromium {
    child: Child,
    say: File,
    heard: Receiver<Value>,
    session: Option<String>,
    asked: u64,
    /// Events that came since the last page was opened.
    events: Vec<Value>,
    _dir: TempDir,
}

impl Chromium {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let pipes = Command::new("mkfifo").args(["say", "hear"]).current_dir(dir.path()).status();
        assert!(pipes.expect("mkfifo runs").success());
        // A shell puts the pipes where the browser expects them, and becomes the browser.
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<say 4>hear"])
            .arg(program())
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr")).expect("made"))
            .spawn()
            .expect("a shell starts");
        let say = OpenOptions::new().write(true).open(dir.path().join("say")).expect("opens");
        let hear = File::open(dir.path().join("hear")).expect("opens");
        let mut browser = Self {
            child,
            say,
            heard: listen(hear),
            session: None,
            asked: 0,
            events: Vec::new(),
            _dir: dir,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_string);
        for domain in ["Page", "Network", "Runtime"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a file in a window of this width, and waits until all of it is there.
    pub fn open(&mut self, page: &Path, width: u32) {
        let window = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false
        });
        self.ask("Emulation.setDeviceMetricsOverride", window);
        self.events.clear();
        self.ask("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        let began = Instant::now();
        while self.events.iter().all(|event| event["method"] != "Page.loadEventFired") {
            assert!(began.elapsed() < PATIENCE, "{} does not load", page.display());
            let event = self.hear();
            self.events.push(event);
        }
    }

    /// As printed, or as on a screen again.
    pub fn print(&mut self, printed: bool) {
        let media = if printed { "print" } else { "" };
        self.ask("Emulation.setEmulatedMedia", json!({ "media": media }));
    }

    /// What an expression of the page is; it runs whatever the page's own policy says of scripts.
    pub fn look(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Addresses that the page asked for since it was opened, its own among them.
    pub fn requests(&mut self) -> Vec<String> {
        // Whatever was asked for before this is answered after it was told.
        self.look("1");
        let asked = self.events.iter().filter(|e| e["method"] == "Network.requestWillBeSent");
        let address = |event: &Value| event["params"]["request"]["url"].as_str().map(String::from);
        asked.filter_map(address).collect()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.say.write_all(&bytes).expect("the browser listens");
        loop {
            let said = self.hear();
            if said["id"] == self.asked {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.events.push(said);
        }
    }

    fn hear(&mut self) -> Value {
        self.heard.recv_timeout(PATIENCE).expect("the browser answers")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its helpers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages end with a zero byte.
fn listen(hear: File) -> Receiver<Value> {
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(hear).split(0) {
            let Ok(message) = message else { return };
            let Ok(value) = serde_json::from_slice(&message) else { return };
            if tell.send(value).is_err() {
                return;
            }
        }
    });
    heard
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut found = NAMES.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    found.find(|path| path.is_file()).expect("a Chromium; tests/run installs one")
}

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

const FLAGS: [&str; 10] = [
    "--headless",
    "--remote-debugging-pipe",
    // Tests may run as root, in a container that has no room for the sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
];

/// A machine that does other things at once may take long to start a browser.
const PATIENCE: Duration = Duration::from_secs(120);
