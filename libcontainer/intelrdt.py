"""linux.intelRdt: classes of service and monitoring groups in the resctrl file system.

See the runtime-spec, config-linux.md, "IntelRdt", and the kernel's filesystems/resctrl.rst. A class
is a directory; whoever is written to its `tasks` gets the shares of cache and memory bandwidth that
stand in its `schemata`. Children inherit the class.
"""

from __future__ import annotations

import posix

from libcontainer import jsonio, log
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT_MOUNT_POINT = "/sys/fs/resctrl"
_PLACE = "config.json: linux.intelRdt"

_PATH = "intel_rdt_path"
_MONITORING_PATH = "intel_rdt_mon_path"
_MADE = "intel_rdt_made"


def mount_point() -> str:
    """Where the resctrl file system is mounted; "" if it is not."""
    if _exists(f"{_DEFAULT_MOUNT_POINT}/schemata"):
        return _DEFAULT_MOUNT_POINT
    for line in _read("/proc/self/mountinfo").split("\n"):
        fields, _, source = line.partition(" - ")
        if source.startswith("resctrl "):
            return fields.split(" ")[4]
    return ""


def apply(config: Any, container_id: str, pid: int) -> dict[str, Any]:
    """Put process `pid` in the class of linux.intelRdt; the entries for state.json.

    A class that has to be made is configured before the process is in it. Raises Error; nothing
    of what was made is left then.
    """
    root = mount_point()
    if not root:
        text = "intelRdt is specified in config, but Intel RDT is not enabled"
        raise Error(f"{_PLACE}: {text}: no resctrl file system is mounted")
    data: dict[str, Any] = {_MADE: []}
    try:
        data[_PATH] = _class(root, config, container_id, data[_MADE])
        _write_pid(root, data[_PATH], pid)
        if config.get("enableMonitoring"):
            data[_MONITORING_PATH] = f"{data[_PATH]}/mon_groups/{container_id}"
            if _make_group(root, data[_MONITORING_PATH]):
                data[_MADE].insert(0, data[_MONITORING_PATH])
            _write_pid(root, data[_MONITORING_PATH], pid)
    except BaseException:
        destroy(data)
        raise
    if config.get("closID"):
        # A class with a name of its own may serve others: only the monitoring group is ours.
        data[_MADE] = [path for path in data[_MADE] if path != data[_PATH]]
    return data


def join(data: dict[str, Any], pid: int) -> None:
    """Put process `pid` (of `exec`) in the groups that apply() noted in state.json."""
    for name in (_PATH, _MONITORING_PATH):
        path = data.get(name)
        if path and _exists(path):
            _write_pid(mount_point(), path, pid)


def destroy(data: dict[str, Any]) -> None:
    """Remove the groups that apply() made for this container alone."""
    for path in data.get(_MADE) or ():
        try:
            _remove_group(path)
        except FileNotFoundError:
            # Its class was removed by hand, and the group went along.
            continue
        except OSError as error:
            text = f"unable to remove container's IntelRDT group: {path}"
            raise Error(f"{text}: {error.strerror}") from None


def update(config: Any, data: dict[str, Any], l3_schema: str, bandwidth_schema: str) -> None:
    """Write other schemata for a running container, and note them in `config` (linux.intelRdt).

    `config` is None for a container that was made without. Raises Error in runc's words.
    """
    root = mount_point()
    if l3_schema and not _exists(f"{root}/info/L3"):
        raise Error("Intel RDT/CAT: l3 cache schema is not enabled")
    if bandwidth_schema and not _exists(f"{root}/info/MB"):
        raise Error("Intel RDT/MBA: memory bandwidth schema is not enabled")
    if config is None or not data.get(_PATH):
        raise Error("updating a non-existent Intel RDT configuration is not supported")
    if l3_schema:
        config["l3CacheSchema"] = l3_schema
    if bandwidth_schema:
        config["memBwSchema"] = bandwidth_schema
    _write_schemata(root, data[_PATH], config)


def schemata(data: dict[str, Any]) -> str:
    """What the kernel says of the container's class now, for put_back(); "" without a class."""
    return _read_entry(data[_PATH], "schemata") if data.get(_PATH) else ""


def put_back(data: dict[str, Any], former: str) -> None:
    """Make the container's class what schemata() said; that the kernel refuses is only logged."""
    if former and schemata(data) != former:
        try:
            _write(mount_point(), f"{data[_PATH]}/schemata", former + "\n", "the former schemata")
        except Error as error:
            log.warning(str(error))


def _class(root: str, config: Any, container_id: str, made: list[str]) -> str:
    """The directory of the container's class, made and configured, or compared with the config."""
    name = config.get("closID") or container_id
    path = root if name == "/" else f"{root}/{name}"
    has_schemata = any(config.get(k) for k in ("l3CacheSchema", "memBwSchema", "schemata"))
    if config.get("closID") and not has_schemata:
        if not _exists(path):
            text = "without schemata the class must be there already"
            raise Error(f"{_PLACE}.closID: {path}: {text}")
        return path
    if name != "/" and _make_group(root, path):
        made.append(path)
        _write_schemata(root, path, config)
        return path
    if config.get("closID"):
        _compare(root, path, config)
    if config.get("schemata"):
        _write_lines(root, path, "schemata", config["schemata"])
    return path


def _write_schemata(root: str, path: str, config: Any) -> None:
    """One write for each property: within one the kernel takes no resource twice."""
    for name in ("l3CacheSchema", "memBwSchema"):
        if config.get(name):
            _write_lines(root, path, name, [config[name]])
    if config.get("schemata"):
        _write_lines(root, path, "schemata", config["schemata"])


