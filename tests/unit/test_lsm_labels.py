"""What lsm.py refuses and writes; real labels are tested where the kernel has the modules."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from libcontainer import lsm
from libcontainer.errors import Error


class Recorder:
    """Stands in for procfs, which this machine's kernel has no labels in."""

    def __init__(self, **failures: int) -> None:
        self.written: list[tuple[str, str]] = []
        self.failures = failures

    def write_self(self, path: str, data: str) -> None:
        self.written.append((path, data))
        number = self.failures.get(path.replace("/", "_"))
        if number:
            raise OSError(number, os.strerror(number), path)


needs_no_apparmor = pytest.mark.skipif(lsm.apparmor_enabled(), reason="AppArmor is on")
needs_no_selinux = pytest.mark.skipif(lsm.selinux_enabled(), reason="SELinux is on")


@needs_no_apparmor
def test_apparmor_is_off() -> None:
    with pytest.raises(Error, match="apparmor: config provided but apparmor not supported"):
        lsm.check({"apparmorProfile": "docker-default"})


@needs_no_selinux
@pytest.mark.parametrize(
    ("process", "mount_label", "place"),
    [
        ({"selinuxLabel": "system_u:system_r:svirt_t:s0:c1,c2"}, None, r"process\.selinuxLabel"),
        ({}, "system_u:object_r:svirt_file_t:s0:c1,c2", r"linux\.mountLabel"),
    ],
)
def test_selinux_is_off(process: Any, mount_label: str | None, place: str) -> None:
    with pytest.raises(Error, match=place + ": selinux label is specified in config, but selinux"):
        lsm.check(process, mount_label)


def test_nothing_is_asked_for() -> None:
    lsm.check({})
    lsm.check({"apparmorProfile": "", "selinuxLabel": ""}, "")
    procfs = Recorder()
    lsm.set_exec_label(procfs, {})
    assert procfs.written == []


@pytest.mark.parametrize("label", ['a",suid,context="b', "a\\", "a\nb", "a\x00"])
def test_mount_label_cannot_add_options(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lsm, "selinux_enabled", lambda: True)
    with pytest.raises(Error, match=r"linux\.mountLabel: must not have"):
        lsm.check({}, label)


def test_profile_and_label_for_the_next_exec() -> None:
    procfs = Recorder()
    lsm.set_exec_label(procfs, {"apparmorProfile": "p", "selinuxLabel": "u:r:t:s0"})
    assert procfs.written == [("attr/apparmor/exec", "exec p"), ("attr/exec", "u:r:t:s0")]


def test_kernels_with_one_file_for_all_modules() -> None:
    procfs = Recorder(attr_apparmor_exec=errno.ENOENT)
    lsm.set_exec_label(procfs, {"apparmorProfile": "p"})
    assert procfs.written[-1] == ("attr/exec", "exec p")


def test_profile_that_is_not_loaded() -> None:
    procfs = Recorder(attr_apparmor_exec=errno.ENOENT, attr_exec=errno.ENOENT)
    with pytest.raises(Error, match="apparmor failed to apply profile p: No such file"):
        lsm.set_exec_label(procfs, {"apparmorProfile": "p"})
    with pytest.raises(Error, match="apparmor failed to apply profile p: Permission denied"):
        lsm.set_exec_label(Recorder(attr_apparmor_exec=errno.EACCES), {"apparmorProfile": "p"})


def test_label_that_the_policy_does_not_know() -> None:
    with pytest.raises(Error, match="can't set process label nonsense: Invalid argument"):
        lsm.set_exec_label(Recorder(attr_exec=errno.EINVAL), {"selinuxLabel": "nonsense"})


def test_keyring_label() -> None:
    procfs = Recorder()
    lsm.set_key_label(procfs, "u:r:t:s0")
    lsm.set_key_label(procfs, "")
    assert procfs.written == [("attr/keycreate", "u:r:t:s0"), ("attr/keycreate", "")]
    lsm.set_key_label(Recorder(attr_keycreate=errno.ENOENT), "u:r:t:s0")
    lsm.set_key_label(Recorder(attr_keycreate=errno.EACCES), "")
    with pytest.raises(Error, match="can't set keyring label"):
        lsm.set_key_label(Recorder(attr_keycreate=errno.EACCES), "u:r:t:s0")
