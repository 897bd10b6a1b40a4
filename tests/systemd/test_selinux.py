"""SELinux for real: labels of processes, files and keys, in a machine that is booted for it.

    python3 tests/systemd/selinux_policy.py >build/policy.conf
    checkpolicy -U allow -c 31 -o build/policy build/policy.conf
    VM_APPEND="security=selinux selinux=1" tests/beds/vm/run.sh tests/systemd/test_selinux.py

Debian's kernel has SELinux, but no policy comes with it: the tests load the small one. That cannot be
undone before the next boot, so they do it only where the machine has none (every process is `kernel`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration import ways

POLICY = Path(__file__).resolve().parents[2] / "build" / "policy"
SELINUXFS = Path("/sys/fs/selinux")
PROCESS, FILES, BASE = (f"system_u:base_r:{kind}" for kind in ("cont_t", "cfile_t", "base_t"))
SHOW = "read label < /proc/self/attr/current; echo $label"

KEY = """
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    char label[256] = "";
    /* KEYCTL_GET_SECURITY of KEY_SPEC_SESSION_KEYRING */
    syscall(SYS_keyctl, 17, -3, label, sizeof label - 1);
    puts(label);
    return 0;
}
"""


@pytest.fixture(scope="module", autouse=True)
def enforcing() -> None:
    if not SELINUXFS.is_dir():
        pytest.skip("the machine is not booted with SELinux")
    if not (SELINUXFS / "load").exists():
        subprocess.run(["mount", "-t", "selinuxfs", "none", str(SELINUXFS)], check=True)
    label = Path("/proc/self/attr/current").read_text().rstrip("\0\n")
    if label == "kernel":
        if not POLICY.exists():
            pytest.skip("no policy is loaded, and build/policy is not made")
        fd = os.open(SELINUXFS / "load", os.O_WRONLY)
        policy = POLICY.read_bytes()
        assert os.write(fd, policy) == len(policy)
        os.close(fd)
    elif label != BASE:
        pytest.skip(f"another policy is loaded ({label})")
    (SELINUXFS / "enforce").write_text("1")


@pytest.fixture
def labelled(bundle: Any) -> Any:
    bundle.config["process"]["selinuxLabel"] = PROCESS
    bundle.config["linux"]["mountLabel"] = FILES
    return bundle


@pytest.mark.parametrize("way", ways.ALL)
def test_the_process(way: str, labelled: Any) -> None:
    assert ways.output(labelled, way, SHOW) == PROCESS


def test_exec_with_a_label_of_its_own(bundle: Any) -> None:
    bundle.start()
    for options, label in (([], BASE), (["--process-label", PROCESS], PROCESS)):
        assert bundle.exec("sh", "-c", SHOW, options=options).stdout.strip() == label


def test_the_files(labelled: Any) -> None:
    labelled.start()
    root = f"/proc/{labelled.state()['pid']}/root"
    for place in ("dev", "dev/shm", "dev/pts", "dev/mqueue", "dev/null"):
        found = os.getxattr(f"{root}/{place}", "security.selinux").rstrip(b"\0").decode()
        assert found == FILES, place


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("defence", [True, False])
def test_the_policy_holds_the_container(defence: bool, way: str, labelled: Any) -> None:
    """The label is no mere text: what the policy denies to its type fails, and else does not."""
    if not defence:
        del labelled.config["process"]["selinuxLabel"]
    done = ways.shell(labelled, way, "mkdir /dev/shm/made")
    assert (done.returncode != 0) is defence, done
    assert ("Permission denied" in done.stderr) is defence


def test_the_session_keyring(labelled: Any) -> None:
    ways.static_program(KEY, labelled.rootfs / "key")
    assert labelled.run("/key").stdout.strip() == PROCESS


@pytest.mark.parametrize("way", ["run", "exec"])
def test_labels_that_the_policy_does_not_know(way: str, bundle: Any) -> None:
    done = ways.shell(bundle, way, "true", {"selinuxLabel": "no:such:label"})
    assert (
        done.returncode in (1, 255)
        and "label no:such:label: invalid argument" in done.stderr.lower()
    )


def test_a_label_cannot_be_led_astray(bundle: Any) -> None:
    """CVE-2019-16884: the container's own process has put a tmpfs with files of the same names there."""
    process = bundle.config["process"]
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].append("CAP_SYS_ADMIN")
    bundle.config["linux"]["mountLabel"] = FILES
    bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
    forge = "mount -t tmpfs none /proc && mkdir -p /proc/self/attr && touch /proc/self/attr/exec"
    bundle.start("sh", "-c", f"{forge}; mkdir /dev/shm/ready; sleep 1000")
    attempt = "until test -e /dev/shm/ready; do sleep 0.1; done; mkdir /dev/shm/$$"
    assert bundle.exec("sh", "-c", attempt).returncode == 0
    done = bundle.exec("sh", "-c", attempt, options=["--process-label", PROCESS])
    assert done.returncode != 0 and "Permission denied" in done.stderr
