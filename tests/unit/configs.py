"""Two sound configs for tests, and what is needed to spoil them.

FULL has every property of the runtime-spec for Linux, DEFAULT is what `runc spec` writes.
"""

from __future__ import annotations

import copy
import json
import os
import typing

from libcontainer import config
from libcontainer.errors import ConfigError

DATA = os.path.join(os.path.dirname(__file__), "data")


def read(name: str) -> typing.Any:
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        return json.load(file)


FULL = read("full-config.json")
DEFAULT = read("default-config.json")


def faults(value: typing.Any, **options: bool) -> list[str]:
    try:
        config.check(value, **options)
    except ConfigError as error:
        assert str(error) == "; ".join(error.faults)
        return [fault.replace("config.json: ", "", 1) for fault in error.faults]
    return []


def changed(base: typing.Any, path: str, value: typing.Any) -> typing.Any:
    """Return a copy of `base` with `value` at a path such as `linux.devices.0.major`."""
    result = copy.deepcopy(base)
    *outer, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = result
    for part in outer:
        target = target[part]
    if value is DELETED:
        del target[last]
    else:
        target[last] = value
    return result


DELETED = object()
