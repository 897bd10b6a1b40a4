"""The config's mounts, looked at from inside the container."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
from typing import Any, Iterator

import pytest

from tests.integration.rootfs_bundle import MAPPING, Bundle, any_kernel, any_user, bundle

__all__ = ["any_kernel", "any_user", "bundle"]

OTHER_MAPPING: dict[str, Any] = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 100005, "size": 10}],
}


@pytest.fixture
def source(bundle: Bundle) -> Iterator[pathlib.Path]:
    """A directory of the host's with a file of each kind."""
    path = bundle.path / "source"
    (path / "directory").mkdir(parents=True)
    (path / "directory" / "file").write_text("inside")
    (path / "file").write_text("hello")
    (path / "link").symlink_to("file")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "socket"))
        yield path


@pytest.fixture
def other_mount(bundle: Bundle) -> Iterator[pathlib.Path]:
    """A tmpfs of the host's, whose mount options the test may change."""
    path = bundle.path / "other"
    path.mkdir()
    # Flags given here would be the file system's own, which a bind mount cannot change.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "strictatime", "test", path], check=True)
    path.chmod(0o755)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def remount(path: pathlib.Path, flags: str) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{flags}", path], check=True)


class TestBinds:
    def test_directory(self, any_kernel: Bundle, source: pathlib.Path) -> None:
        any_kernel.mount("/new/place", source, "bind")
        assert any_kernel.good("cat /new/place/directory/file").output == "inside"

    def test_file_where_nothing_is(self, any_kernel: Bundle, source: pathlib.Path) -> None:
        any_kernel.mount("/etc/deep/file", source / "file", "rbind", "ro")
        result = any_kernel.run("cat /etc/deep/file /proc/mounts; echo x >/etc/deep/file")
        assert result.status == 1
        assert result.output.startswith("hello")
        assert "Read-only file system" in result.output
        assert "ro" in result.flags("/etc/deep/file")

    def test_relative_source_is_relative_to_the_bundle(
        self, bundle: Bundle, source: pathlib.Path
    ) -> None:
        bundle.mount("/place", "source/file", "bind")
        assert bundle.good("cat /place").output == "hello"

    def test_bind_is_implied_by_the_type(self, bundle: Bundle, source: pathlib.Path) -> None:
        bundle.mount("/place", source / "file")
        assert bundle.good("cat /place").output == "hello"

    def test_type_means_nothing_with_the_option(self, bundle: Bundle, source: pathlib.Path) -> None:
        bundle.mount("/place", source / "link", "bind", kind="none")
        assert bundle.good("cat /place").output == "hello"

    @pytest.mark.parametrize(
        ("name", "kind"), [("socket", "socket"), ("/dev/null", "character special file")]
    )
    def test_special_files(
        self, bundle: Bundle, source: pathlib.Path, name: str, kind: str
    ) -> None:
        bundle.mount("/place", source / name, "bind")
        assert bundle.good("stat -c %F /place").output.strip() == kind

    def test_rbind_takes_the_mounts_beneath(
        self, any_kernel: Bundle, other_mount: pathlib.Path
    ) -> None:
        (other_mount / "file").write_text("below")
        any_kernel.mount("/one", any_kernel.path, "bind")
        any_kernel.mount("/all", any_kernel.path, "rbind")
        result = any_kernel.good("ls /one/other; cat /all/other/file")
        assert result.output == "below"

    def test_through_links_that_stay_inside(self, bundle: Bundle, source: pathlib.Path) -> None:
        (bundle.rootfs / "jump").symlink_to("/real/../place")
        bundle.mount("/jump/file", source / "file", "bind")
        bundle.mount("/jump/../../../../up", source / "file", "bind")
        assert bundle.good("cat /place/file /up").output == "hellohello"
        assert not (bundle.path / "up").exists()

    def test_a_link_out_of_the_rootfs_stays_inside(
        self, bundle: Bundle, source: pathlib.Path
    ) -> None:
        outside = bundle.path / "outside"
        outside.mkdir()
        (bundle.rootfs / "out").symlink_to(f"../../../../../..{outside}")
        bundle.mount("/out/file", source / "file", "bind")
        assert bundle.good(f"cat {outside}/file").output == "hello"
        assert not list(outside.iterdir())

    def test_destination_as_a_path_of_the_host(self, bundle: Bundle, source: pathlib.Path) -> None:
        bundle.mount(str(bundle.rootfs / "place"), source / "file", "bind")
        assert bundle.good("cat /place").output == "hello"

    def test_source_in_an_earlier_mount(self, any_user: Bundle, source: pathlib.Path) -> None:
        any_user.mount("/first", source, "bind")
        any_user.mount("/second", any_user.rootfs / "first/directory", "rbind")
        assert any_user.good("cat /second/file").output == "inside"

    def test_source_that_only_the_host_may_reach(
        self, any_user: Bundle, source: pathlib.Path
    ) -> None:
        source.chmod(0o700)
        any_user.mount("/a", source / "directory", "bind")
        any_user.mount("/b", source / "directory", "bind", "ro")
        result = any_user.good("cat /a/file /b/file /proc/mounts")
        assert result.output.startswith("insideinside")
        assert "ro" in result.flags("/b")

    def test_missing_source(self, any_user: Bundle) -> None:
        any_user.mount("/place", "/does/not/exist", "bind")
        said = any_user.refused()
        assert 'error mounting "/does/not/exist" to rootfs at "/place"' in said
        assert "no such file or directory" in said


