//! The pods of the manifests, run for real by podman: a study ends although containers are killed, networks
//! are cut and volumes are lost.
//!
//! Podman knows pods, claims, config maps and deployments, and runs those documents as they were rendered;
//! of a StatefulSet it is given the pods and claims that a cluster would make of it, of a Job one pod. Left
//! out are ports of the host, which three pods of one machine cannot share, and probes, which podman asks
//! with programs that the images do not have. Podman 4 does not decode secrets and gives all pods one
//! `emptyDir` of a name: secrets are folders here, and those names each pod's own. Deliberately absent: a
//! cluster's scheduler, its network policies and its storage.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::study::Format;
use common::table::Table;
use serde_json::{Value, json};

use crate::cluster::{Status, outcomes, write_study};
use crate::manifests::Manifests;
use crate::podman::Podman;
use crate::process::{Program, eventually};

/// The pods of one overlay on a network of their own.
struct Pods {
    podman: Podman,
    manifests: Manifests,
    network: String,
    documents: Vec<Value>,
    /// Those of the overlay, and more.
    secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether coordinators of this build answer by HTTP.
    has_http: bool,
}

impl Pods {
    fn new(overlay: &str) -> Self {
        let podman = Podman::new("pods");
        podman.build(&podman.tag, &[], &[]);
        let manifests = Manifests::new();
        let documents = manifests.documents(overlay).to_vec();
        let secrets = documents.iter().filter(|document| document["kind"] == "Secret");
        let secrets = secrets.map(secret).collect();
        let network = podman.tag.clone();
        let help = manifests.site.run(Program::Coordinator, &["start", "--help"]).done().stdout;
        let has_http = help.contains("--http");
        let pods = Self { podman, manifests, network, documents, secrets, has_http };
        pods.forget();
        pods.podman.run(&["network", "create", &pods.network]);
        pods
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// `podman kube play` of some documents, on the network under some names.
    fn play(&self, name: &str, documents: &[&Value], aliases: &[&str]) {
        let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
        let path = self.podman.dir.path().join(format!("{name}.yaml"));
        fs::write(&path, texts.join("\n---\n")).expect("written");
        let path = path.to_str().expect("text");
        self.podman.run(&["kube", "play", "--network", &self.at(aliases), path]);
    }

    fn at(&self, aliases: &[&str]) -> String {
        let aliases: Vec<String> = aliases.iter().map(|alias| format!("alias={alias}")).collect();
        match aliases.is_empty() {
            true => self.network.clone(),
            false => format!("{}:{}", self.network, aliases.join(",")),
        }
    }

    /// The pod of one coordinator and its claim, as a cluster makes them of the StatefulSet.
    fn begin(&self, at: usize) {
        let set = self.of("StatefulSet").next().expect("one");
        let claim = &set["spec"]["volumeClaimTemplates"][0];
        let claimed = format!("{}-{}", claim["metadata"]["name"].as_str().expect("text"), name(at));
        let mut pod = self.pod_of(set, &name(at));
        let volume = json!({
            "name": claim["metadata"]["name"],
            "persistentVolumeClaim": { "claimName": claimed },
        });
        pod["spec"]["volumes"].as_array_mut().expect("a list").push(volume);
        let claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": claimed },
            "spec": claim["spec"],
        });
        let mut documents: Vec<&Value> = self.of("ConfigMap").collect();
        documents.extend([&claim, &pod]);
        self.play(&name(at), &documents, &[&dns(at), SERVICE]);
    }

    /// The first agent as the Deployment says, the second as the Job says.
    fn agents(&self) {
        let mut deployment = self.of("Deployment").next().expect("one").clone();
        self.fit(&mut deployment["spec"]["template"]["spec"], "seedsweep-agent");
        // Podman makes one pod of it, and says so when more are asked for.
        deployment["spec"]["replicas"] = 1.into();
        self.play("deployment", &[&deployment], &[]);
        let job = &self.manifests.documents("agents-job")[0];
        self.play("job", &[&self.pod_of(job, "seedsweep-agents-0")], &[]);
    }

    /// A pod as a controller makes it.
    fn pod_of(&self, controller: &Value, name: &str) -> Value {
        let template = &controller["spec"]["template"];
        let mut spec = template["spec"].clone();
        self.fit(&mut spec, name);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": template["metadata"]["labels"] },
            "spec": spec,
        })
    }

    /// What the machine and podman ask for; see the head of this file.
    fn fit(&self, spec: &mut Value, pod: &str) {
        for volume in spec["volumes"].as_array_mut().expect("a list") {
            if let Some(name) = volume["secret"]["secretName"].as_str() {
                let folder = self.podman.dir.path().join(name);
                fs::create_dir_all(&folder).expect("made");
                for (key, text) in &self.secrets[name] {
                    fs::write(folder.join(key), text).expect("written");
                }
                *volume = json!({ "name": volume["name"], "hostPath": { "path": folder } });
            } else if volume["emptyDir"].is_object() {
                volume["name"] = own_volume(pod, &volume["name"]);
            }
        }
        let own: Vec<Value> =
            spec["volumes"].as_array().expect("a list").iter().map(|v| v["name"].clone()).collect();
        for container in spec["containers"].as_array_mut().expect("a list") {
            let image = container["image"].as_str().expect("text");
            let image = image.split(':').next().expect("a name");
            container["image"] = format!("localhost/{image}:{}", self.podman.tag).into();
            for mount in container["volumeMounts"].as_array_mut().expect("a list") {
                let renamed = own_volume(pod, &mount["name"]);
                if own.contains(&renamed) {
                    mount["name"] = renamed;
                }
            }
            for variable in container["env"].as_array_mut().into_iter().flatten() {
                let from = variable["valueFrom"]["secretKeyRef"].clone();
                if let (Some(name), Some(key)) = (from["name"].as_str(), from["key"].as_str()) {
                    let value = &self.secrets[name][key];
                    *variable = json!({ "name": variable["name"], "value": value });
                }
            }
            let fields = container.as_object_mut().expect("an object");
            for field in ["ports", "startupProbe", "livenessProbe", "readinessProbe"] {
                fields.remove(field);
            }
            if !self.has_http {
                let arguments = container["args"].as_array_mut().expect("a list");
                arguments.retain(|a| !a.as_str().is_some_and(|text| text.starts_with("--http=")));
            }
        }
    }

    /// `coordinator …` in a coordinator's container, as `kubectl exec` runs it.
    fn ask(&self, at: usize, arguments: &[&str]) -> Option<String> {
        let container = container(at);
        let mut all = vec!["exec", &container, "coordinator"];
        all.extend(arguments);
        let output = self.podman.output(&all);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn ask_json(&self, at: usize, arguments: &[&str]) -> Option<Value> {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.ask(at, &all)?).ok()
    }

    fn status(&self, at: usize) -> Option<Status> {
        let answer = self.ask_json(at, &["status", STUDY])?;
        answer["studies"].get(0).map(Status::read)
    }

    /// Waits until so many trials are complete, by the word of one coordinator.
    fn reach(&self, at: usize, complete: u64) {
        let reached = eventually(&format!("{complete} complete trials"), || {
            self.status(at).filter(|status| status.complete >= complete)
        });
        assert!(reached.complete < reached.planned, "the study is too short: {reached:?}");
    }

    /// Waits until three voters of one cluster are up, and nobody else belongs to it.
    fn three_vote(&self) -> Vec<Value> {
        eventually("three voters", || {
            let found = self.ask_json(0, &["members"])?["replicas"].as_array()?.clone();
            let votes = |replica: &Value| {
                let role = replica["role"] == "leader" || replica["role"] == "follower";
                role && replica["silent_ms"].as_u64().is_some_and(|ms| ms < 3_000)
            };
            (found.len() == 3 && found.iter().all(votes)).then_some(found)
        })
    }

    fn leader(&self) -> usize {
        let members = self.three_vote();
        let leads = |at: &usize| {
            let address = format!("{}:7461", dns(*at));
            members.iter().any(|r| r["role"] == "leader" && r["address"] == address.as_str())
        };
        (0..3).find(leads).expect("one leads")
    }

    /// SIGKILL to the process, not by podman, which would take it for an order to stay down.
    fn kill(&self, at: usize) {
        let pid = self.podman.run(&["inspect", "--format", "{{.State.Pid}}", &container(at)]);
        let killed = self.podman.command("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.expect("kill runs").success());
        eventually("its end", || (self.pid(at) != pid.trim()).then_some(()));
        if self.pid(at) == "0" {
            // As the kubelet does.
            self.podman.forget(&["start", &container(at)]);
        }
    }

    fn pid(&self, at: usize) -> String {
        let pid = self.podman.run(&["inspect", "--format", "{{.State.Pid}}", &container(at)]);
        pid.trim().to_string()
    }

    fn infra(&self, at: usize) -> String {
        let id =
            self.podman.run(&["pod", "inspect", "--format", "{{.InfraContainerID}}", &name(at)]);
        id.trim().to_string()
    }

    fn forget(&self) {
        let list = self.podman.run(&["pod", "ls", "--format", "{{.Name}}"]);
        for pod in list.lines().filter(|pod| pod.starts_with("seedsweep-")) {
            self.podman.forget(&["pod", "rm", "--force", "--time", "0", pod]);
        }
        let list = self.podman.run(&["volume", "ls", "--format", "{{.Name}}"]);
        let ours = ["seedsweep-", "data-seedsweep-", "study"];
        for volume in list.lines().filter(|v| ours.iter().any(|start| v.starts_with(start))) {
            self.podman.forget(&["volume", "rm", "--force", volume]);
        }
        self.podman.forget(&["network", "rm", "--force", &self.network]);
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..3 {
                let said = self.podman.output(&["logs", "--tail", "30", &container(at)]);
                eprintln!("--- {}\n{}", name(at), String::from_utf8_lossy(&said.stderr));
            }
        }
        self.forget();
    }
}

