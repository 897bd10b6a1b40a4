"""The runtime-spec's config as types: what the dict that `config.load` returns looks like.

For type checkers and readers only; import it under `TYPE_CHECKING`. Every property is optional
here, since the config stays a plain dict; `config.check` says which have to be there. The field
names are the runtime-spec's (1.3), whose config.md and config-linux.md say what they mean.
"""

from __future__ import annotations

from typing import TypedDict


class User(TypedDict, total=False):
    """The ids of the process, in the container's user namespace."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Box(TypedDict, total=False):
    """The size of a terminal in characters."""

    height: int
    width: int


class Capabilities(TypedDict, total=False):
    """The five sets of capabilities(7), by name."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict, total=False):
    """One limit of setrlimit(2); the largest 64-bit number is infinity."""

    type: str
    soft: int
    hard: int


class Scheduler(TypedDict, total=False):
    """sched_setattr(2); `runtime`, `deadline` and `period` in nanoseconds."""

    policy: str
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


# Class syntax has no way to write a field named `class`.
IOPriority = TypedDict("IOPriority", {"class": str, "priority": int}, total=False)


class CPUAffinity(TypedDict, total=False):
    """Lists such as `0-3,7`."""

    initial: str
    final: str


class Process(TypedDict, total=False):
    """The program to run and everything it is given."""

    terminal: bool
    consoleSize: Box
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    scheduler: Scheduler
    selinuxLabel: str
    ioPriority: IOPriority
    execCPUAffinity: CPUAffinity


class Root(TypedDict, total=False):
    """The root file system: relative to the bundle or absolute."""

    path: str
    readonly: bool


class IDMapping(TypedDict, total=False):
    """One line of uid_map or gid_map, user_namespaces(7)."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    """One mount, in the order of the config; see mount(8) for its options."""

    destination: str
    type: str
    source: str
    options: list[str]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]


class Hook(TypedDict, total=False):
    """A program to run; `timeout` in seconds."""

    path: str
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    """The programs to run at the points of the life cycle."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class Namespace(TypedDict, total=False):
    """A namespace to make or, with a path, to join."""

    type: str
    path: str


class TimeOffset(TypedDict, total=False):
    """What is added to a clock, time_namespaces(7)."""

    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    """A device node to make."""

    type: str
    path: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class NetDevice(TypedDict, total=False):
    """A network device to move in, perhaps under another name."""

    name: str


class DeviceRule(TypedDict, total=False):
    """One line for the devices controller; -1 or nothing stands for all."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    """Limits in bytes, -1 for none."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class CPU(TypedDict, total=False):
    """Times in microseconds."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    """How many tasks there may be, -1 for any number."""

    limit: int


class WeightDevice(TypedDict, total=False):
    """The share of one block device."""

    major: int
    minor: int
    weight: int
    leafWeight: int


class ThrottleDevice(TypedDict, total=False):
    """`rate` in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(TypedDict, total=False):
    """Shares and limits of block devices."""

    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict, total=False):
    """`limit` in bytes."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict, total=False):
    """A priority for the traffic of one interface."""

    name: str
    priority: int


class Network(TypedDict, total=False):
    """The net_cls and net_prio controllers."""

    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    """The limits of one RDMA device."""

    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    """What the container's cgroup is limited to."""

    devices: list[DeviceRule]
    memory: Memory
    cpu: CPU
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class IntelRdt(TypedDict, total=False):
    """Classes of the resctrl file system."""

    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool


class MemoryPolicy(TypedDict, total=False):
    """set_mempolicy(2)."""

    mode: str
    nodes: str
    flags: list[str]


class SyscallArg(TypedDict, total=False):
    """A comparison with one argument of a system call."""

    index: int
    value: int
    valueTwo: int
    op: str


class Syscall(TypedDict, total=False):
    """What happens to the system calls of these names."""

    names: list[str]
    action: str
    errnoRet: int
    args: list[SyscallArg]


class Seccomp(TypedDict, total=False):
    """The system call filter, in libseccomp's words."""

    defaultAction: str
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]


class Personality(TypedDict, total=False):
    """personality(2)."""

    domain: str
    flags: list[str]


class Linux(TypedDict, total=False):
    """The part of the config that is for Linux."""

    namespaces: list[Namespace]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    timeOffsets: dict[str, TimeOffset]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    cgroupsPath: str
    resources: Resources
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    sysctl: dict[str, str]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    personality: Personality


class Spec(TypedDict, total=False):
    """config.json as a whole, for Linux."""

    ociVersion: str
    root: Root
    process: Process
    hostname: str
    domainname: str
    mounts: list[Mount]
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux
