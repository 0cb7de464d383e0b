#!/usr/bin/env python3
"""Takes out of an image what differs between two builds of the same: the names of the containers in which
it was built. Layers stay as they are.

The format that has health checks (docker's) has these too; podman fills them in.

usage: podman save --format docker-archive IMAGE | normal.py | podman load
"""

import hashlib
import io
import json
import sys
import tarfile


def main() -> None:
    archive = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()))
    files = {}
    for member in archive.getmembers():
        # Links are the layers under the names of an older format.
        if member.isfile():
            files[member.name] = archive.extractfile(member).read()
    [image] = json.loads(files["manifest.json"])
    config = json.loads(files[image["Config"]])
    for key in ("container", "parent"):
        config.pop(key, None)
    for part in ("config", "container_config"):
        if part in config:
            config[part]["Hostname"] = ""
    for step in config.get("history", []):
        step.pop("comment", None)
    text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    name = hashlib.sha256(text).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": image["RepoTags"], "Layers": image["Layers"]}]
    written = {layer: files[layer] for layer in image["Layers"]}
    written[name] = text
    written["manifest.json"] = json.dumps(manifest, sort_keys=True).encode()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as out:
        for path, data in written.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
