"""AppArmor and SELinux through the built file; most of it where the kernel has the module."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from typing import Iterator

import pytest

from libcontainer import lsm
from tests.integration.test_seccomp import RUNC, Bundle

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.access(RUNC, os.X_OK), reason="dist/runc is not built"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]

needs_apparmor = pytest.mark.skipif(
    not lsm.apparmor_enabled() or not shutil.which("apparmor_parser"), reason="needs AppArmor"
)
without_apparmor = pytest.mark.skipif(lsm.apparmor_enabled(), reason="AppArmor is on")
without_selinux = pytest.mark.skipif(lsm.selinux_enabled(), reason="SELinux is on")

PROFILE = """
profile runc-test flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  mount,
  umount,
  signal,
  ptrace,
  deny /dev/shm/** w,
}
"""
SHOW = "read label < /proc/self/attr/current; echo $label"


@pytest.fixture
def bundle(tmp_path: pathlib.Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path)
    made.config["process"]["args"] = ["/bin/sh", "-c", SHOW]
    yield made
    made.runc("delete", "--force", "c1")


@pytest.fixture
def profile() -> Iterator[str]:
    subprocess.run(["apparmor_parser", "--replace"], input=PROFILE, text=True, check=True)
    yield "runc-test"
    subprocess.run(["apparmor_parser", "--remove"], input=PROFILE, text=True, check=True)


@needs_apparmor
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_run_and_exec(bundle: Bundle, profile: str, no_new_privs: bool) -> None:
    process = bundle.config["process"]
    process["apparmorProfile"] = profile
    process["noNewPrivileges"] = no_new_privs
    assert bundle.run() == (0, "runc-test (enforce)\n")
    process["args"] = ["/bin/sh", "-c", "touch /dev/allowed && mkdir /dev/shm/foo"]
    status, output = bundle.run()
    assert status != 0
    assert "Permission denied" in output
    process["args"] = ["/bin/sleep", "1000"]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    assert bundle.runc("exec", "c1", "/bin/sh", "-c", SHOW) == (0, "runc-test (enforce)\n")


@needs_apparmor
def test_exec_with_a_profile_of_its_own(bundle: Bundle, profile: str) -> None:
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    command = ["exec", "--apparmor", profile, "c1", "/bin/sh", "-c", SHOW]
    assert bundle.runc(*command) == (0, "runc-test (enforce)\n")


@needs_apparmor
def test_profile_that_is_not_loaded(bundle: Bundle) -> None:
    bundle.config["process"]["apparmorProfile"] = "no-such-profile"
    status, output = bundle.run()
    assert status != 0
    assert "apparmor failed to apply profile no-such-profile: No such file" in output
    assert bundle.containers() == []


@needs_apparmor
def test_exec_of_a_profile_that_is_not_loaded(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    status, output = bundle.runc("exec", "--apparmor", "no-such-profile", "c1", "/bin/true")
    assert status == 255
    assert "apparmor failed to apply profile no-such-profile: No such file" in output


FORGED = {
    "a tmpfs over /proc": """
        busybox mount -t tmpfs none /proc && mkdir -p /proc/self/attr/apparmor
        touch /proc/self/attr/exec /proc/self/attr/apparmor/exec""",
    "a part of procfs over /proc": "busybox mount --bind /proc/1 /proc",
    "no /proc": "busybox umount -l /proc",
}


@needs_apparmor
@pytest.mark.parametrize("forgery", FORGED)
def test_a_label_cannot_be_led_astray(bundle: Bundle, profile: str, forgery: str) -> None:
    """CVE-2019-16884, CVE-2025-52881, with a real profile: what `exec` runs is confined all the same.

    The container's own process forges /proc and says so by `ready`. The control is the same program
    without a profile: it does what the profile denies, as it would if the label went astray.
    """
    process = bundle.config["process"]
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].append("CAP_SYS_ADMIN")
    bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
    script = f"{FORGED[forgery]}\ntouch /dev/shm/ready; exec sleep 1000"
    process["args"] = ["/bin/sh", "-c", script]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    attempt = "until test -e /dev/shm/ready; do sleep 0.1; done; mkdir /dev/shm/$$"
    command = ["c1", "/bin/sh", "-c", attempt]
    assert bundle.runc("exec", *command) == (0, "")
    status, output = bundle.runc("exec", "--apparmor", profile, *command)
    assert status != 0 and "Permission denied" in output


@without_apparmor
def test_apparmor_is_off(bundle: Bundle) -> None:
    bundle.config["process"]["apparmorProfile"] = "docker-default"
    status, output = bundle.run()
    assert status != 0
    assert "apparmor: config provided but apparmor not supported" in output
    assert bundle.containers() == []


@without_apparmor
def test_exec_where_apparmor_is_off(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    status, output = bundle.runc("exec", "--apparmor", "docker-default", "c1", "/bin/true")
    assert status == 255
    assert "apparmor: config provided but apparmor not supported" in output


@without_selinux
@pytest.mark.parametrize("place", ["selinuxLabel", "mountLabel"])
def test_selinux_is_off(bundle: Bundle, place: str) -> None:
    section = bundle.config["process" if place == "selinuxLabel" else "linux"]
    section[place] = "system_u:object_r:container_file_t:s0:c1,c2"
    status, output = bundle.run()
    assert status != 0
    assert "selinux label is specified in config, but selinux is disabled" in output
    assert bundle.containers() == []


@without_selinux
def test_exec_where_selinux_is_off(bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    assert bundle.runc("run", "--detach", "c1") == (0, "")
    label = "system_u:system_r:container_t:s0"
    status, output = bundle.runc("exec", "--process-label", label, "c1", "/bin/true")
    assert status == 255
    assert "selinux label is specified in config, but selinux is disabled" in output