#[test]
fn three_coordinators_and_two_agents_in_pods_end_a_study_whatever_is_lost() {
    let mut pods = Pods::new("overlays/ha");
    [2, 0, 1].into_iter().for_each(|at| pods.begin(at));
    pods.three_vote();
    pods.agents();
    eventually("two agents", || {
        let agents = pods.ask_json(1, &["agents"])?;
        (agents["agents"].as_array()?.len() == 2).then_some(())
    });
    submit(&mut pods);

    pods.reach(0, 20);
    pods.kill(pods.leader());
    pods.three_vote();

    // A follower's network is cut; it comes back with another address.
    let cut = (0..3).find(|at| *at != pods.leader()).expect("three");
    let other = (0..3).find(|at| *at != cut).expect("three");
    pods.podman.run(&["network", "disconnect", &pods.network, &pods.infra(cut)]);
    let before = pods.status(other).map_or(0, |status| status.complete);
    pods.reach(other, before + 20);
    let (infra, alias) = (pods.infra(cut), dns(cut));
    let again =
        ["network", "connect", "--alias", &alias, "--alias", SERVICE, &pods.network, &infra];
    pods.podman.run(&again);
    pods.three_vote();

    // The first one's volume is lost with its pod: it founds nothing, and its old self is no member.
    let old = replica_of(&pods, 0);
    pods.podman.run(&["pod", "rm", "--force", "--time", "0", &name(0)]);
    pods.podman.run(&["volume", "rm", &volume(0)]);
    pods.begin(0);
    pods.three_vote();
    assert_ne!(replica_of(&pods, 0), old);

    let last = eventually("the end of the study", || {
        pods.status(2).filter(|status| status.state == "finished")
    });
    last.is_whole();
    let exported = [0, 1, 2].map(|at| digests(&pods, at));
    assert_eq!(exported[0].len() as u64, last.planned);
    assert!(exported.iter().all(|other| *other == exported[0]), "each replica has all of it");

    // SIGTERM: whoever leads hands over, and nobody is killed.
    for at in [pods.leader(), 0] {
        pods.podman.run(&["stop", "--time", "25", &container(at)]);
        let state = pods.podman.json(&["inspect", &container(at)]);
        assert_eq!(state[0]["State"]["ExitCode"], 0, "{at}");
        pods.podman.run(&["start", &container(at)]);
        pods.three_vote();
    }
}

