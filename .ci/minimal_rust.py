"""Checks that no dependency that users build needs a newer Rust than this workspace states.

What our own code uses is checked by the lint `incompatible_msrv`; this is about the rest.
"""

import json
import subprocess
import sys


def parsed(version):
    return tuple(int(part) for part in (version.split(".") + ["0", "0"])[:3])


metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
)
ours = {p["id"]: p for p in metadata["packages"] if p["id"] in metadata["workspace_members"]}
stated = {package["rust_version"] for package in ours.values()}
if len(stated) != 1 or None in stated:
    sys.exit(f"the members state different minimal versions of Rust: {stated}")
minimum = stated.pop()
newer = [
    f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
    for package in metadata["packages"]
    if package["rust_version"] and parsed(package["rust_version"]) > parsed(minimum)
]
if newer:
    sys.exit(f"this workspace states Rust {minimum}, but:\n" + "\n".join(newer))
print(f"{len(metadata['packages'])} packages build with Rust {minimum}, as stated")
