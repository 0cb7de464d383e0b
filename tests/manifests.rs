//! The manifests for Kubernetes: rendered, held against the schemas and the types, and against what a
//! careful administrator asks of a pod.
//!
//! Deliberately absent: a cluster's own admission, and that pods run; see `kubernetes.rs`.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, PodSpec, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::podman::{python, root, succeeded};
use crate::process::{Program, Site, files_below, run};

/// The manifests in a folder of their own, with secrets that are made for them, and what kustomize makes of
/// each folder.
pub struct Manifests {
    pub site: Site,
    rendered: BTreeMap<&'static str, Vec<Value>>,
}

impl Manifests {
    pub fn new() -> Self {
        let site = Site::new();
        let from = root().join("deploy/kubernetes");
        for (path, bytes) in files_below(&from) {
            let name = path.strip_prefix(&from).expect("below it");
            if name.components().any(|part| part.as_os_str() == "secrets") {
                continue;
            }
            let to = site.path("kubernetes").join(name);
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            fs::write(to, bytes).expect("written");
        }
        for overlay in ["single", "ha"] {
            let secrets = format!("kubernetes/overlays/{overlay}/secrets");
            site.run(Program::Coordinator, &["secret", &secrets]).done();
        }
        let files = FOLDERS.map(|folder| site.write(&file(folder), &render(&site, folder)));
        let convert = "import json, sys, yaml\n\
                       all = [list(yaml.safe_load_all(open(name))) for name in sys.argv[1:]]\n\
                       print(json.dumps(all))";
        let mut python = Command::new(python());
        let json = run(python.args(["-c", convert]).args(&files), "").expect("YAML");
        let documents: Vec<Vec<Value>> = serde_json::from_str(&json).expect("JSON");
        Self { site, rendered: FOLDERS.into_iter().zip(documents).collect() }
    }

    /// What kustomize makes of a folder, document by document.
    pub fn documents(&self, folder: &str) -> &[Value] {
        &self.rendered[folder]
    }
}

/// One rendering for all tests of this file.
fn rendered() -> &'static BTreeMap<&'static str, Vec<Value>> {
    static RENDERED: OnceLock<BTreeMap<&'static str, Vec<Value>>> = OnceLock::new();
    RENDERED.get_or_init(|| Manifests::new().rendered)
}

fn render(site: &Site, folder: &str) -> String {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("kustomize").arg(site.path("kubernetes").join(folder));
    let output = kubectl.output().expect("kubectl is missing: install it, 1.21 or newer");
    succeeded(&output, &format!("kubectl kustomize {folder}"))
}

fn file(folder: &str) -> String {
    format!("{}.yaml", folder.replace('/', "-"))
}

#[test]
fn every_manifest_is_valid_by_the_schemas_and_a_misspelt_field_is_not() {
    let manifests = Manifests::new();
    let files = FOLDERS.map(|folder| manifests.site.path(&file(folder)));
    let judge = |further: &[&str], files: &[PathBuf]| {
        let mut judge = Command::new(python().with_file_name("kubernetes-validate"));
        judge.arg("--strict").args(further).args(files).output().expect("it runs")
    };
    let all: usize = FOLDERS.iter().map(|folder| manifests.documents(folder).len()).sum();
    for version in VERSIONS {
        let said = succeeded(&judge(&["--kubernetes-version", version], &files), version);
        let passed = said.lines().filter(|line| line.contains("passed for resource")).count();
        assert_eq!(passed, all, "{version}: {said}");
    }
    let text = fs::read_to_string(&files[1]).expect("rendered");
    let misspelt = text.replace("podManagementPolicy", "podManagmentPolicy");
    assert_ne!(misspelt, text);
    let path = manifests.site.write("misspelt.yaml", &misspelt);
    assert!(!judge(&[], &[path]).status.success());
}