class TestFlags:
    def test_set_and_cleared(self, any_kernel: Bundle, other_mount: pathlib.Path) -> None:
        remount(other_mount, "nosuid,nodev,noexec")
        any_kernel.mount("/kept", other_mount, "bind")
        any_kernel.mount("/named", other_mount, "bind", "ro", "noexec")
        any_kernel.mount("/cleared", other_mount, "bind", "exec")
        result = any_kernel.good()
        restricted = {"nosuid", "nodev", "noexec"}
        assert result.flags("/kept") & {*restricted, "ro"} == restricted
        assert result.flags("/named") & {*restricted, "ro"} == {"noexec", "ro"}
        assert not result.flags("/cleared") & restricted

    @pytest.mark.parametrize(
        ("host", "options", "expected"),
        [
            ("noatime", (), {"noatime"}),
            ("noatime", ("atime",), {"noatime"}),
            ("noatime", ("relatime",), {"relatime"}),
            ("noatime", ("nodiratime",), {"nodiratime", "relatime"}),
            ("noatime", ("nodiratime", "strictatime"), {"nodiratime"}),
            ("nodiratime,relatime", ("strictatime",), set()),
            ("strictatime", ("noatime",), {"noatime"}),
        ],
    )
    def test_access_times(
        self,
        any_kernel: Bundle,
        other_mount: pathlib.Path,
        host: str,
        options: tuple[str, ...],
        expected: set[str],
    ) -> None:
        remount(other_mount, host)
        any_kernel.mount("/place", other_mount, "bind", *options)
        found = any_kernel.good().flags("/place")
        assert found & {"noatime", "nodiratime", "relatime"} == expected

    def test_locked_flags_stay(self, any_kernel: Bundle, other_mount: pathlib.Path) -> None:
        any_kernel.add_user_namespace()
        remount(other_mount, "nosuid,nodev,noexec,noatime")
        any_kernel.mount("/place", other_mount, "bind", "ro")
        expected = {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert expected <= any_kernel.good().flags("/place")

    @pytest.mark.parametrize("option", ["rw", "suid", "dev", "exec", "strictatime"])
    def test_locked_flags_cannot_be_cleared_by_name(
        self, any_kernel: Bundle, other_mount: pathlib.Path, option: str
    ) -> None:
        any_kernel.add_user_namespace()
        remount(other_mount, "ro,nosuid,nodev,noexec,noatime")
        any_kernel.mount("/place", other_mount, "bind", option)
        said = any_kernel.refused()
        assert f'error mounting "{other_mount}" to rootfs at "/place"' in said
        assert "operation not permitted (what a user namespace has locked stays set)" in said

    def test_recursive(self, bundle: Bundle, other_mount: pathlib.Path) -> None:
        options = ("rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime")
        bundle.mount("/all", bundle.path, "rbind", *options, "rnosymfollow")
        bundle.mount("/top", bundle.path, "rbind", "ro")
        result = bundle.good()
        expected = {name[1:] for name in options} | {"nosymfollow"}
        assert expected <= result.flags("/all")
        assert expected <= result.flags("/all/other")
        assert "ro" in result.flags("/top")
        assert "rw" in result.flags("/top/other")

    def test_recursive_clears(self, bundle: Bundle, other_mount: pathlib.Path) -> None:
        remount(other_mount, "ro,nosuid,nodev,noexec,noatime")
        options = ("rrw", "rsuid", "rdev", "rexec", "rstrictatime")
        bundle.mount("/all", bundle.path, "rbind", *options)
        found = bundle.good().flags("/all/other")
        assert not found & {"ro", "nosuid", "nodev", "noexec", "noatime", "relatime"}

    def test_recursive_on_a_new_file_system(self, bundle: Bundle) -> None:
        bundle.mount("/place", "tmpfs", "rro", kind="tmpfs")
        assert "ro" in bundle.good().flags("/place")

    def test_remount(self, any_kernel: Bundle) -> None:
        any_kernel.mount("/place", "tmpfs", "size=1m", kind="tmpfs")
        any_kernel.mount("/place", "none", "remount", "size=64k", kind="tmpfs")
        any_kernel.mount("/place", "none", "remount", "bind", "ro", "nosuid")
        found = any_kernel.good("cat /proc/mounts").flags("/place")
        assert {"ro", "nosuid", "size=64k"} <= found

    def test_remount_of_nothing(self, bundle: Bundle) -> None:
        bundle.mount("/place", "none", "remount", "ro", kind="tmpfs")
        assert 'to rootfs at "/place"' in bundle.refused()


class TestPropagation:
    @pytest.mark.parametrize("name", ["private", "rprivate", "slave", "rslave"])
    @pytest.mark.parametrize("kind", ["tmpfs", "bind"])
    def test_apart(self, any_kernel: Bundle, name: str, kind: str) -> None:
        any_kernel.mount("/place", any_kernel.path, name, kind=kind)
        result = any_kernel.good("grep ' /place ' /proc/self/mountinfo")
        assert "shared:" not in result.output
        if "private" in name:
            assert "master:" not in result.output

    @pytest.mark.parametrize("name", ["shared", "rshared", "unbindable", "runbindable"])
    def test_shared_and_unbindable(self, any_kernel: Bundle, name: str) -> None:
        any_kernel.mount("/place", "tmpfs", name, kind="tmpfs")
        result = any_kernel.good("grep ' /place ' /proc/self/mountinfo")
        assert name[-6:].rstrip("e") in result.output or "unbindable" in result.output

    @pytest.mark.parametrize(
        "name",
        [
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
            "runbindable",
        ],
    )
    def test_of_the_root(self, any_kernel: Bundle, name: str) -> None:
        any_kernel.linux["rootfsPropagation"] = name
        line = any_kernel.good(
            "grep ' / / ' /proc/self/mountinfo || head -n 1 /proc/self/mountinfo"
        )
        for word in ("shared", "unbindable"):
            assert (word in line.output) == (word in name)

    def test_nothing_reaches_the_host(self, bundle: Bundle, other_mount: pathlib.Path) -> None:
        subprocess.run(["mount", "--make-shared", other_mount], check=True)
        (other_mount / "below").mkdir()
        bundle.config["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
        bundle.config["process"]["capabilities"]["effective"].append("CAP_SYS_ADMIN")
        bundle.config["process"]["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
        bundle.mount("/place", other_mount, "rbind", "rslave")
        bundle.good("mount -t tmpfs none /place/below && touch /place/below/seen")
        assert not (other_mount / "below/seen").exists()


class TestFilesystems:
    def test_default_config(self, any_user: Bundle) -> None:
        result = any_user.good()
        assert result.mount("/proc")[2] == "proc"
        assert result.mount("/dev")[2] == "tmpfs"
        assert {"nosuid", "noexec", "mode=620", "ptmxmode=666"} <= result.flags("/dev/pts")
        assert {"nosuid", "nodev", "noexec", "size=65536k"} <= result.flags("/dev/shm")
        assert result.mount("/dev/mqueue")[2] == "mqueue"
        assert "ro" in result.flags("/sys")

    def test_tmpfs_takes_the_mode_of_what_it_covers(self, bundle: Bundle) -> None:
        (bundle.rootfs / "place").mkdir()
        (bundle.rootfs / "place").chmod(0o710)
        bundle.mount("/place", "tmpfs", kind="tmpfs")
        bundle.mount("/new/place", "tmpfs", kind="tmpfs")
        bundle.mount("/own", "tmpfs", "mode=1500", "uid=3", "gid=4", "size=64k", kind="tmpfs")
        result = bundle.good("stat -c %a:%u:%g /place /new/place /own; cat /proc/mounts")
        assert result.output.startswith("710:0:0\n1777:0:0\n1500:3:4\n")
        assert "size=64k" in result.flags("/own")

    def test_readonly_tmpfs_holds_the_mount_points_of_others(
        self, any_kernel: Bundle, source: pathlib.Path
    ) -> None:
        any_kernel.mount("/place", "tmpfs", "ro", kind="tmpfs")
        any_kernel.mount("/place/in/it", source / "file", "bind")
        result = any_kernel.good("cat /place/in/it /proc/mounts")
        assert result.output.startswith("hello")
        assert "ro" in result.flags("/place")

    def test_copy_up(self, any_kernel: Bundle) -> None:
        place = any_kernel.rootfs / "place"
        (place / "directory").mkdir(parents=True)
        (place / "directory").chmod(0o1777)
        (place / "file").write_text("content")
        (place / "file").chmod(0o4755)
        os.chown(place / "file", 7, 8)
        (place / "file").chmod(0o4755)
        (place / "link").symlink_to("/nowhere")
        os.mkfifo(place / "fifo")
        any_kernel.mount("/place", "tmpfs", "tmpcopyup", kind="tmpfs")
        any_kernel.mount("/none", "tmpfs", "tmpcopyup", kind="tmpfs")
        script = (
            "cd /place && cat file && readlink link && stat -c %a:%u:%g file directory"
            " && stat -c %F fifo && touch new"
        )
        expected = "content/nowhere\n4755:7:8\n1777:0:0\nfifo\n"
        assert any_kernel.good(script).output == expected
        assert not (place / "new").exists()

    def test_overlay(self, bundle: Bundle, source: pathlib.Path) -> None:
        for name in ("upper", "work"):
            (bundle.path / name).mkdir()
        options = (
            f"lowerdir={source}",
            f"upperdir={bundle.path}/upper",
            f"workdir={bundle.path}/work",
        )
        bundle.mount("/place", "overlay", *options, kind="overlay")
        result = bundle.run("cat /place/file && echo new >/place/new")
        if result.status and "no such device" in result.output:
            pytest.skip("this kernel has no overlay file system")
        assert result.output == "hello"
        assert (bundle.path / "upper/new").read_text() == "new\n"

    def test_unknown_type(self, bundle: Bundle) -> None:
        bundle.mount("/place", "src", kind="nosuchfs")
        said = bundle.refused()
        assert 'error mounting "src" to rootfs at "/place"' in said
        assert 'no such device (the kernel has no file system "nosuchfs")' in said
        assert f"mounts[{len(bundle.config['mounts']) - 1}]" in said

    def test_unknown_option_is_explained(self, any_kernel: Bundle) -> None:
        any_kernel.mount("/place", "tmpfs", "nonsense=1", kind="tmpfs")
        said = any_kernel.refused()
        assert "invalid argument" in said
        if "fsopen" not in any_kernel.lacking:
            assert "nonsense" in said

    def test_options_longer_than_a_page(self, bundle: Bundle) -> None:
        bundle.mount("/place", "tmpfs", "x=" + "y" * 5000, kind="tmpfs")
        assert "4095 bytes" in bundle.refused()


class TestProc:
    @pytest.mark.parametrize("name", ["proc", "sys"])
    def test_not_on_a_link(self, bundle: Bundle, name: str) -> None:
        (bundle.rootfs / "bad").mkdir()
        (bundle.rootfs / name).rmdir()
        (bundle.rootfs / name).symlink_to("/bad")
        assert "must be mounted on ordinary directory" in bundle.refused()

    def test_nothing_but_proc_on_proc(self, bundle: Bundle) -> None:
        bundle.mount("/proc", "tmpfs", kind="tmpfs")
        assert "cannot be mounted because it is not of type proc" in bundle.refused()

    def test_no_directory_on_proc(self, bundle: Bundle, source: pathlib.Path) -> None:
        bundle.mount("/proc", source, "bind")
        assert "cannot be mounted because it is not of type proc" in bundle.refused()

    @pytest.mark.parametrize("place", ["/proc/version", "/proc/self/attr", "/dev/../proc/new"])
    def test_nothing_in_proc(self, bundle: Bundle, source: pathlib.Path, place: str) -> None:
        bundle.mount(place, source / "file", "bind")
        assert "cannot be mounted because it is inside /proc" in bundle.refused()

    def test_nothing_in_proc_through_a_link(self, bundle: Bundle, source: pathlib.Path) -> None:
        (bundle.rootfs / "jump").symlink_to("proc")
        bundle.mount("/jump/version", source / "file", "bind")
        assert "cannot be mounted because it is inside /proc" in bundle.refused()

    @pytest.mark.parametrize("name", ["meminfo", "uptime", "stat", "loadavg"])
    def test_what_lxcfs_emulates(self, bundle: Bundle, source: pathlib.Path, name: str) -> None:
        bundle.mount(f"/proc/{name}", source / "file", "bind")
        assert bundle.good(f"cat /proc/{name}").output == "hello"

    def test_the_host_s_proc(self, bundle: Bundle) -> None:
        bundle.without_mounts("/proc")
        bundle.mount("/proc", "/proc", "rbind")
        bundle.good("cat /proc/1/status")

    def test_nothing_on_the_root(self, bundle: Bundle) -> None:
        bundle.mount("/", "tmpfs", kind="tmpfs")
        assert "on the top of rootfs" in bundle.refused()


class TestIdMapped:
    @pytest.fixture(autouse=True)
    def possible(self, bundle: Bundle) -> None:
        release = tuple(map(int, os.uname().release.split(".")[:2]))
        if release < (5, 12):
            pytest.skip("id-mapped mounts need Linux 5.12")

    def test_mapping_of_the_mount(self, any_user: Bundle, source: pathlib.Path) -> None:
        for place in ("/a", "/b"):
            any_user.mount(place, source, "rbind", "idmap", **OTHER_MAPPING)
        inside = "uidMappings" in any_user.linux
        expected = "0:5\n" if inside else "100000:100005\n"
        assert any_user.good("stat -c %u:%g /a/file /b/file").output == expected * 2

    def test_mapping_of_the_container(self, bundle: Bundle, source: pathlib.Path) -> None:
        bundle.add_user_namespace()
        bundle.mount("/place", source, "bind", "idmap")
        os.chown(source / "file", 10, 20)
        assert bundle.good("stat -c %u:%g /place/file").output == "10:20\n"

    @pytest.mark.parametrize("option", ["idmap", "ridmap"])
    def test_what_lies_beneath(
        self, any_user: Bundle, other_mount: pathlib.Path, option: str
    ) -> None:
        tree = any_user.path / "tree"
        (tree / "below").mkdir(parents=True)
        subprocess.run(["mount", "--bind", other_mount, tree / "below"], check=True)
        try:
            any_user.mount("/place", tree, "rbind", option, **OTHER_MAPPING)
            result = any_user.run("stat -c %u /place /place/below")
        finally:
            subprocess.run(["umount", tree / "below"], check=True)
        if result.status and "MOUNT_ATTR_IDMAP" in result.output:
            pytest.skip("tmpfs cannot be id-mapped on this kernel")
        inside = "uidMappings" in any_user.linux
        mapped, plain = ("0", "65534") if inside else ("100000", "0")
        assert result.output.split() == [mapped, mapped if option == "ridmap" else plain]

    def test_source_in_an_earlier_mount(self, any_user: Bundle, source: pathlib.Path) -> None:
        any_user.mount("/first", source, "bind")
        first = any_user.rootfs / "first/directory"
        any_user.mount("/second", first, "rbind", "idmap", uidMappings=MAPPING, gidMappings=MAPPING)
        assert any_user.good("cat /second/file").output == "inside"

    def test_new_tmpfs(self, any_user: Bundle) -> None:
        any_user.mount("/place", "tmpfs", "mode=755", kind="tmpfs", **OTHER_MAPPING)
        result = any_user.run("stat -c %u:%g /place")
        if result.status and "MOUNT_ATTR_IDMAP" in result.output:
            pytest.skip("tmpfs cannot be id-mapped on this kernel")
        inside = "uidMappings" in any_user.linux
        assert result.output == ("0:5\n" if inside else "100000:100005\n")

    def test_a_file_system_that_cannot(self, any_user: Bundle) -> None:
        any_user.mount("/place", "/sys", "rbind", "idmap", **OTHER_MAPPING)
        said = any_user.refused()
        assert "failed to set MOUNT_ATTR_IDMAP on /sys" in said
        assert 'to rootfs at "/place"' in said


class TestCgroups:
    @pytest.fixture(params=["host's", "own"])
    def namespaced(self, request: Any, bundle: Bundle) -> bool:
        kept = [entry for entry in bundle.linux["namespaces"] if entry["type"] != "cgroup"]
        own: bool = request.param == "own"
        bundle.linux["namespaces"] = kept + [{"type": "cgroup"}] * own
        return own

    def test_all_are_read_only(self, any_kernel: Bundle, namespaced: bool) -> None:
        result = any_kernel.good("grep /sys/fs/cgroup/ /proc/mounts")
        assert result.output
        # The tmpfs that holds them is the container's own, and writable as under runc.
        for line in result.output.splitlines():
            assert "ro" in line.split(" ")[3].split(","), line

    def test_writable_where_the_config_says_so(self, bundle: Bundle, namespaced: bool) -> None:
        for mount in bundle.config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"].remove("ro")
        result = bundle.good("grep ' /sys/fs/cgroup/.* cgroup ' /proc/mounts || true")
        for line in result.output.splitlines():
            assert "rw" in line.split(" ")[3].split(","), line

    def test_it_is_the_container_s(self, any_user: Bundle, namespaced: bool) -> None:
        place = "/sys/fs/cgroup"
        if not os.path.exists(place + "/cgroup.controllers"):
            place += "/memory"
            if not os.path.exists(place):
                pytest.skip("this host has no memory controller of version 1")
        result = any_user.good(f"cat {place}/cgroup.procs")
        assert "1" in result.output.split()


@pytest.mark.needs("cgroup1")
def test_cgroup2_beside_v1_is_the_real_one(any_kernel: Bundle) -> None:
    """The type `cgroup` is whatever the host has; `cgroup2` is the kernel's file system, as in runc."""
    any_kernel.mount("/new", "cgroup2", "ro", "nosuid", kind="cgroup2")
    found = any_kernel.good().mount("/new")
    assert found[2] == "cgroup2"
    assert {"ro", "nosuid"} <= set(found[3].split(","))