def _write_lines(root: str, path: str, name: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    _write(root, f"{path}/schemata", text, f"{_PLACE}.{name}: unable to write {lines}")


def _compare(root: str, path: str, config: Any) -> None:
    """Refuse a class that others made with other values (the runtime-spec demands it)."""
    current = _parse(_read(f"{path}/schemata"))
    for name in ("l3CacheSchema", "memBwSchema"):
        for resource, values in _parse(config.get(name) or "").items():
            for cache, wanted in values.items():
                found = current.get(resource, {}).get(cache)
                if not _same(root, resource, wanted, found):
                    told = f"{resource} of cache {cache} is {found}, not {wanted}"
                    raise Error(f"{_PLACE}.{name}: class {config['closID']} exists, but {told}")


def _parse(schemata: str) -> dict[str, dict[str, str]]:
    """{"L3": {"0": "7f0", "1": "1f"}} of lines such as "L3:0=7f0;1=1f"."""
    parsed = {}
    for line in schemata.split("\n"):
        resource, separator, values = line.partition(":")
        if separator:
            pairs = (pair.partition("=") for pair in values.split(";") if pair.strip())
            parsed[resource.strip()] = {cache.strip(): value.strip() for cache, _, value in pairs}
    return parsed


def _same(root: str, resource: str, wanted: str, found: str | None) -> bool:
    """Whether two values are one to the kernel: masks are hexadecimal, bandwidths rounded up."""
    if found is None:
        return False
    try:
        if resource != "MB":
            return int(wanted, 16) == int(found, 16)
        step = int(_read_entry(f"{root}/info/MB", "bandwidth_gran") or 1)
        return int(found) in (int(wanted), -(-int(wanted) // step) * step)
    except ValueError:
        return wanted == found


def _make_group(root: str, path: str) -> bool:
    """Make a directory, which makes a group; False if it is there already."""
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        # Most likely ENOSPC: the hardware has no more classes or monitors.
        status = _last_status(root)
        raise Error(f"{_PLACE}: mkdir {path}: {error.strerror}{status}") from None
    return True


def _remove_group(path: str) -> None:
    """Remove a group's directory; its tasks fall back to the group above."""
    posix.rmdir(path)


def _write_pid(root: str, path: str, pid: int) -> None:
    _write(root, f"{path}/tasks", str(pid), f"{_PLACE}: unable to add pid {pid} to {path}")


def _write(root: str, path: str, text: str, what: str) -> None:
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            posix.close(fd)
    except OSError as error:
        raise Error(f"{what}: {error.strerror}{_last_status(root)}") from None


def _last_status(root: str) -> str:
    """What the kernel says about the last failed command, in parentheses."""
    said = _read_entry(f"{root}/info", "last_cmd_status")
    return f" ({said})" if said and said != "ok" else ""


def stats(config: Any, data: dict[str, Any]) -> dict[str, Any]:
    """What `events` tells as intel_rdt; {} for a container without linux.intelRdt.

    Raises OSError where the container's group is gone, Error where a counter cannot be had.
    """
    root, path = mount_point(), data.get(_PATH)
    if not config or not root or not path:
        return {}
    lines = [line.strip() for line in _read(f"{path}/schemata").strip().split("\n")]
    root_lines = [line.strip() for line in _read(f"{root}/schemata").split("\n")]
    told: dict[str, Any] = {}
    for resource, label, info_label, names in (
        ("L3", "l3_cache", "l3_cache_info", ("cbm_mask", "min_cbm_bits", "num_closids")),
        ("MB", "mem_bw", "mem_bw_info",
         ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")),
    ):  # fmt: skip
        if _exists(f"{root}/info/{resource}"):
            told[info_label] = _information(f"{root}/info/{resource}", names)
            for key, source in ((f"{label}_schema_root", root_lines), (f"{label}_schema", lines)):
                matching = [line for line in source if line.startswith(resource)]
                if matching:
                    told[key] = matching[-1]
    told["schemata"] = lines
    told.update(_monitored(root, data.get(_MONITORING_PATH) or path))
    return told


def _information(directory: str, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        value = _read_entry(directory, name)
        if value and value != "0":
            found[name] = value if name == "cbm_mask" else int(value)
    return found


def _monitored(root: str, group: str) -> dict[str, Any]:
    """The counters of every cache domain that this hardware can monitor, in the domains' order."""
    features = (_read_entry(f"{root}/info/L3_MON", "mon_features") or "").split("\n")
    told = {}
    for key, names in (
        ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
        ("cmt_stats", ("llc_occupancy",)),
    ):
        if any(name in features for name in names):
            directory = f"{group}/mon_data"
            told[key] = [
                {
                    name: _counter(f"{directory}/{domain}/{name}") if name in features else 0
                    for name in names
                }
                for domain in sorted(posix.listdir(directory))
            ]
    return told


def _counter(path: str) -> int:
    value = _read(path).strip()
    if not value.isdigit():
        # "Unavailable" or "Error", as the hardware sees fit.
        raise Error(f"{path}: {value}")
    return int(value)


def _read_entry(directory: str, name: str) -> str:
    """The content of a file without blanks around it; "" if there is none."""
    try:
        return _read(f"{directory}/{name}").strip()
    except FileNotFoundError:
        return ""


def _read(path: str) -> str:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return jsonio.read_bytes(fd, path).decode("utf-8", "surrogateescape")
    finally:
        posix.close(fd)


def _exists(path: str) -> bool:
    return posix.access(path, posix.F_OK)
