"""`exec` (and the start) into a container whose files are traps for the process that is on its way in."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.integration import ways

ENVIRONMENT = ["PATH=/bin"]


@pytest.fixture(params=[ways.RUN, ways.EXEC])
def way(request: Any) -> str:
    return str(request.param)


@pytest.mark.parametrize("home", [b"/ro\0ot", b"", b"\xff", b"/a=b"])
def test_homes_in_the_image_s_passwd(home: bytes, way: str, bundle: Any) -> None:
    """What execve(2) cannot take must not come into the environment: else nothing would run."""
    (bundle.rootfs / "etc/passwd").write_bytes(b"root:x:0:0::" + home + b":/bin/sh\n")
    shown = ways.shell(bundle, way, "echo $HOME | od -An -tx1", {"env": ENVIRONMENT})
    wanted = home if home and b"\0" not in home else b"/"
    assert bytes.fromhex(shown.stdout.replace(" ", "")) == wanted + b"\n", shown


@pytest.mark.parametrize("kind", ["character device", "link to a device", "big", "link to procfs"])
def test_what_is_no_passwd(kind: str, way: str, bundle: Any) -> None:
    """A device that is read for ever, 10 GB of zeros, a file of procfs without a size."""
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    if kind == "character device":
        os.mknod(passwd, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "big":
        with passwd.open("wb") as file:
            file.truncate(10 << 30)
    else:
        passwd.symlink_to("/dev/zero" if kind == "link to a device" else "/proc/self/environ")
    done = ways.shell(bundle, way, "echo $HOME", {"env": ENVIRONMENT}, timeout=20)
    assert done.stdout == "/\n", done


@pytest.mark.parametrize("forged", [True, False])
def test_the_terminal_of_a_container_with_a_forged_proc(forged: bool, bundle: Any) -> None:
    """The multiplexer is opened again through a procfs of the runtime's own.

    Through the container's /proc it would be whatever the links there lead to: here a FIFO, which
    the naive way would open (and the check of what it is would come too late for a device).
    """
    if forged:
        bundle.config["mounts"] = [
            mount for mount in bundle.config["mounts"] if mount["destination"] != "/proc"
        ]
        for name in ("maskedPaths", "readonlyPaths"):
            bundle.config["linux"][name] = []
        os.mkfifo(bundle.rootfs / "trap")
        links = bundle.rootfs / "proc/self/fd"
        links.mkdir(parents=True)
        for number in range(3, 64):
            (links / str(number)).symlink_to("/trap")
    bundle.start("sleep", "1000")
    status, shown = bundle.on_terminal("exec", "-t", bundle.id, "tty")
    assert (status, shown.strip()) == (0, "/dev/pts/0"), shown


@pytest.mark.parametrize("target", ["/bin/busybox", "/proc/sysrq-trigger", "/missing", "pts/0"])
def test_a_console_that_is_a_link(target: str, bundle: Any) -> None:
    """CVE-2025-52565: without O_NOFOLLOW the pty would cover whatever the image's link names."""
    mounts = bundle.config["mounts"]
    mounts[:] = [mount for mount in mounts if mount["destination"] != "/dev"]
    bundle.config["root"]["readonly"] = False
    (bundle.rootfs / "dev/console").symlink_to(target)
    bundle.config["process"].update(terminal=True, args=["cat", "/proc/self/mountinfo"])
    bundle.write()
    status, shown = bundle.on_terminal("run", bundle.id)
    assert status == 1 and "/dev/console is a symbolic link" in shown, shown
    assert not bundle.state()


@pytest.mark.parametrize("count", ["4", "4294967293", "4294967296", "9" * 30, "9" * 5000, "-1"])
def test_more_descriptors_announced_than_there_are(count: str, bundle: Any) -> None:
    """$LISTEN_FDS is the caller's: it must neither wrap round to stdio nor take what is ours.

    close_range(2) takes 32 bits: 3 + 4294967293 is 0, and everything would be closed.
    """
    bundle.config["process"]["args"] = ["ls", "/proc/self/fd"]
    bundle.write()
    script = f'exec 3</etc/passwd 4</etc/passwd; export LISTEN_FDS={count} LISTEN_PID=$$; exec "$@"'
    command = bundle.command
    bundle.command = lambda *words: ["sh", "-c", script, "sh", *command(*words)]
    done = bundle.call("run", bundle.id)
    bundle.command = command
    if count == "-1":
        assert done.stdout.split() == ["0", "1", "2", "3"], done
    else:
        assert done.returncode == 1 and done.stdout == "", done
        assert "unable to stat LISTEN_FDS descriptor 2 (of" in done.stderr
    assert not bundle.state()


MAPPED = {"containerID": 0, "hostID": 100000, "size": 65536}


