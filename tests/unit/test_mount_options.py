"""Mount options: the table, their order, and the two forms in which the kernel takes the flags."""

from __future__ import annotations

import itertools

import pytest

from libc_bindings import mounts as libc
from libcontainer.rootfs import options as table
from libcontainer.rootfs.filesystems import split
from libcontainer.rootfs.options import MountOptions


def test_the_options_are_those_of_runc() -> None:
    # Counted in runc 1.5's `features`; idmap and ridmap are told elsewhere in it.
    names = table.names()
    assert len(names) == len(set(names)) == 60
    assert names == sorted(names)


def test_every_flag_has_its_opposite() -> None:
    for name, flag in table.CLEAR.items():
        assert flag in table.SET.values(), name
    assert set(table.RECURSIVE_CLEAR.values()) == set(table.RECURSIVE_SET.values())


@pytest.mark.parametrize("name", sorted(table.SET))
def test_flags(name: str) -> None:
    options = MountOptions([name])
    assert options.flags == table.SET[name]
    assert options.cleared == 0
    assert options.data == ""


@pytest.mark.parametrize("name", sorted(table.CLEAR))
def test_cleared_flags(name: str) -> None:
    options = MountOptions([name])
    assert options.flags == 0
    assert options.cleared == table.CLEAR[name]
    assert options.data == ""


@pytest.mark.parametrize(("first", "last"), [("ro", "rw"), ("rw", "ro"), ("suid", "nosuid")])
def test_the_later_flag_wins(first: str, last: str) -> None:
    both, one = MountOptions([first, last]), MountOptions([last])
    assert (both.flags, both.cleared) == (one.flags, one.cleared)


def test_order_does_not_matter_for_what_is_unrelated() -> None:
    words = ["nosuid", "mode=755", "rshared", "rro"]
    found = set()
    for order in itertools.permutations(words):
        options = MountOptions(list(order))
        found.add((options.flags, options.data, tuple(options.propagation), options.attr_set))
    assert found == {
        (libc.MS_NOSUID, "mode=755", (libc.MS_SHARED | libc.MS_REC,), libc.MOUNT_ATTR_RDONLY)
    }


def test_propagation_keeps_its_order() -> None:
    options = MountOptions(["rslave", "shared"])
    assert options.propagation == [libc.MS_SLAVE | libc.MS_REC, libc.MS_SHARED]


def test_unknown_options_are_data() -> None:
    options = MountOptions(["size=1m", "", "nosuid", "acl", "context=a:b"])
    assert options.data == "size=1m,acl,context=a:b"
    assert options.flags == libc.MS_NOSUID


@pytest.mark.parametrize("name", sorted({**table.RECURSIVE_SET, **table.RECURSIVE_CLEAR}))
def test_recursive_options_are_as_mount_setattr_wants_them(name: str) -> None:
    options = MountOptions([name])
    if "atime" in name and "dir" not in name:
        # The kernel refuses a part of the access time's field in attr_clr.
        assert options.attr_clr == libc.MOUNT_ATTR__ATIME
    else:
        assert bool(options.attr_set) != bool(options.attr_clr)
    assert options.flags == options.cleared == 0


def test_one_recursive_access_time_replaces_another() -> None:
    options = MountOptions(["rnoatime", "rstrictatime"])
    assert options.attr_set == libc.MOUNT_ATTR_STRICTATIME
    assert MountOptions(["rstrictatime", "rrelatime"]).attr_set == 0
    assert MountOptions(["rnoatime", "ratime"]).attr_set == 0


def test_recursive_options_undo_each_other() -> None:
    options = MountOptions(["rro", "rrw"])
    assert (options.attr_set, options.attr_clr) == (0, libc.MOUNT_ATTR_RDONLY)


def test_extensions() -> None:
    options = MountOptions(["tmpcopyup", "ridmap"])
    assert options.copy_up
    assert options.idmap == "ridmap"
    assert options.data == ""


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["bind"], False),
        (["rbind", "rprivate"], False),
        (["rbind", "rro"], False),
        (["bind", "ro"], True),
        (["bind", "dev"], True),
    ],
)
def test_a_bind_keeps_its_flags_unless_one_is_named(words: list[str], changes: bool) -> None:
    assert MountOptions(words).changes_bind() is changes


def test_naming_one_flag_clears_the_others() -> None:
    attr_set, attr_clr = MountOptions(["bind", "ro"]).attributes()
    assert attr_set == libc.MOUNT_ATTR_RDONLY
    assert attr_clr & libc.MOUNT_ATTR_NOSUID
    assert attr_clr & libc.MOUNT_ATTR_NOSYMFOLLOW
    assert not attr_clr & libc.MOUNT_ATTR__ATIME


def test_locked_flags_are_cleared_by_name_only() -> None:
    _, attr_clr = MountOptions(["bind", "ro", "exec"]).attributes(all_flags=False)
    assert attr_clr == libc.MOUNT_ATTR_NOEXEC | libc.MOUNT_ATTR_NOSYMFOLLOW


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["noatime"], libc.MOUNT_ATTR_NOATIME),
        (["strictatime"], libc.MOUNT_ATTR_STRICTATIME),
        (["relatime"], libc.MOUNT_ATTR_RELATIME),
        (["nodiratime"], libc.MOUNT_ATTR_NODIRATIME),
        (["nodiratime", "strictatime"], libc.MOUNT_ATTR_NODIRATIME | libc.MOUNT_ATTR_STRICTATIME),
    ],
)
def test_access_times(words: list[str], value: int) -> None:
    attr_set, attr_clr = MountOptions(words).attributes()
    assert attr_set == value
    assert attr_clr & libc.MOUNT_ATTR__ATIME == libc.MOUNT_ATTR__ATIME


def test_quoted_data_stays_whole() -> None:
    assert split('size=1m,,context="a:b:c0,c1",ro') == ["size=1m", "context=a:b:c0,c1", "ro"]
