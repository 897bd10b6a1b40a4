"""/dev in the container: default devices, the config's, links."""

from __future__ import annotations

import os
import stat

import pytest

from tests.integration.rootfs_bundle import Bundle, any_kernel, any_user, bundle

__all__ = ["any_kernel", "any_user", "bundle"]

DEFAULT = {
    "null": "1:3",
    "zero": "1:5",
    "full": "1:7",
    "random": "1:8",
    "urandom": "1:9",
    "tty": "5:0",
}


def test_default_devices(any_user: Bundle) -> None:
    script = "cd /dev && stat -c %n:%t:%T:%a " + " ".join(DEFAULT)
    expected = "".join(f"{name}:{numbers}:666\n" for name, numbers in DEFAULT.items())
    assert any_user.good(script).output == expected


def test_by_bind_without_the_mount_fd_calls(any_kernel: Bundle) -> None:
    any_kernel.add_user_namespace()
    any_kernel.good("echo x >/dev/null && test -c /dev/null")


def test_links(any_user: Bundle) -> None:
    result = any_user.good(
        "cd /dev && for link in fd stdin stdout stderr ptmx; do readlink $link; done"
    )
    assert result.output.split() == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ]


def test_devices_of_the_config(bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/a", "type": "c", "major": 1, "minor": 11, "fileMode": 0o640},
        {"path": "/dev/deep/b", "type": "b", "major": 7, "minor": 9, "uid": 3, "gid": 4},
        {"path": "/elsewhere/c", "type": "u", "major": 1, "minor": 3, "fileMode": 0o4600, "uid": 1},
        {"path": "/dev/p", "type": "p", "fileMode": 0o622},
    ]
    script = "stat -c %F:%t:%T:%a:%u:%g /dev/a /dev/deep/b /elsewhere/c; stat -c %F:%a /dev/p"
    assert bundle.good(script).output.splitlines() == [
        "character special file:1:b:640:0:0",
        "block special file:7:9:666:3:4",
        "character special file:1:3:4600:1:0",
        "fifo:622",
    ]


def test_umask_is_not_applied(bundle: Bundle) -> None:
    old = os.umask(0o077)
    try:
        assert bundle.good("stat -c %a /dev/null").output == "666\n"
    finally:
        os.umask(old)


@pytest.mark.parametrize("name", ["null", "tty", "ptmx"])
def test_duplicates_of_the_default_ones(any_user: Bundle, name: str) -> None:
    major, minor = map(int, DEFAULT.get(name, "5:2").split(":"))
    device = {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor}
    any_user.linux["devices"] = [device]
    # What the config lists is not allowed by default any more, as with runc.
    any_user.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
    )
    result = any_user.good(f"stat -Lc %t:%T /dev/{name}")
    assert result.output == f"{major}:{minor}\n"


def test_another_device_than_the_host_s(bundle: Bundle) -> None:
    bundle.add_user_namespace()
    bundle.linux["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]
    said = bundle.refused()
    assert "/dev/zero" in said
    assert "is not the device c 1:3" in said


def test_a_device_that_the_host_lacks(bundle: Bundle) -> None:
    bundle.add_user_namespace()
    bundle.linux["devices"] = [{"path": "/dev/nothing", "type": "c", "major": 9, "minor": 9}]
    said = bundle.refused()
    assert "error creating device nodes" in said
    assert "/dev/nothing" in said


def test_fifo_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.add_user_namespace()
    bundle.linux["devices"] = [{"path": "/dev/pipe", "type": "p"}]
    assert bundle.good("stat -c %F /dev/pipe").output == "fifo\n"


def test_a_dev_of_the_host_is_left_alone(bundle: Bundle) -> None:
    own = bundle.path / "own"
    own.mkdir()
    os.mknod(own / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    bundle.without_mounts("/dev")
    bundle.mount("/dev", own, "rbind")
    bundle.good("true")
    assert [path.name for path in own.iterdir()] == ["null"]


def test_a_dev_that_is_a_link_stays_inside(bundle: Bundle) -> None:
    outside = bundle.path / "outside"
    outside.mkdir()
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(f"../../../../../..{outside}")
    bundle.without_mounts("/dev")
    result = bundle.good(f"stat -c %t:%T {outside}/null")
    assert result.output == "1:3\n"
    assert not list(outside.iterdir())


def test_readonly_dev(any_kernel: Bundle) -> None:
    for mount in any_kernel.config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append("ro")
    result = any_kernel.good("test -c /dev/null && cat /proc/mounts")
    assert "ro" in result.flags("/dev")


def test_standard_streams_that_are_null_become_the_container_s(bundle: Bundle) -> None:
    # The tests give the host's /dev/null as standard input.
    result = bundle.good("stat -Lc %d /proc/self/fd/0; stat -c %d /dev/null")
    first, second = result.output.split()
    assert first == second
