"""How a config is checked: shapes as data, and the few functions that walk them.

A shape says what a JSON value must look like:

    str, bool          a string without NUL, a boolean
    (low, high)        an integer in that range (booleans and 1.0 are no integers)
    frozenset          one of these words
    [shape]            an array of such values
    {name: shape}      an object; unknown properties are ignored, as the runtime-spec demands
    a function         called with (value, place, faults) for everything else

An object's shape may have two more keys that no JSON document can have: `REQUIRED`, the names
that must be there, and `RULE`, a function for what holds between the members, called only once
each of them is right for itself.

`null` stands for an absent property, as it does for the Go programs that write most configs:
the walk removes such members from the object, so that readers need not tell the two apart. A
`null` in an array has no such meaning and is a fault.

Every function appends its findings to `faults`, a list of sentences that begin with the place of
the property, and none stops at the first.
"""

from __future__ import annotations

from ..jsonio import dumps, kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Faults = list[str]
    Check = Callable[[Any, str, Faults], None]
    Object = dict[str, Any]

REQUIRED = 0
RULE = 1

UINT16 = (0, (1 << 16) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT64 = (0, (1 << 64) - 1)
INT32 = (-(1 << 31), (1 << 31) - 1)
INT64 = (-(1 << 63), (1 << 63) - 1)

ID = (0, (1 << 32) - 2)
"""A user or group id; the one above the range, -1, tells setuid(2) to change nothing."""


def check(value: Any, shape: Any, place: str, faults: Faults) -> None:
    """Compare `value`, found at `place`, with `shape`."""
    shape_type = type(shape)
    if shape_type is dict:
        check_object(value, shape, place, faults)
    elif shape_type is list:
        _check_array(value, shape[0], place, faults)
    elif shape_type is type:
        _check_scalar(value, shape, place, faults)
    elif shape_type is tuple:
        _check_integer(value, shape, place, faults)
    elif shape_type is frozenset:
        _check_word(value, shape, place, faults)
    else:
        shape(value, place, faults)


def check_object(value: Any, shape: dict[Any, Any], place: str, faults: Faults) -> None:
    """Compare the members of the object `value` with those of `shape`, then apply its rule."""
    if type(value) is not dict:
        faults.append("%s: must be an object, not %s" % (place or "config", kind(value)))
        return
    before = len(faults)
    nulls, others = [], []
    for name, member in value.items():
        wanted = shape.get(name)
        if wanted is None:
            others.append(name)
            continue
        if member is None:
            nulls.append(name)
            continue
        # The scalars that are right, most of every config, cost no call.
        wanted_type = type(wanted)
        if wanted_type is type:
            if type(member) is wanted and (wanted is bool or "\0" not in member):
                continue
        elif wanted_type is tuple:
            if type(member) is int and wanted[0] <= member <= wanted[1]:
                continue
        elif wanted_type is frozenset and type(member) is str and member in wanted:
            continue
        check(member, wanted, place + "." + name if place else name, faults)
    for name in nulls:
        del value[name]
    if others:
        _check_others(value, others, shape, place, faults)
    for name in shape.get(REQUIRED, ()):
        if name not in value:
            faults.append("%s: is required" % (place + "." + name if place else name))
    if RULE in shape and len(faults) == before:
        shape[RULE](value, place, faults)


def _check_others(
    value: Any, others: list[str], shape: dict[Any, Any], place: str, faults: Faults
) -> None:
    """Take `pagesize` for pageSize, as Go's JSON does: a limit in another case is to hold too."""
    names = {name.lower(): name for name in shape if type(name) is str}
    for other in others:
        name = names.get(other.lower())
        member = value.pop(other) if name else None
        if name and member is not None:
            former = value.get(name)
            # Both in one object add up, too.
            both = type(former) is dict and type(member) is dict
            value[name] = {**former, **member} if both else member
            check(value[name], shape[name], place + "." + name if place else name, faults)


def map_of(shape: Any) -> Check:
    """Return the check of an object whose keys are free and whose members have `shape`."""

    def check_map(value: Any, place: str, faults: Faults) -> None:
        if type(value) is not dict:
            faults.append("%s: must be an object, not %s" % (place, kind(value)))
            return
        nulls = [key for key, member in value.items() if member is None]
        for key in nulls:
            del value[key]
        for key, member in value.items():
            if not key:
                faults.append("%s: a key must not be empty" % place)
            elif "\0" in key:
                faults.append("%s: a key must not contain a NUL character" % entry(place, key))
            if shape is str and type(member) is str and "\0" not in member:
                continue
            check(member, shape, entry(place, key), faults)

    return check_map


def absolute_path(value: Any, place: str, faults: Faults) -> None:
    """Check that `value` is a string that begins with a slash."""
    before = len(faults)
    _check_scalar(value, str, place, faults)
    if len(faults) == before and value[:1] != "/":
        faults.append("%s: %s must be an absolute path" % (place, quoted(value)))


def absolute_paths(value: Any, place: str, faults: Faults) -> None:
    """Check that `value` is an array of strings that begin with a slash."""
    try:
        joined = "\0" + "\0".join(value)
    except TypeError:
        joined = ""
    # Thousands of masked paths are common; this counts them all in one pass.
    if type(value) is list and joined.count("\0/") == joined.count("\0") == len(value):
        return
    if value != []:
        _check_array(value, absolute_path, place, faults)


def words(text: str) -> frozenset[str]:
    """Return the set of the words in `text`."""
    return frozenset(text.split())


def entry(place: str, key: str) -> str:
    """Return the place of the member `key` of a map at `place`."""
    return "%s[%s]" % (place, quoted(key))


def quoted(text: str) -> str:
    """Return `text` as a JSON string, cut to a length that fits a message."""
    return dumps(text if len(text) <= 80 else text[:77] + "...")


def _check_scalar(value: Any, wanted: Any, place: str, faults: Faults) -> None:
    if type(value) is not wanted:
        word = "a string" if wanted is str else "a boolean"
        faults.append("%s: must be %s, not %s" % (place, word, kind(value)))
    elif wanted is str and "\0" in value:
        faults.append("%s: must not contain a NUL character" % place)


def _check_integer(value: Any, limits: tuple[int, int], place: str, faults: Faults) -> None:
    if type(value) is int:
        if not limits[0] <= value <= limits[1]:
            faults.append("%s: %d is not in the range %d to %d" % (place, value, *limits))
    elif type(value) is float:
        faults.append("%s: must be written as an integer, not as %r" % (place, value))
    else:
        faults.append("%s: must be an integer, not %s" % (place, kind(value)))


def _check_word(value: Any, known: frozenset[str], place: str, faults: Faults) -> None:
    if type(value) is not str:
        faults.append("%s: must be a string, not %s" % (place, kind(value)))
    elif value not in known:
        choice = ", ".join(sorted(known))
        faults.append("%s: %s is not one of %s" % (place, quoted(value), choice))


def _check_array(value: Any, shape: Any, place: str, faults: Faults) -> None:
    if type(value) is not list:
        faults.append("%s: must be an array, not %s" % (place, kind(value)))
        return
    if shape is str:
        try:
            if "\0".join(value).count("\0") == len(value) - 1:
                return
        except TypeError:
            pass
    for index, member in enumerate(value):
        check(member, shape, "%s[%d]" % (place, index), faults)
