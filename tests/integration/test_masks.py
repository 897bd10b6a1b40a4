"""maskedPaths, readonlyPaths, the read-only root, and the root itself."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.integration.rootfs_bundle import Bundle, any_kernel, any_user, bundle

__all__ = ["any_kernel", "any_user", "bundle"]


@pytest.fixture(autouse=True)
def secrets(bundle: Bundle) -> None:
    """Files and directories to hide."""
    for name in ("one", "two", "three"):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name / "secret").write_text("secret")
    (bundle.rootfs / "file").write_text("secret")
    bundle.config["root"]["readonly"] = False


def test_file(any_kernel: Bundle) -> None:
    any_kernel.linux["maskedPaths"].append("/file")
    script = "cat /file; stat -c %t:%T /file; echo x >/file; cat /file"
    assert any_kernel.good(script).output == "1:3\n"
    assert (any_kernel.rootfs / "file").read_text() == "secret"


def test_directories_share_one_empty_tmpfs(any_kernel: Bundle) -> None:
    any_kernel.linux["maskedPaths"] += ["/one", "/two", "/three"]
    result = any_kernel.run("ls /one /two /three; stat -c %d /one /two /three; touch /one/new")
    assert result.status == 1
    assert "secret" not in result.output
    assert "Read-only file system" in result.output
    assert len({line for line in result.output.splitlines() if line.isdigit()}) == 1


def test_duplicates_and_missing_paths(any_kernel: Bundle) -> None:
    any_kernel.linux["maskedPaths"] += ["/one", "/one/", "/nothing", "/file/nothing", "/../one"]
    result = any_kernel.good("grep -c ' /one ' /proc/mounts")
    assert result.output == "1\n"


def test_in_a_user_namespace(any_user: Bundle) -> None:
    any_user.linux["maskedPaths"] += ["/one", "/two", "/file"]
    result = any_user.good("cat /file; ls /one /two | grep secret || true")
    assert result.output == ""


def test_masks_cannot_be_taken_off(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"] += ["/one", "/file"]
    result = bundle.run("umount /one; umount /file; cat /file; ls /one")
    assert "secret" not in result.output


def test_readonly_paths(any_kernel: Bundle) -> None:
    any_kernel.linux["readonlyPaths"] += ["/one", "/file", "/nothing"]
    script = "touch /one/new; echo x >/file; touch /two/new && cat /proc/mounts"
    result = any_kernel.good(script)
    assert result.output.count("Read-only file system") == 2
    assert "ro" in result.flags("/one")
    assert "ro" in result.flags("/file")


def test_readonly_paths_of_the_default_config(any_kernel: Bundle) -> None:
    result = any_kernel.good()
    for path in ("/proc/bus", "/proc/sys"):
        assert "ro" in result.flags(path)


def test_readonly_path_that_is_the_root(any_kernel: Bundle) -> None:
    any_kernel.linux["readonlyPaths"].append("/")
    result = any_kernel.run("touch /new")
    assert result.status == 1
    assert "Read-only file system" in result.output


def test_null_that_is_something_else(bundle: Bundle) -> None:
    own = bundle.path / "own"
    own.mkdir()
    (own / "null").write_text("not the null device")
    bundle.without_mounts("/dev")
    bundle.mount("/dev", own, "bind")
    bundle.linux["maskedPaths"].append("/file")
    assert "container's /dev/null is invalid" in bundle.refused()


def test_the_root_cannot_be_masked(any_kernel: Bundle) -> None:
    any_kernel.linux["maskedPaths"] = ["/"]
    assert "can't mask path /: it is the root" in any_kernel.refused()


def test_no_null_to_mask_with(bundle: Bundle) -> None:
    own = bundle.path / "own"
    own.mkdir()
    bundle.without_mounts("/dev")
    bundle.mount("/dev", own, "bind")
    assert "can't mask paths: open /dev/null: no such file or directory" in bundle.refused()


def test_readonly_root(any_kernel: Bundle) -> None:
    any_kernel.config["root"]["readonly"] = True
    result = any_kernel.run("touch /new")
    assert result.status == 1
    assert "Read-only file system" in result.output


@pytest.mark.parametrize("form", ["relative", "absolute", "link", "dots"])
def test_root_path(bundle: Bundle, form: str) -> None:
    (bundle.path / "link").symlink_to("rootfs")
    forms = {
        "relative": "rootfs",
        "absolute": str(bundle.rootfs),
        "link": "link",
        "dots": "./rootfs/../rootfs",
    }
    bundle.config["root"]["path"] = forms[form]
    assert bundle.good("cat /file").output == "secret"


def test_missing_root(bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nothing"
    assert str(bundle.path / "nothing") in bundle.refused()


def test_no_pivot(any_kernel: Bundle) -> None:
    result = any_kernel.good("ls /; cat /proc/mounts", "--no-pivot")
    assert "one" in result.output.split("\n")
    assert result.mount("/proc")[2] == "proc"


def test_no_pivot_on_a_ramfs(bundle: Bundle) -> None:
    memory = bundle.path / "memory"
    memory.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", memory], check=True)
    try:
        subprocess.run(["cp", "-a", f"{bundle.rootfs}/.", memory], check=True)
        bundle.config["root"]["path"] = "memory"
        assert bundle.good("cat /file", "--no-pivot").output == "secret"
    finally:
        subprocess.run(["umount", memory], check=True)


def test_nothing_stays_mounted_on_the_host(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"].append("/one")
    bundle.good("true")
    with open("/proc/self/mounts") as mounts:
        assert str(bundle.path) not in mounts.read()


def test_many(bundle: Bundle) -> None:
    for number in range(512):
        name = f"many/{number}"
        if number % 2:
            (bundle.rootfs / name).mkdir(parents=True)
        else:
            os.makedirs(bundle.rootfs / "many", exist_ok=True)
            (bundle.rootfs / name).write_text("secret")
        bundle.linux["maskedPaths"].append(f"/{name}")
    result = bundle.good("grep -c ' /many/' /proc/mounts; cat /many/[0-9]*[02468]")
    assert result.output == "512\n"