@pytest.mark.needs("program:strace", "userns")
def test_id_maps_are_written_beneath_a_procfs_of_our_own(bundle: Any, scratch: Path) -> None:
    """CVE-2025-52881: also those of the namespaces that only carry the mapping of a mount."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [MAPPED]
    os.chown(bundle.rootfs, 100000, 100000)
    source = scratch / "source"
    source.mkdir()
    mapping = [{"containerID": 0, "hostID": 0, "size": 1000}]
    mount = {"destination": "/tmp", "type": "bind", "source": str(source)}
    more = {"options": ["bind", "idmap"], "uidMappings": mapping, "gidMappings": mapping}
    bundle.config["mounts"].append({**mount, **more})
    trace = scratch / "trace"
    command = bundle.command
    calls = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=open,openat,openat2,write"]
    bundle.command = lambda *words: [*calls, *command(*words)]
    done = bundle.run("true")
    bundle.command = command
    if "MOUNT_ATTR_IDMAP" in done.stderr:
        pytest.skip("this file system cannot be id-mapped")
    assert done.returncode == 0, done.stderr
    text = trace.read_text()
    assert len(re.findall(r'openat2\(\d+<[^>]*>, "\d+/uid_map"', text)) == 2, text
    assert not re.search(r'open(at|at2)?\((AT_FDCWD[^,]*, )?"/proc/[^"]*_map", O_[A-Z|_]*WR', text)


@pytest.mark.needs("program:strace", "userns")
def test_it_is_born_not_dumpable_in_a_user_namespace(bundle: Any, scratch: Path) -> None:
    """With fs.suid_dumpable = 1 the change of ids on the way would let others trace the child.

    The setting is the whole host's, so the attack is not made here: the order of calls is shown.
    """
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [MAPPED]
    os.chown(bundle.rootfs, 100000, 100000)
    bundle.start("sleep", "1000")
    trace = scratch / "trace"
    command = bundle.command
    calls = "trace=prctl,setresuid,setns,clone,clone3"
    bundle.command = lambda *words: [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        calls,
        *command(*words),
    ]
    done = bundle.exec("true")
    bundle.command = command
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    between = next(line.split()[0] for line in lines if "CLONE_PARENT" in line)
    own = [line for line in lines if line.split()[0] == between]
    cloned = next(n for n, line in enumerate(own) if "CLONE_PARENT" in line)
    changed = max(n for n, line in enumerate(own[:cloned]) if "setresuid" in line)
    dropped = [n for n, line in enumerate(own[:cloned]) if "SUID_DUMP_DISABLE" in line]
    assert dropped and max(dropped) > changed, own


def test_hooks_do_not_get_the_image_s_environment(bundle: Any, scratch: Path) -> None:
    """CVE-2025-23266: a hook of the host's that is run with the image's LD_PRELOAD runs its code."""
    look = scratch / "look"
    look.write_text(f"#!/bin/sh\nenv >>{scratch}/seen\n")
    look.chmod(0o755)
    hook = [{"path": str(look)}]
    bundle.config["hooks"] = dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "poststart", "poststop"), hook
    )
    bundle.config["process"]["env"] += ["LD_PRELOAD=./of-the-image.so", "BASH_ENV=/x"]
    assert bundle.run("true").returncode == 0
    seen = (scratch / "seen").read_text()
    assert seen.count("PATH=") >= 5 and "of-the-image" not in seen and "BASH_ENV" not in seen


@pytest.mark.parametrize("depth", [600])
def test_a_deep_tree_to_copy_up(depth: int, bundle: Any) -> None:
    place = bundle.rootfs / "deep"
    place.mkdir()
    fd = os.open(place, os.O_PATH)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    mount = {"destination": "/deep", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    bundle.config["mounts"].append(mount)
    done = bundle.run("true")
    assert done.returncode == 0 or (
        len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    ), done
    assert done.returncode == 0 or "nested too deeply" in done.stderr or "Too many" in done.stderr
    assert not bundle.state()


SECURITY = """
#include <stdio.h>
#include <sys/prctl.h>
int main(void) {
    printf("%d %d %d %d\\n", prctl(PR_GET_SECUREBITS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
           prctl(PR_GET_KEEPCAPS), prctl(PR_GET_DUMPABLE));
    return 0;
}
"""


@pytest.mark.parametrize("new_privs", [True, False])
@pytest.mark.parametrize("user", [0, 1000])
def test_what_the_program_starts_with(user: int, new_privs: bool, way: str, bundle: Any) -> None:
    """No securebits and no kept capabilities are left of the change of ids; it may be traced again."""
    ways.static_program(SECURITY, bundle.rootfs / "security")
    process = {"user": {"uid": user, "gid": user}, "noNewPrivileges": not new_privs}
    done = ways.call(bundle, way, "/security", process=process)
    assert done.stdout == f"0 {int(not new_privs)} 0 1\n", done
