"""The bundles that are measured: one root file system, one config per kind of work."""

from __future__ import annotations

import copy
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

PROFILE = Path("/usr/share/containers/seccomp.json")
MOUNTS = 500
MASKS = 4096
VARIABLES = 1000


class Bundles:
    """Makes each bundle below `where` when it is first asked for."""

    def __init__(self, where: Path, program: str) -> None:
        self.where = where
        self.rootfs = where / "rootfs"
        self._make_rootfs()
        subprocess.run([program, "spec"], cwd=where, check=True)
        self.default: dict[str, Any] = json.loads((where / "config.json").read_text())
        # Older peers know no later one.
        self.default["ociVersion"] = "1.0.2"
        self.default["process"]["terminal"] = False
        self.default["root"]["path"] = str(self.rootfs)

    def _make_rootfs(self) -> None:
        busybox = shutil.which("busybox")
        if not busybox:
            raise SystemExit("bench: busybox is needed (Debian: busybox-static)")
        for name in ("bin", "dev", "etc", "mnt", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for name in ("true", "sleep"):
            (self.rootfs / "bin" / name).symlink_to("busybox")

    def make(self, name: str, config: dict[str, Any]) -> Path:
        """A bundle `name` with this config; its directory."""
        bundle = self.where / name
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(config, indent=2))
        return bundle

    def of(self, *args: str, seccomp: bool = False) -> Path:
        """The default config with a program, and with Docker's filter if `seccomp`."""
        config = copy.deepcopy(self.default)
        config["process"]["args"] = list(args)
        if seccomp:
            config["linux"]["seccomp"] = docker_profile()
        name = "-".join(args).replace("/", "_") + ("-seccomp" if seccomp else "")
        return self.make(name, config)

    def with_memory(self, limit: int) -> Path:
        """/bin/true under a memory limit in bytes."""
        config = copy.deepcopy(self.default)
        config["process"]["args"] = ["/bin/true"]
        config["linux"].setdefault("resources", {})["memory"] = {"limit": limit}
        return self.make(f"memory-{limit}", config)

    def with_mounts(self, count: int = MOUNTS) -> Path:
        """/bin/true after `count` bind mounts."""
        config = self._true()
        for number in range(count):
            place = f"/mnt/{number}"
            (self.rootfs / place[1:]).mkdir(exist_ok=True)
            config["mounts"].append(
                {"destination": place, "type": "bind", "source": "/mnt", "options": ["bind", "ro"]}
            )
        return self.make(f"mounts-{count}", config)

    def with_masks(self, count: int = MASKS) -> Path:
        """/bin/true after `count` masked files."""
        config = self._true()
        (self.rootfs / "etc/masked").mkdir(exist_ok=True)
        for number in range(count):
            place = f"/etc/masked/{number}"
            (self.rootfs / place[1:]).touch()
            config["linux"]["maskedPaths"].append(place)
        return self.make(f"masks-{count}", config)

    def with_variables(self, count: int = VARIABLES) -> Path:
        """/bin/true with `count` variables of 100 bytes in its environment."""
        config = self._true()
        config["process"]["env"] += [f"VARIABLE_{n}=".ljust(100, "x") for n in range(count)]
        return self.make(f"variables-{count}", config)

    def _true(self) -> dict[str, Any]:
        config = copy.deepcopy(self.default)
        config["process"]["args"] = ["/bin/true"]
        return config


def docker_profile() -> dict[str, Any]:
    """Docker's default profile as an engine hands it on for a container without extra capabilities."""
    given = json.loads(PROFILE.read_text())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    names = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
    own = names.get(machine, "")
    architectures = [own]
    for entry in given.get("archMap") or ():
        if entry["architecture"] == own:
            architectures += entry["subArchitectures"]
    rules = []
    for rule in given["syscalls"]:
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if wanted.get("caps") or machine in (unwanted.get("arches") or ()):
            continue
        if wanted.get("arches") and machine not in wanted["arches"]:
            continue
        kept = ("names", "action", "errnoRet", "args")
        rules.append({key: rule[key] for key in kept if rule.get(key) is not None})
    profile = {
        "defaultAction": given["defaultAction"],
        "architectures": architectures,
        "syscalls": rules,
    }
    if given.get("defaultErrnoRet") is not None:
        profile["defaultErrnoRet"] = given["defaultErrnoRet"]
    return profile


def multiply_state(root: Path, made: str, count: int) -> None:
    """Put `count` containers where the stopped container `made` was the only one.

    What `list` reads of a container is its state file; so copies of one do for many.
    """
    names = os.listdir(root / made)
    for number in range(count):
        copied = root / f"{made}-{number}"
        copied.mkdir()
        for name in names:
            source = root / made / name
            if not source.is_file():
                continue
            text = source.read_text().replace(f'"{made}"', f'"{copied.name}"')
            (copied / name).write_text(text)
            (copied / name).chmod(source.stat().st_mode & 0o777)
    shutil.rmtree(root / made)
