#!/usr/bin/env python3
"""Writes what a program is made of: CycloneDX 1.5, from Cargo.lock alone, so that it is the same everywhere.

What is listed is the most that can be in it: crates of other systems, and those for tests of our own
packages, are among them. The C library's packages are in the image's /var/lib/dpkg/status.d.

usage: sbom.py PACKAGE OUT
"""

import json
import os
import sys
import tomllib
from pathlib import Path


def main() -> None:
    package, out = sys.argv[1], Path(sys.argv[2])
    lock = Path(__file__).resolve().parents[2] / "Cargo.lock"
    packages = tomllib.loads(lock.read_text())["package"]
    named: dict[str, list[dict]] = {}
    for entry in packages:
        named.setdefault(entry["name"], []).append(entry)

    def find(text: str) -> dict:
        name, _, version = text.partition(" ")
        version = version.split(" ")[0]
        [entry] = [e for e in named[name] if version in ("", e["version"])]
        return entry

    reached: dict[str, dict] = {}
    waiting = [find(package)]
    while waiting:
        entry = waiting.pop()
        if reference(entry) not in reached:
            reached[reference(entry)] = entry
            waiting.extend(find(text) for text in entry.get("dependencies", []))
    root = find(package)
    others = [reached[key] for key in sorted(reached) if key != reference(root)]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": [component(entry, "library") for entry in others],
        "dependencies": [
            {
                "ref": reference(entry),
                "dependsOn": sorted({reference(find(t)) for t in entry.get("dependencies", [])}),
            }
            for entry in [root, *others]
        ],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bom, indent=1) + "\n")
    # Part of what tells images apart.
    os.utime(out, (0, 0))


def reference(entry: dict) -> str:
    return f"pkg:cargo/{entry['name']}@{entry['version']}"


def component(entry: dict, kind: str) -> dict:
    known = {
        "type": kind,
        "bom-ref": reference(entry),
        "name": entry["name"],
        "version": entry["version"],
        "purl": reference(entry),
    }
    if "checksum" in entry:
        known["hashes"] = [{"alg": "SHA-256", "content": entry["checksum"]}]
    return known


if __name__ == "__main__":
    main()
