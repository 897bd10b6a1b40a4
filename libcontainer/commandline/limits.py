"""The limits that `runc update` was told, as the `linux.resources` of a config."""

from __future__ import annotations

from libcontainer import jsonio, log
from libcontainer.commandline import decimal
from libcontainer.errors import ConfigError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}

# Option, section and property of linux.resources, whether it may be below zero.
_NUMBERS = (
    ("cpu-idle", "cpu", "idle", True),
    ("cpu-burst", "cpu", "burst", False),
    ("cpu-period", "cpu", "period", False),
    ("cpu-rt-period", "cpu", "realtimePeriod", False),
    ("cpu-share", "cpu", "shares", False),
    ("cpu-quota", "cpu", "quota", True),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", True),
)
_SIZES = (
    ("memory", "limit"),
    ("memory-swap", "swap"),
    ("kernel-memory", "kernel"),
    ("kernel-memory-tcp", "kernelTCP"),
    ("memory-reservation", "reservation"),
)


def resources(options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Return the resources that the options ask for; those of --resources count alone.

    Raises Error for a value that cannot be read, OSError for a file.
    """
    file = options["resources"]
    told = _from_file(file) if file else _from_options(options, given)
    memory = told.get("memory") or {}
    if "kernel" in memory or "kernelTCP" in memory:
        log.warning("Kernel memory settings are ignored and will be removed")
        memory.pop("kernel", None)
        memory.pop("kernelTCP", None)
    return {name: section for name, section in told.items() if section}


def _from_file(path: str) -> dict[str, Any]:
    from libcontainer.validation import check
    from libcontainer.validation.resources import RESOURCES

    told = jsonio.read_fd(0, "standard input") if path == "-" else jsonio.read(path)
    faults: list[str] = []
    check(told, RESOURCES, "linux.resources", faults)
    if faults:
        raise ConfigError(faults, path)
    return told


def _from_options(options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"memory": {}, "cpu": {}, "blockIO": {}, "pids": {}}
    if options["blkio-weight"]:
        told["blockIO"]["weight"] = options["blkio-weight"]
    for name, key in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if options[name]:
            told["cpu"][key] = options[name]
    for name, section, key, signed in _NUMBERS:
        if options[name]:
            told[section][key] = _convert(name, options[name], _signed if signed else _unsigned)
    for name, key in _SIZES:
        if options[name]:
            told["memory"][key] = _convert(name, options[name], size)
    if "pids-limit" in given:
        told["pids"]["limit"] = options["pids-limit"]
    return told


def _convert(name: str, text: str, read: Callable[[str], int]) -> int:
    try:
        return read(text)
    except ValueError as error:
        raise Error("invalid value for %s: %s" % (name, error)) from None


def _signed(text: str) -> int:
    try:
        return decimal(text)
    except ValueError:
        raise ValueError('strconv.ParseInt: parsing "%s": invalid syntax' % text) from None


def _unsigned(text: str) -> int:
    if not text.isdigit() or not text.isascii():
        raise ValueError('strconv.ParseUint: parsing "%s": invalid syntax' % text)
    if len(text) > 24 or int(text) >= 1 << 64:
        raise ValueError('strconv.ParseUint: parsing "%s": value out of range' % text)
    return int(text)


def size(text: str) -> int:
    """Return a number of bytes given as 4096, 512k, 10M, 1.5GiB, 2gb, or -1 for no limit."""
    if text == "-1":
        return -1
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    if not number or number[:1] == "-" or not number[:1].isascii():
        raise ValueError("invalid size: '%s'" % text)
    unit = suffix[:1]
    if unit not in _UNITS or suffix[1:] not in ("", "b", "ib") or (unit == "b" and suffix != "b"):
        raise ValueError("invalid suffix: '%s'" % suffix)
    plain = number[:-1] if number[-1:] == " " else number
    if not plain.replace(".", "", 1).isdigit():
        raise ValueError("invalid size: '%s'" % text)
    value = float(plain)
    # A float has 53 bits: a plain number of bytes is read as what it is.
    exact = int(plain) if plain.isdigit() else 0
    return (exact << _UNITS[unit]) if exact else int(value * (1 << _UNITS[unit]))