#[test]
fn every_manifest_is_what_its_types_say_and_nothing_else() {
    for (folder, documents) in rendered() {
        for document in documents {
            match document["kind"].as_str().expect("a kind") {
                "ConfigMap" => drop(typed::<ConfigMap>(document)),
                "Secret" => drop(typed::<Secret>(&in_one_line(document))),
                "Service" => is_found_before_it_is_ready(&typed(document)),
                "StatefulSet" => begins_at_once(&typed(document)),
                "Deployment" => is_modest(&pod(typed::<Deployment>(document))),
                "Job" => is_modest(&job(&typed(document))),
                "CronJob" => is_modest(&nightly(typed(document))),
                "PersistentVolumeClaim" => drop(typed::<PersistentVolumeClaim>(document)),
                "PodDisruptionBudget" => drop(typed::<PodDisruptionBudget>(document)),
                "NetworkPolicy" => lets_names_be_found(&typed(document)),
                kind => panic!("{kind} in {folder}"),
            }
        }
    }
}

#[test]
fn the_overlays_are_what_they_are_called() {
    let of = |folder: &str, kind: &str| -> Vec<Value> {
        let all = rendered()[folder].iter();
        all.filter(|document| document["kind"] == kind).cloned().collect()
    };
    for (folder, replicas, budgets) in
        [("overlays/single", 1, 0), ("overlays/ha", 3, 1), ("overlays/gpu", 3, 1)]
    {
        let set = &of(folder, "StatefulSet")[0];
        assert_eq!(set["spec"]["replicas"], replicas);
        let names = of(folder, "ConfigMap")[0]["data"]["cluster"].clone();
        let names: Vec<&str> = names.as_str().expect("text").split(',').collect();
        let (set, service) = (&set["metadata"]["name"], &set["spec"]["serviceName"]);
        let name = |n| format!("{}-{n}.{}:7461", set.as_str().unwrap(), service.as_str().unwrap());
        assert_eq!(names, (0..replicas).map(name).collect::<Vec<_>>());
        assert_eq!(of(folder, "PodDisruptionBudget").len(), budgets, "{folder}");
    }
    // What is restored is what the first coordinator then finds.
    let claims: Vec<Value> = of("restore", "PersistentVolumeClaim");
    let set = &of("overlays/ha", "StatefulSet")[0];
    let (claim, template) = (&claims[0], &set["spec"]["volumeClaimTemplates"][0]);
    let first = |name: &Value| {
        format!("{}-{}-0", name.as_str().unwrap(), set["metadata"]["name"].as_str().unwrap())
    };
    assert_eq!(claim["metadata"]["name"], first(&template["metadata"]["name"]));
    assert_eq!(claim["spec"], template["spec"]);
    let agent = &of("overlays/gpu", "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(agent["resources"]["limits"]["nvidia.com/gpu"], "1");
    assert!(agent["image"].as_str().expect("text").starts_with("seedsweep-agent-cuda:"));
    let job = &of("agents-job", "Job")[0]["spec"];
    assert_eq!(job["completionMode"], "Indexed");
    assert_eq!(job["podFailurePolicy"]["rules"][0]["action"], "Ignore");
    // Of pods that fail: one that ends with 0 has done its index's work.
    let words = &job["template"]["spec"]["containers"][0]["args"];
    let leaves = |words: &Vec<Value>| words.iter().any(|word| word == "--left-status=143");
    assert!(words.as_array().is_some_and(leaves), "{words}");
}

/// Read as its type, and written again with all that it had: a field that the type lacks would be gone.
fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let read: T = serde_json::from_value(document.clone()).expect("its type");
    let written = serde_json::to_value(&read).expect("JSON");
    if let Some(path) = lost(document, &written) {
        panic!("{path} is nothing that a {} has", document["kind"]);
    }
    read
}

/// Where something of a document is not in another one.
fn lost(document: &Value, other: &Value) -> Option<String> {
    let below = |name: String, (one, two): (&Value, &Value)| {
        lost(one, two).map(|path| format!("{name}.{path}"))
    };
    match (document, other) {
        (Value::Null, _) => None,
        (Value::Object(fields), Value::Object(others)) => {
            fields.iter().find_map(|(name, value)| {
                below(name.clone(), (value, others.get(name).unwrap_or(&Value::Null)))
            })
        }
        (Value::Array(values), Value::Array(others)) if values.len() == others.len() => {
            let mut pairs = values.iter().zip(others).enumerate();
            pairs.find_map(|(at, pair)| below(at.to_string(), pair))
        }
        (one, two) => (one != two).then(|| format!("{one}")),
    }
}

