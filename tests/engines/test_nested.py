"""The file inside a container of Docker's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from libc_bindings.capabilities import NAMES
from tests.engines.daemons import IMAGE, OURS, REFERENCE, Docker, WithRuntime

SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc")
SCRIPT = """
set -e
[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -o remount,rw /sys/fs/cgroup
for mounted in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do mount -o remount,rw,bind $mounted; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /inner
sed -i 's/"terminal": true/"terminal": false/; s/"sh"$/"sleep", "1000"/' config.json
./runc run -d c </dev/null >/dev/null
./runc exec c cat /proc/1/comm
./runc delete --force c
sed -i 's/"sleep", "1000"/"echo", "inner done"/' config.json
./runc run c
"""


def privileges() -> list[str]:
    """What --privileged gives, but for capabilities that this machine's root lacks itself."""
    status = Path("/proc/self/status").read_text()
    mask = int(status.split("CapBnd:")[1].split()[0], 16)
    known = NAMES[: NAMES.index("CAP_PERFMON")]  # Docker 20.10 knows these
    held = [name for number, name in enumerate(known) if mask >> number & 1]
    options = ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"]
    return [
        *(f"--cap-add={name}" for name in held),
        *(f"--security-opt={option}" for option in options),
        "--device-cgroup-rule=a *:* rwm",
        "--cgroupns=private",
    ]


@pytest.mark.parametrize("runtime", [OURS, REFERENCE])
def test_in_docker(
    docker_daemon: Docker, runc: str, rootfs: str, scratch: Path, runtime: str
) -> None:
    """With every capability that there is, below Docker with this file and below Docker with runc."""
    inner = scratch / "inner"
    inner.mkdir()
    subprocess.run(["cp", "-a", rootfs, str(inner / "rootfs")], check=True)
    shutil.copy(runc, inner / "runc")
    subprocess.run([runc, "spec"], cwd=inner, check=True)
    docker = WithRuntime(docker_daemon, runtime)
    binds = [f"-v={place}:{place}:ro" for place in SYSTEM if Path(place).exists()]
    done = docker.run(*privileges(), f"-v={inner}:/inner", *binds, IMAGE, "sh", "-c", SCRIPT)
    assert done.ok().split("\n") == ["sleep", "inner done"]
