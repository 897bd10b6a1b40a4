"""Session keyrings: keyctl(2)."""

from __future__ import annotations

from libc_bindings.ffi import INT, PATH, ULONG, bind_syscall, check

KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_SETPERM = 5

POS_ALL = 0x3F000000
USR_ALL = 0x003F0000


def join_session_keyring(name: str) -> int:
    """KEYCTL_JOIN_SESSION_KEYRING: a session keyring `name`, made or found; returns its serial."""
    keyctl = bind_syscall("keyctl", INT, PATH)
    return check(keyctl(KEYCTL_JOIN_SESSION_KEYRING, name), "keyctl join", name)


def set_permissions(serial: int, permissions: int) -> None:
    """KEYCTL_SETPERM."""
    keyctl = bind_syscall("keyctl", INT, ULONG, ULONG)
    check(keyctl(KEYCTL_SETPERM, serial & 0xFFFFFFFF, permissions), "keyctl setperm")
