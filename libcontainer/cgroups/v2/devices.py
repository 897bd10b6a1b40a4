"""Device rules on cgroup v2: a program that the kernel asks at every open(2) and mknod(2).

Linux 4.15; Documentation/admin-guide/cgroup-v2.rst, "Device controller". All programs of a cgroup
and of those above it must say yes.
"""

from __future__ import annotations

import errno
import posix

from libc_bindings import bpf
from libcontainer import log
from libcontainer.cgroups.devices import ALL, ANY, MKNOD, READ, WRITE, Policy
from libcontainer.cgroups.files import RESOURCES
from libcontainer.cgroups.hierarchies import in_user_namespace
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple, Union

    # An instruction whose jump goes to a label, or a label ("str") that stands before the next one.
    Step = Union[str, Tuple[int, int, int, str]]
    Steps = List[Step]

_KIND = bpf.BPF_CGROUP_DEVICE
_TYPES = {"b": bpf.BPF_DEVCG_DEV_BLOCK, "c": bpf.BPF_DEVCG_DEV_CHAR}
_LARGEST = 2**31 - 1
_FARTHEST = 2**15 - 1
"""A jump's distance has 16 bits."""

# Registers: r1 is the context that the program is given.
_TYPE, _ACCESS, _MAJOR, _MINOR = 2, 3, 4, 5


def set(directory: str, policy: Policy, rootless: bool, asked: bool = True) -> None:
    """Make a cgroup obey a policy, in the place of the programs that it has; Error.

    `rootless`: nothing is done where the caller may not (there the host's own permissions hold). `asked`
    False: the config itself denies nothing, and on a kernel that cannot (CONFIG_CGROUP_BPF) no error.
    """
    try:
        cgroup = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            _replace(cgroup, None if _is_open(policy) else program(policy))
        finally:
            posix.close(cgroup)
    except OSError as failure:
        if rootless or in_user_namespace():
            return
        why = failure.strerror
        if failure.errno in (errno.E2BIG, errno.EFAULT):
            # 4096 instructions and 1024 branches until Linux 5.2, a million and 8192 since.
            why = "more rules than the kernel's verifier takes"
        message = "%sdevices cannot be set on %s: %s" % (RESOURCES, directory, why)
        if asked:
            raise Error(message) from None
        log.warning(message)


def _is_open(policy: Policy) -> bool:
    return policy.allow and not policy.exceptions


def _replace(cgroup: int, code: bytes | None) -> None:
    """Attach a new program (None: none is needed), then take the old ones away.

    Never is there a moment without one, nor (where the kernel can replace) with two.
    """
    old = _attached(cgroup)
    try:
        if code is not None:
            new = _load(code)
            try:
                if len(old) == 1 and _swap(cgroup, new, old[0]):
                    return
                bpf.prog_attach(cgroup, new, _KIND, bpf.BPF_F_ALLOW_MULTI)
            finally:
                posix.close(new)
        for fd in old:
            bpf.prog_detach(cgroup, fd, _KIND)
    finally:
        for fd in old:
            posix.close(fd)


def _attached(cgroup: int) -> list[int]:
    """Descriptors of the programs attached, but for those that nobody lets us have.

    That is an LSM's doing with programs that others (systemd) attached, or they are gone. OSError.
    """
    found = []
    for number in bpf.prog_query(cgroup, _KIND):
        try:
            found.append(bpf.prog_get_fd_by_id(number))
        except OSError as failure:
            if failure.errno not in (errno.EPERM, errno.EACCES, errno.ENOENT):
                raise
    return found


def _swap(cgroup: int, new: int, old: int) -> bool:
    """Replace a program in one step; False before Linux 5.6, or if it was not attached as multi."""
    try:
        bpf.prog_attach(cgroup, new, _KIND, bpf.BPF_F_ALLOW_MULTI | bpf.BPF_F_REPLACE, old)
    except OSError as failure:
        if failure.errno not in (errno.EINVAL, errno.E2BIG):
            raise
        return False
    return True


def _load(code: bytes) -> int:
    kind = bpf.BPF_PROG_TYPE_CGROUP_DEVICE
    try:
        return bpf.prog_load(kind, code)
    except PermissionError:
        # Before Linux 5.11 programs count as locked memory, of which a service may have little.
        import resource

        try:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
        except (ValueError, OSError):
            raise PermissionError(
                errno.EPERM, "bpf BPF_PROG_LOAD: Operation not permitted"
            ) from None
        return bpf.prog_load(kind, code)