/// By the Job that is for it: a token from a coordinator, and the study as a ConfigMap.
fn submit(pods: &mut Pods) {
    let token = ["token", "create", "--role", "operator", "--ttl", "1h"];
    let token = pods.ask(0, &token).expect("a token").trim().to_string();
    let token = BTreeMap::from([("token".to_string(), token)]);
    pods.secrets.insert("seedsweep-operator".to_string(), token);
    let site = &pods.manifests.site;
    let study = write_study(site, STUDY, SEEDS, EPOCHS);
    let text = |path| fs::read_to_string(path).expect("written");
    let study = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "study" },
        "data": { "study.toml": text(study), "rows.csv": text(site.path("rows.csv")) },
    });
    let job = &pods.manifests.documents("submit")[0];
    pods.play("submit", &[&study, &pods.pod_of(job, "seedsweep-submit")], &[]);
}

fn replica_of(pods: &Pods, at: usize) -> Value {
    let address = format!("{}:7461", dns(at));
    let members = pods.three_vote();
    members.iter().find(|r| r["address"] == address.as_str()).expect("it votes")["replica"].clone()
}

fn digests(pods: &Pods, at: usize) -> BTreeMap<String, String> {
    let csv = pods.ask(at, &["export", STUDY, "--fresh", "--csv", "-"]).expect("an answer");
    outcomes(&Table::read(Format::Csv, csv.as_bytes()).expect("a table"))
}

/// Name and contents of a rendered secret.
fn secret(document: &Value) -> (String, BTreeMap<String, String>) {
    let name = document["metadata"]["name"].as_str().expect("a name").to_string();
    let entries = document["data"].as_object().expect("an object").iter();
    let entry = |(key, value): (&String, &Value)| {
        let text: String = value.as_str().expect("text").split_whitespace().collect();
        let bytes = STANDARD.decode(text).expect("base64");
        (key.clone(), String::from_utf8(bytes).expect("text"))
    };
    (name, entries.map(entry).collect())
}

fn own_volume(pod: &str, name: &Value) -> Value {
    format!("{pod}-{}", name.as_str().expect("text")).into()
}

fn name(at: usize) -> String {
    format!("{SERVICE}-{at}")
}

/// As the headless service makes it.
fn dns(at: usize) -> String {
    format!("{SERVICE}-{at}.{SERVICE}")
}

fn container(at: usize) -> String {
    format!("{SERVICE}-{at}-coordinator")
}

fn volume(at: usize) -> String {
    format!("data-{SERVICE}-{at}")
}

const SERVICE: &str = "seedsweep-coordinator";
const STUDY: &str = "pods";
/// Enough work for all that is lost meanwhile: some tens of seconds of two processors.
const SEEDS: u32 = 40;
const EPOCHS: u32 = 1_500;
