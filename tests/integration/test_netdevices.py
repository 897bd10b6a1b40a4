"""linux.netDevices: devices of the host that move into the container's network namespace."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any, Iterator

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle

pytestmark = pytest.mark.needs("program:ip")


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def make_device(name: str) -> bool:
    """A device that may move: `dummy` where the kernel has it, else one end of a veth pair."""
    for kind in (("dummy",), ("veth", "peer", "name", f"{name}p")):
        command = ["ip", "link", "add", name, "type", *kind]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return True
    return False


def exists(name: str) -> bool:
    command = ["ip", "link", "show", "dev", name]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def device() -> Iterator[str]:
    name = f"rt{uuid.uuid4().hex[:8]}"
    if not make_device(name):
        pytest.skip("this kernel has neither dummy nor veth devices")
    yield name
    for left in (name, f"{name}p"):
        subprocess.run(["ip", "link", "del", left], check=False, capture_output=True)


@pytest.fixture
def network() -> Iterator[str]:
    """A named network namespace; its path."""
    name = f"rt{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=False)


def test_events_count_the_traffic(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {}})
    bundle.start()
    told = json.loads(bundle.call("events", "--stats", bundle.id).stdout)
    (counters,) = told["data"]["network_interfaces"]
    assert counters.pop("Name") == device
    assert list(counters) == [
        "RxBytes", "RxPackets", "RxErrors", "RxDropped",
        "TxBytes", "TxPackets", "TxErrors", "TxDropped",
    ]  # fmt: skip


def with_devices(bundle: Bundle, devices: Any, network: str = "") -> None:
    linux = bundle.config["linux"]
    linux["netDevices"] = devices
    if network:
        for namespace in linux["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = network


def test_move(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {}})
    shown = bundle.output(f"ip link show dev {device}")
    assert f"{device}" in shown
    assert ",UP" in shown


def test_move_into_a_user_namespace(bundle: Bundle, device: str) -> None:
    """The container's network namespace belongs to its user namespace: root in there owns it."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [
        {"containerID": 0, "hostID": 300000, "size": 65536}
    ]
    subprocess.run(["chown", "-R", "300000:300000", str(bundle.rootfs)], check=True)
    for capabilities in bundle.config["process"]["capabilities"].values():
        capabilities.append("CAP_NET_ADMIN")
    with_devices(bundle, {device: {"name": "inside0"}})
    shown = bundle.output("ip link set dev inside0 mtu 1400 && ip link show dev inside0")
    assert ",UP" in shown
    assert "mtu 1400" in shown
    assert not exists("inside0")


def test_rename(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {"name": "inside0"}})
    shown = bundle.output("ls /sys/class/net")
    assert "inside0" in shown.split()
    assert device not in shown.split()
    assert not exists("inside0")


def test_template(bundle: Bundle, device: str, network: str) -> None:
    ip("-n", network.rpartition("/")[2], "link", "add", "eth0", "type", "bridge")
    with_devices(bundle, {device: {"name": "eth%d"}}, network)
    assert "eth1" in bundle.output("ls /sys/class/net").split()


def test_attributes_stay(bundle: Bundle, device: str) -> None:
    ip("link", "set", "dev", device, "mtu", "1321", "address", "02:11:22:33:44:55")
    ip("address", "add", "169.254.169.77/32", "dev", device)
    ip("address", "add", "10.99.0.1", "peer", "10.99.0.2/32", "dev", device)
    ip("address", "add", "10.98.0.1/24", "broadcast", "10.98.0.99", "dev", device)
    with_devices(bundle, {device: {"name": "inside0"}})
    shown = bundle.output("ip address show dev inside0")
    assert "mtu 1321" in shown
    assert "02:11:22:33:44:55" in shown
    assert "inet 169.254.169.77/32 scope global" in shown
    assert "10.99.0.1 peer 10.99.0.2/32" in shown
    assert "inet 10.98.0.1/24 brd 10.98.0.99" in shown


def test_ipv6_address_stays_though_the_device_was_up(bundle: Bundle, device: str) -> None:
    ip("link", "set", "dev", device, "up")
    try:
        ip("address", "add", "2001:db8::7/64", "dev", device, "nodad")
    except subprocess.CalledProcessError:
        pytest.skip("no IPv6 here")
    with_devices(bundle, {device: {}})
    assert "2001:db8::7/64 scope global" in bundle.output(f"ip address show dev {device}")


def test_other_scopes_and_temporary_addresses_are_left(bundle: Bundle, device: str) -> None:
    ip("address", "add", "127.0.0.33/32", "dev", device, "scope", "host")
    ip("address", "add", "10.97.0.1/24", "dev", device, "valid_lft", "600", "preferred_lft", "600")
    with_devices(bundle, {device: {}})
    shown = bundle.output(f"ip address show dev {device}")
    assert "127.0.0.33" not in shown
    assert "10.97.0.1" not in shown


def test_joined_namespace_keeps_the_device(bundle: Bundle, device: str, network: str) -> None:
    ip("address", "add", "10.96.0.1/24", "dev", device)
    with_devices(bundle, {device: {}}, network)
    assert "10.96.0.1/24" in bundle.output(f"ip address show dev {device}")
    inside = network.rpartition("/")[2]
    assert "10.96.0.1/24" in ip("-n", inside, "address", "show", "dev", device)
    assert not exists(device)


def test_new_namespace_takes_a_virtual_device_along(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {}})
    bundle.start()
    assert not exists(device)
    assert device in bundle.exec("ls", "/sys/class/net").stdout.split()
    bundle.call("delete", "--force", bundle.id)


def test_missing_device(bundle: Bundle) -> None:
    with_devices(bundle, {"nosuchdev0": {}})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "linux.netDevices[nosuchdev0]" in done.stderr
    assert "No such device" in done.stderr


def test_name_taken(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {"name": "lo"}})
    done = bundle.run("true")
    assert done.returncode == 1
    assert f"linux.netDevices[{device}]: the container has a device lo already" in done.stderr
    assert exists(device), "a device that cannot move stays on the host"


def test_device_that_must_not_move(bundle: Bundle, device: str) -> None:
    bridge = f"{device}b"
    ip("link", "add", bridge, "type", "bridge")
    try:
        with_devices(bundle, {bridge: {}})
        done = bundle.run("true")
        assert done.returncode == 1
        assert f"linux.netDevices[{bridge}]: move: Invalid argument" in done.stderr
    finally:
        ip("link", "del", bridge)


def test_template_that_is_none(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {"name": "eth%x"}})
    done = bundle.run("true")
    assert done.returncode == 1
    assert f"linux.netDevices[{device}]: eth%x gives no valid name" in done.stderr
    assert exists(device)


def test_bad_name(bundle: Bundle) -> None:
    with_devices(bundle, {"eth0": {"name": "a/b"}})
    done = bundle.run("true")
    assert done.returncode == 1
    assert "linux.netDevices" in done.stderr
    assert "invalid network device name" in done.stderr


def test_no_network_namespace(bundle: Bundle, device: str) -> None:
    with_devices(bundle, {device: {}})
    linux = bundle.config["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "network"]
    done = bundle.run("true")
    assert done.returncode == 1
    assert "unable to move network devices without a NET namespace" in done.stderr