def program(policy: Policy) -> bytes:
    """The instructions that return 1 for what the policy allows, else 0.

    Only forward jumps, no instruction that cannot be reached, no call: what every verifier since
    4.15 takes. An exception to "deny" has to cover all of the access that is asked for, one to
    "allow" any of it.
    """
    body: Steps = []
    for kind, number in _TYPES.items():
        block = _block(policy, kind)
        if block:
            after = "after %s" % kind
            body += [(bpf.JUMP_NOT_EQUAL, _TYPE, number, after), *block, after]
    hit = any(step[3] == "hit" for step in body if not isinstance(step, str))
    head = _head([step[1] for step in body if not isinstance(step, str)])
    tail = _returns(policy.allow)
    labels, count = {"hit": 0}, 0
    for step in body:
        if isinstance(step, str):
            labels[step] = count
        else:
            count += 1
    # A match jumps over the two instructions of the default's return.
    labels["hit"] = count + 2
    code, position = head, 0
    for step in body:
        if not isinstance(step, str):
            what, register, value, label = step
            position += 1
            distance = labels[label] - position
            if distance > _FARTHEST:
                raise OSError(errno.E2BIG, posix.strerror(errno.E2BIG))
            code += bpf.instruction(what, register, 0, distance, value)
    return code + tail + (_returns(not policy.allow) if hit else b"")


def _returns(value: bool) -> bytes:
    return bpf.instruction(bpf.MOVE, 0, value=int(value)) + bpf.instruction(bpf.EXIT)


def _head(used: list[int]) -> bytes:
    """Load what the body compares; kernels before 4.18 let the context be read in whole words only."""
    code = b""
    if _TYPE in used:
        code += bpf.instruction(bpf.LOAD_WORD, _TYPE, 1, bpf.DEV_ACCESS_TYPE)
    if _ACCESS in used:
        code += bpf.instruction(bpf.MOVE_REGISTER, _ACCESS, _TYPE)
        code += bpf.instruction(bpf.SHIFT_RIGHT, _ACCESS, value=16)
    if _TYPE in used:
        code += bpf.instruction(bpf.AND, _TYPE, value=0xFFFF)
    if _MAJOR in used:
        code += bpf.instruction(bpf.LOAD_WORD, _MAJOR, 1, bpf.DEV_MAJOR)
    if _MINOR in used:
        code += bpf.instruction(bpf.LOAD_WORD, _MINOR, 1, bpf.DEV_MINOR)
    return code


def _block(policy: Policy, kind: str) -> Steps:
    """The comparisons for one type of device: first what concerns all, then major by major."""
    rules: dict[int, dict[int, int]] = {}
    everywhere = policy.exceptions.get((kind, ANY, ANY), 0)
    for (what, major, minor), access in policy.exceptions.items():
        wider = everywhere if (major, minor) != (ANY, ANY) else 0
        if minor != ANY:
            wider |= policy.exceptions.get((kind, major, ANY), 0) if major != ANY else 0
        # No device has such numbers, and an instruction no room for them.
        fits = major <= _LARGEST and minor <= _LARGEST
        if what == kind and fits and access & ~wider:
            rules.setdefault(major, {})[minor] = access
    steps: Steps = []
    if everywhere == ALL:
        return [(bpf.JUMP, 0, 0, "hit")]
    for major in sorted(rules):
        minors = rules[major]
        if major == ANY:
            steps += _minors(policy.allow, kind, major, minors)
        elif minors.get(ANY) == ALL:
            steps.append((bpf.JUMP_EQUAL, _MAJOR, major, "hit"))
        else:
            after = "after %s %d" % (kind, major)
            steps.append((bpf.JUMP_NOT_EQUAL, _MAJOR, major, after))
            steps += [*_minors(policy.allow, kind, major, minors), after]
    return steps


def _minors(allow: bool, kind: str, major: int, minors: dict[int, int]) -> Steps:
    steps: Steps = []
    for minor in sorted(minors):
        access = minors[minor]
        after = "after %s %d:%d" % (kind, major, minor)
        if access == ALL:
            steps.append((bpf.JUMP_EQUAL, _MINOR, minor, "hit"))
            continue
        if minor != ANY:
            steps.append((bpf.JUMP_NOT_EQUAL, _MINOR, minor, after))
        if allow:
            steps += [(bpf.JUMP_IF_ANY_BIT, _ACCESS, _bits(access), "hit"), after]
        else:
            rest = (bpf.JUMP_IF_ANY_BIT, _ACCESS, _bits(ALL & ~access), after)
            steps += [rest, (bpf.JUMP, 0, 0, "hit"), after]
    return steps


def _bits(access: int) -> int:
    """Access bits as the kernel's BPF_DEVCG_ACC_*."""
    return (
        (bpf.BPF_DEVCG_ACC_READ if access & READ else 0)
        | (bpf.BPF_DEVCG_ACC_WRITE if access & WRITE else 0)
        | (bpf.BPF_DEVCG_ACC_MKNOD if access & MKNOD else 0)
    )
