"""D-Bus calls through systemd's client library: sd-bus(3), from libsystemd.so.0.

Values are Python's own, their D-Bus types given by a signature as in the D-Bus specification
("Type System"): numbers, bool, str; a list for an array (bytes for `ay`), a tuple for a struct, a
(signature, value) pair for a variant, a list of pairs for a dictionary.
"""

from __future__ import annotations

import sys

from libc_bindings.ffi import (
    BYTES,
    CHAR,
    PATH,
    POINTER,
    U64,
    ULONG,
    address,
    buffer,
    library,
    pack,
    text_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_PRIVATE = "unix:path=/run/systemd/private"
_TIMEOUT = 30_000_000
"""Microseconds that a call or a wait may take."""

# Width in bytes of each basic type of fixed size, and whether it is signed.
_NUMBERS = {
    "y": (1, False), "n": (2, True), "q": (2, False), "i": (4, True), "u": (4, False),
    "x": (8, True), "t": (8, False), "b": (4, False),
}  # fmt: skip
_TEXTS = "sog"


class BusError(Exception):
    """A D-Bus error: its `name`, such as org.freedesktop.systemd1.NoSuchUnit, and what it says."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name


class _Library:
    """The functions used, bound once."""

    def __init__(self) -> None:
        bind = library("libsystemd.so.0")
        self.open_system = bind("sd_bus_open_system", POINTER)
        self.open_user = bind("sd_bus_open_user", POINTER)
        self.new = bind("sd_bus_new", POINTER)
        self.set_address = bind("sd_bus_set_address", POINTER, PATH)
        self.start = bind("sd_bus_start", POINTER)
        self.unref = bind("sd_bus_flush_close_unref", POINTER, returns=POINTER)
        self.process = bind("sd_bus_process", POINTER, POINTER)
        self.wait = bind("sd_bus_wait", POINTER, U64)
        self.call = bind("sd_bus_call", POINTER, POINTER, U64, POINTER, POINTER)
        self.new_call = bind(
            "sd_bus_message_new_method_call", POINTER, POINTER, PATH, PATH, PATH, PATH
        )
        self.message_unref = bind("sd_bus_message_unref", POINTER, returns=POINTER)
        self.append = bind("sd_bus_message_append_basic", POINTER, CHAR, POINTER)
        self.append_text = bind("sd_bus_message_append_basic", POINTER, CHAR, PATH)
        self.append_array = bind("sd_bus_message_append_array", POINTER, CHAR, BYTES, ULONG)
        self.open = bind("sd_bus_message_open_container", POINTER, CHAR, PATH)
        self.close = bind("sd_bus_message_close_container", POINTER)
        self.read = bind("sd_bus_message_read_basic", POINTER, CHAR, POINTER)
        self.enter = bind("sd_bus_message_enter_container", POINTER, CHAR, PATH)
        self.leave = bind("sd_bus_message_exit_container", POINTER)
        self.peek = bind("sd_bus_message_peek_type", POINTER, POINTER, POINTER)
        self.is_signal = bind("sd_bus_message_is_signal", POINTER, PATH, PATH)
        self.error_free = bind("sd_bus_error_free", POINTER)


_loaded: list[_Library] = []


def _functions() -> _Library:
    if not _loaded:
        _loaded.append(_Library())
    return _loaded[0]


def _check(result: int, call: str) -> int:
    """sd-bus returns errno values below zero."""
    if result < 0:
        from posix import strerror

        raise OSError(-result, f"{call}: {strerror(-result)}")
    return result


def _slot() -> Any:
    """Room for a pointer that a call fills in."""
    return buffer(8 if sys.maxsize > 2**32 else 4)


def _pointer(slot: Any) -> int:
    return int.from_bytes(slot.raw, sys.byteorder)


class Bus:
    """A connection; Bus.system() or Bus.user(). Close it with close()."""

    def __init__(self, opened: int) -> None:
        self._functions = _functions()
        self._bus = opened

    @classmethod
    def system(cls) -> Bus:
        """The system's bus or, where that is not running, systemd's own socket; OSError."""
        functions, slot = _functions(), _slot()
        if functions.open_system(address(slot)) >= 0:
            return cls(_pointer(slot))
        _check(functions.new(address(slot)), "sd_bus_new")
        bus = _pointer(slot)
        _check(functions.set_address(bus, _PRIVATE), "sd_bus_set_address")
        _check(functions.start(bus), "connect to /run/systemd/private")
        return cls(bus)

    @classmethod
    def user(cls) -> Bus:
        """The bus of the user's session, by DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR; OSError."""
        functions, slot = _functions(), _slot()
        _check(functions.open_user(address(slot)), "connect to the user's D-Bus")
        return cls(_pointer(slot))

    def close(self) -> None:
        """Send what is queued and disconnect."""
        if self._bus:
            self._functions.unref(self._bus)
            self._bus = 0

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *values: Any,
        returns: str = "",
    ) -> list[Any]:
        """Call a method and return the values of its answer, as `returns` types them.

        BusError with what the other side answered; OSError if it did not.
        """
        functions, slot = self._functions, _slot()
        made = functions.new_call(self._bus, address(slot), destination, path, interface, member)
        _check(made, "sd_bus_message_new_method_call")
        message = _pointer(slot)
        # struct sd_bus_error: name, message, whether to free them.
        error, reply = buffer(24), _slot()
        try:
            for kind, value in zip(split(signature), values):
                self._append(message, kind, value)
            result = functions.call(self._bus, message, _TIMEOUT, address(error), address(reply))
            if result < 0:
                name = text_at(error)
                if name:
                    told = text_at(error, len(reply.raw)) or b""
                    raise BusError(name.decode(), told.decode("utf-8", "replace"))
                _check(result, f"D-Bus call {member}")
            answer = _pointer(reply)
            try:
                return [self._read(answer, kind) for kind in split(returns)]
            finally:
                functions.message_unref(answer)
        finally:
            functions.error_free(address(error))
            functions.message_unref(message)

    def property(self, destination: str, path: str, interface: str, name: str) -> Any:
        """The value of a property; BusError, OSError."""
        get = self.call(
            destination, path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name,
            returns="v",
        )  # fmt: skip
        return get[0][1]

    def wait_for_signal(
        self, interface: str, member: str, returns: str, wanted: Callable[[list[Any]], bool]
    ) -> list[Any] | None:
        """The values of the next signal that `wanted` takes; None if it does not come within 30 s.

        It has to be subscribed to before. OSError.
        """
        from time import monotonic

        functions = self._functions
        end = monotonic() + _TIMEOUT / 1e6
        while monotonic() < end:
            slot = _slot()
            done = _check(functions.process(self._bus, address(slot)), "sd_bus_process")
            message = _pointer(slot)
            if message:
                try:
                    if functions.is_signal(message, interface, member) > 0:
                        values = [self._read(message, kind) for kind in split(returns)]
                        if wanted(values):
                            return values
                finally:
                    functions.message_unref(message)
            elif not done:
                _check(functions.wait(self._bus, 1_000_000), "sd_bus_wait")
        return None

    def _append(self, message: int, kind: str, value: Any) -> None:
        functions, first = self._functions, kind[0]
        if first in _NUMBERS:
            width, _ = _NUMBERS[first]
            number = buffer(8)
            number.raw = pack((int(value), width)).ljust(8, b"\0")
            result = functions.append(message, first.encode(), address(number))
        elif first == "d":
            from struct import pack as pack_float

            number = buffer(8)
            number.raw = pack_float("=d", value)
            result = functions.append(message, b"d", address(number))
        elif first in _TEXTS:
            result = functions.append_text(message, first.encode(), value)
        elif kind == "ay" and isinstance(value, bytes):
            result = functions.append_array(message, b"y", value, len(value))
        elif first == "v":
            inner, content = value
            self._within(message, "v", inner, [(inner, content)])
            return
        elif first == "a":
            self._within(message, "a", kind[1:], [(kind[1:], entry) for entry in value])
            return
        else:
            inner = kind[1:-1]
            code = "r" if first == "(" else "e"
            self._within(message, code, inner, list(zip(split(inner), value)))
            return
        _check(result, f"append {kind} to a D-Bus message")

    def _within(self, message: int, code: str, inner: str, parts: list[tuple[str, Any]]) -> None:
        call = "sd_bus_message_open_container"
        _check(self._functions.open(message, code.encode(), inner), call)
        for kind, value in parts:
            self._append(message, kind, value)
        _check(self._functions.close(message), "sd_bus_message_close_container")

    def _read(self, message: int, kind: str) -> Any:
        functions, first = self._functions, kind[0]
        if first in _NUMBERS or first in _TEXTS or first == "d":
            number = buffer(8)
            _check(functions.read(message, first.encode(), address(number)), "read a D-Bus message")
            if first in _TEXTS:
                return (text_at(number) or b"").decode("utf-8", "replace")
            if first == "d":
                from struct import unpack

                return unpack("=d", number.raw)[0]
            width, signed = _NUMBERS[first]
            value = int.from_bytes(number.raw[:width], sys.byteorder, signed=signed)
            return bool(value) if first == "b" else value
        if first == "v":
            contents = _slot()
            what = buffer(1)
            _check(functions.peek(message, address(what), address(contents)), "peek")
            inner = (text_at(contents) or b"").decode()
            return (inner, self._inside(message, "v", inner, [inner])[0])
        if first == "a":
            inner = kind[1:]
            _check(functions.enter(message, b"a", inner), "enter an array")
            entries = []
            # 0 says that the array has ended.
            while functions.peek(message, address(buffer(1)), address(_slot())) > 0:
                entries.append(self._read(message, inner))
            _check(functions.leave(message), "leave an array")
            return entries
        inner = kind[1:-1]
        return tuple(self._inside(message, "r" if first == "(" else "e", inner, split(inner)))

    def _inside(self, message: int, code: str, inner: str, kinds: list[str]) -> list[Any]:
        _check(self._functions.enter(message, code.encode(), inner), "enter a container")
        values = [self._read(message, kind) for kind in kinds]
        _check(self._functions.leave(message), "leave a container")
        return values


def split(signature: str) -> list[str]:
    """The complete types that a signature is made of: `a(sv)u` is `a(sv)` and `u`."""
    found = []
    position = 0
    while position < len(signature):
        end = _end(signature, position)
        found.append(signature[position:end])
        position = end
    return found


def _end(signature: str, position: int) -> int:
    """Where the complete type that starts at `position` ends."""
    while signature[position] == "a":
        position += 1
    if signature[position] not in "({":
        return position + 1
    depth = 0
    for index in range(position, len(signature)):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[index], 0)
        if not depth:
            return index + 1
    raise ValueError(f"unbalanced D-Bus signature {signature!r}")
