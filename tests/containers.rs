//! The images: how large, what is in them, that the same sources give the same, and that they run.
//!
//! Built with podman from a base that debootstrap makes, with the programs of this build. Deliberately
//! absent: the image for graphics cards, and compiling in a container.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::podman::{Image, Podman, python, root, succeeded};
use crate::process::eventually;

#[test]
fn the_images_are_small_run_as_nobody_and_are_the_same_when_built_again() {
    let podman = Podman::new("images");
    let [one, two] = ["one", "two"].map(|n| format!("{}-{n}", podman.tag));
    let built = [&one, &two].map(|tag| podman.build(tag, &["--no-cache"], &[]));
    let facts = |images: &[Image]| -> Vec<_> {
        images.iter().map(|image| (image.digest.clone(), image.megabytes)).collect()
    };
    assert_eq!(facts(&built[0]), facts(&built[1]), "the same sources, the same images");
    let sizes: Vec<String> = ["coordinator", "agent"]
        .iter()
        .zip(&built[0])
        .map(|(name, image)| format!("image {name}: {} MB, {}\n", image.megabytes, image.digest))
        .collect();
    println!("{}", sizes.concat());
    fs::write(root().join("target/container/sizes.txt"), sizes.concat()).expect("written");

    for image in &built[0] {
        assert!(image.megabytes < MEGABYTES_MAX, "{image:?}");
        let known = &podman.json(&["image", "inspect", &image.name])[0];
        assert_eq!(known["Config"]["User"], "65532:65532");
        assert_eq!(known["Healthcheck"]["Test"][0], "CMD", "{known}");
        only_what_is_needed(&files(&podman, &image.name));
    }
    let lists = ["coordinator", "agent"].map(list_of_materials);
    let purl = |list: &Value, start: &str| {
        let components = list["components"].as_array().expect("a list");
        components.iter().any(|part| part["purl"].as_str().is_some_and(|p| p.starts_with(start)))
    };
    assert!(purl(&lists[0], "pkg:cargo/raft@") && !purl(&lists[1], "pkg:cargo/raft@"));
    assert!(lists.iter().all(|list| purl(list, "pkg:cargo/quinn@")));
}

#[test]
fn a_coordinator_and_an_agent_in_containers_are_healthy_and_keep_what_they_have() {
    let podman = Podman::new("container");
    let tag = podman.tag.clone();
    podman.build(&tag, &[], &[]);
    let image = |name: &str| format!("localhost/seedsweep-{name}:{tag}");
    let (volume, network) = (format!("{tag}-data"), format!("{tag}-net"));
    podman.run(&["network", "create", &network]);
    let (name, agent) = (format!("{tag}-coordinator"), format!("{tag}-agent"));
    let start = || {
        let mount = format!("{volume}:/var/lib/seedsweep");
        let mut all = vec!["run", "--detach", "--name", &name, "--network", &network];
        all.extend(LOCKED_UP);
        let coordinator = image("coordinator");
        all.extend(["--volume", &mount, &coordinator]);
        podman.run(&all);
        eventually("health", || {
            podman.output(&["healthcheck", "run", &name]).status.success().then_some(())
        });
    };
    start();
    let members = || podman.json(&["exec", &name, "coordinator", "members", "--json"]);
    let created = ["exec", &name, "coordinator", "token", "create", "--json"];
    let token = podman.json(&created)["token"].as_str().expect("a token").to_string();
    let address = format!("{name}:7461");
    let mut all = vec!["run", "--detach", "--name", &agent, "--network", &network];
    all.extend(LOCKED_UP);
    let (secret, agent_image) = (format!("SEEDSWEEP_TOKEN={token}"), image("agent"));
    all.extend(["--env", &secret, &agent_image, "join", &address]);
    podman.run(&all);
    let joined = || members()["members"].as_array().map_or(0, Vec::len);
    eventually("an agent", || (joined() == 1).then_some(()));
    podman.run(&["healthcheck", "run", &agent]);

    podman.run(&["stop", "--time", "20", &name]);
    let state = &podman.json(&["inspect", &name])[0]["State"];
    assert_eq!(state["ExitCode"], 0, "it ends by SIGTERM, and is not killed: {state}");
    podman.run(&["rm", &name]);
    start();
    assert_eq!(joined(), 1, "the volume has all there was");
    podman.run(&["stop", "--time", "40", &agent]);
    assert_eq!(podman.json(&["inspect", &agent])[0]["State"]["ExitCode"], 0);
    podman.forget(&["rm", "--force", "--volumes", &name, &agent]);
    podman.forget(&["volume", "rm", &volume]);
    podman.forget(&["network", "rm", &network]);
}

/// The program, the C library, names, and who made what: no shell, and nothing that raises rights.
fn only_what_is_needed(files: &[(String, u32)]) {
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.iter().any(|name| name.ends_with("/sh") || name.ends_with("/bash")));
    let programs: Vec<_> = names.iter().filter(|name| name.contains("bin/")).collect();
    assert_eq!(programs.len(), 1, "{programs:?}");
    assert!(names.contains("var/lib/dpkg/status.d/libc6"), "{names:?}");
    assert!(names.contains("usr/share/doc/libc6/copyright"));
    assert!(names.contains("usr/share/doc/seedsweep/sbom.cdx.json"));
    let raising = files.iter().find(|(_, mode)| mode & 0o6000 != 0);
    assert_eq!(raising, None, "no program runs with other rights than its caller's");
}

/// Regular files of an image, with their modes.
fn files(podman: &Podman, image: &str) -> Vec<(String, u32)> {
    let name = format!("{}-files", podman.tag);
    podman.run(&["create", "--name", &name, image]);
    let mut export = podman.command("podman");
    let exported = export.args(["export", &name]).output().expect("podman runs").stdout;
    podman.run(&["rm", "--volumes", &name]);
    let list = "import sys, tarfile\nfor m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|'):\n  \
                if m.isfile(): print(m.mode, m.name)";
    let mut reading = Command::new("python3");
    reading.args(["-c", list]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reading = reading.spawn().expect("python3 runs");
    let mut input = reading.stdin.take().expect("piped");
    input.write_all(&exported).expect("read");
    drop(input);
    let said = succeeded(&reading.wait_with_output().expect("it ends"), "listing an image");
    let line = |line: &str| {
        let (mode, name) = line.split_once(' ').expect("two words");
        (name.to_string(), mode.parse().expect("a mode"))
    };
    said.lines().map(line).collect()
}

/// What an image says it is made of, which is CycloneDX.
fn list_of_materials(program: &str) -> Value {
    let path = root().join(format!("target/container/{program}.cdx.json"));
    let judge = "import sys\nfrom cyclonedx.validation.json import JsonStrictValidator\n\
                 from cyclonedx.schema import SchemaVersion\n\
                 e = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())\n\
                 sys.exit(str(e) if e else 0)";
    let judged = Command::new(python()).args(["-c", judge]).arg(&path).output();
    succeeded(&judged.expect("python runs"), "a CycloneDX document");
    serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON")
}

/// As in `deploy/container/README.md`.
const LOCKED_UP: [&str; 3] = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"];
const MEGABYTES_MAX: u64 = 100;