/// Kustomize breaks long values into lines, which a cluster reads and these types do not.
fn in_one_line(secret: &Value) -> Value {
    let mut secret = secret.clone();
    for value in secret["data"].as_object_mut().expect("an object").values_mut() {
        *value = value.as_str().expect("text").split_whitespace().collect::<String>().into();
    }
    secret
}

fn is_found_before_it_is_ready(service: &Service) {
    let spec = service.spec.as_ref().expect("a spec");
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    assert_eq!(spec.publish_not_ready_addresses, Some(true));
}

fn begins_at_once(set: &StatefulSet) {
    let spec = set.spec.as_ref().expect("a spec");
    assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
    assert_eq!(spec.volume_claim_templates.as_ref().map(Vec::len), Some(1));
    let pod = spec.template.spec.as_ref().expect("a pod");
    is_modest(pod);
    let container = &pod.containers[0];
    let path = |probe: &Option<k8s_openapi::api::core::v1::Probe>| {
        probe.as_ref().and_then(|probe| probe.http_get.as_ref()?.path.clone())
    };
    assert_eq!(path(&container.startup_probe).as_deref(), Some("/healthz"));
    assert_eq!(path(&container.liveness_probe).as_deref(), Some("/healthz"), "needs no leader");
    assert_eq!(path(&container.readiness_probe).as_deref(), Some("/readyz"));
}

fn pod(deployment: Deployment) -> PodSpec {
    deployment.spec.expect("a spec").template.spec.expect("a pod")
}

fn nightly(job: CronJob) -> PodSpec {
    let each = job.spec.expect("a spec").job_template.spec.expect("a job");
    each.template.spec.expect("a pod")
}

fn job(job: &Job) -> PodSpec {
    job.spec.as_ref().expect("a spec").template.spec.clone().expect("a pod")
}

/// No rights, nothing to write but its own volumes, and nothing that is known to the cluster.
fn is_modest(pod: &PodSpec) {
    assert_eq!(pod.automount_service_account_token, Some(false));
    let security = pod.security_context.as_ref().expect("of the pod");
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.run_as_user, Some(65532));
    let seccomp = security.seccomp_profile.as_ref().map(|profile| profile.type_.as_str());
    assert_eq!(seccomp, Some("RuntimeDefault"));
    for container in &pod.containers {
        let security = container.security_context.as_ref().expect("of the container");
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        let capabilities = security.capabilities.as_ref().expect("named");
        assert_eq!(capabilities.drop, Some(vec!["ALL".to_string()]));
        assert_eq!(capabilities.add, None);
        let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
        assert!(limits.is_some_and(|limits| limits.contains_key("memory")));
    }
}

/// UDP to coordinators, and names.
fn lets_names_be_found(policy: &NetworkPolicy) {
    let spec = policy.spec.as_ref().expect("a spec");
    let ports = |rule: &k8s_openapi::api::networking::v1::NetworkPolicyEgressRule| {
        let ports = rule.ports.iter().flatten();
        let port = |p: &k8s_openapi::api::networking::v1::NetworkPolicyPort| {
            let number = serde_json::to_string(p.port.as_ref().expect("one")).expect("JSON");
            format!("{}/{number}", p.protocol.clone().unwrap_or_default())
        };
        ports.map(port).collect::<Vec<_>>()
    };
    let out: Vec<String> = spec.egress.iter().flatten().flat_map(ports).collect();
    assert_eq!(out, ["UDP/7461", "UDP/53", "TCP/53"]);
}

/// Whatever can be given to `kubectl apply -k`.
const FOLDERS: [&str; 7] =
    ["overlays/single", "overlays/ha", "overlays/gpu", "agents-job", "submit", "backup", "restore"];
/// The oldest that is kept in order by its makers, and the newest that there are schemas for.
const VERSIONS: [&str; 2] = ["1.33", "1.37"];
