"""The file inside a container that the file runs: one with all privileges, one with a user namespace."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from tests.conftest import Bundle

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE "
    "NET_ADMIN NET_RAW SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_RESOURCE MKNOD SETFCAP AUDIT_WRITE"
)
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc")


def outer(bundle: Bundle, rootfs: str, *inner_namespaces: str) -> None:
    """Make `bundle` a container that has the host's programs, the runtime, and a bundle of its own."""
    config = bundle.config
    for place in SYSTEM:
        config["mounts"].append(
            {"destination": place, "type": "bind", "source": place, "options": ["rbind", "ro"]}
        )
    held = held_capabilities()
    names = [f"CAP_{name}" for name in CAPABILITIES.split() if f"CAP_{name}" in held]
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    config["process"]["noNewPrivileges"] = False
    config["root"]["readonly"] = False
    config["linux"].update(maskedPaths=[], readonlyPaths=[])
    config["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    for mount in config["mounts"]:
        if mount["destination"] in ("/sys", "/sys/fs/cgroup"):
            mount["options"] = [option for option in mount["options"] if option != "ro"]
    inner = bundle.rootfs / "inner"
    for link in SYSTEM:
        shutil.rmtree(bundle.rootfs / link[1:], ignore_errors=True)
    inner.mkdir()
    subprocess.run(["cp", "-a", rootfs, str(inner / "rootfs")], check=True)
    shutil.copy(bundle.runc, bundle.rootfs / "runc")
    subprocess.run(["/bin/sh", "-c", f"cd {inner} && {bundle.runc} spec"], check=True)


def held_capabilities() -> list[str]:
    """Names of the capabilities that this process may hand on."""
    from libc_bindings.capabilities import NAMES

    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


INNER = """
cd /inner
sed -i 's/"terminal": true/"terminal": false/; s/"sh"$/"sleep", "1000"/' config.json
/runc run -d c </dev/null >/dev/null
/runc exec c sh -c 'id -u; hostname; cat /proc/1/comm'
/runc state c | grep -c '"running"'
/runc kill c KILL
while /runc state c | grep -q running; do sleep 0.05; done
/runc delete c
sed -i 's/"sleep", "1000"/"echo", "inner done"/' config.json
/runc run c
"""


@pytest.mark.parametrize("kind", ["privileged", "user namespace"])
def test_nested(bundle: Bundle, rootfs: str, kind: str) -> None:
    outer(bundle, rootfs)
    config: dict[str, Any] = bundle.config
    if kind == "user namespace":
        linux = config["linux"]
        linux["namespaces"].append({"type": "user"})
        if {"type": "cgroup"} not in linux["namespaces"]:
            linux["namespaces"].append({"type": "cgroup"})
        linux["uidMappings"] = linux["gidMappings"] = [
            {"containerID": 0, "hostID": 400000, "size": 65536}
        ]
        subprocess.run(["chown", "-hR", "400000:400000", str(bundle.rootfs)], check=True)
    done = bundle.shell("export PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -e" + INNER)
    assert done.returncode == 0, done
    assert done.stdout.split("\n") == ["0", "runc", "sleep", "1", "inner done", ""], done
