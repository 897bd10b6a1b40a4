"""The runtime-spec's config as types: what the dict that `config.load` returns looks like.

For type checkers and readers only; import it under `TYPE_CHECKING`. Every property is optional
here, since the config stays a plain dict; `config.check` says which have to be there. The field
names are the runtime-spec's (1.3), whose config.md and config-linux.md say what they mean.
"""

from __future__ import annotations

from typing import Dict, List, TypedDict


class User(TypedDict, total=False):
    uid: int
    gid: int
    umask: int
    additionalGids: List[int]
    username: str


class Box(TypedDict, total=False):
    """The size of a terminal in characters."""

    height: int
    width: int


class Capabilities(TypedDict, total=False):
    bounding: List[str]
    effective: List[str]
    inheritable: List[str]
    permitted: List[str]
    ambient: List[str]


class Rlimit(TypedDict, total=False):
    type: str
    soft: int
    hard: int


class Scheduler(TypedDict, total=False):
    """sched_setattr(2); `runtime`, `deadline` and `period` in nanoseconds."""

    policy: str
    nice: int
    priority: int
    flags: List[str]
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
    terminal: bool
    consoleSize: Box
    user: User
    args: List[str]
    env: List[str]
    cwd: str
    capabilities: Capabilities
    rlimits: List[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    oomScoreAdj: int
    scheduler: Scheduler
    selinuxLabel: str
    ioPriority: IOPriority
    execCPUAffinity: CPUAffinity


class Root(TypedDict, total=False):
    path: str
    readonly: bool


class IDMapping(TypedDict, total=False):
    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    destination: str
    type: str
    source: str
    options: List[str]
    uidMappings: List[IDMapping]
    gidMappings: List[IDMapping]


class Hook(TypedDict, total=False):
    """A program to run; `timeout` in seconds."""

    path: str
    args: List[str]
    env: List[str]
    timeout: int


class Hooks(TypedDict, total=False):
    prestart: List[Hook]
    createRuntime: List[Hook]
    createContainer: List[Hook]
    startContainer: List[Hook]
    poststart: List[Hook]
    poststop: List[Hook]


class Namespace(TypedDict, total=False):
    type: str
    path: str


class TimeOffset(TypedDict, total=False):
    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    type: str
    path: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class NetDevice(TypedDict, total=False):
    name: str


class DeviceRule(TypedDict, total=False):
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
    limit: int


class WeightDevice(TypedDict, total=False):
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
    weight: int
    leafWeight: int
    weightDevice: List[WeightDevice]
    throttleReadBpsDevice: List[ThrottleDevice]
    throttleWriteBpsDevice: List[ThrottleDevice]
    throttleReadIOPSDevice: List[ThrottleDevice]
    throttleWriteIOPSDevice: List[ThrottleDevice]


class HugepageLimit(TypedDict, total=False):
    """`limit` in bytes."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict, total=False):
    name: str
    priority: int


class Network(TypedDict, total=False):
    classID: int
    priorities: List[InterfacePriority]


class Rdma(TypedDict, total=False):
    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    devices: List[DeviceRule]
    memory: Memory
    cpu: CPU
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: List[HugepageLimit]
    network: Network
    rdma: Dict[str, Rdma]
    unified: Dict[str, str]


class IntelRdt(TypedDict, total=False):
    closID: str
    schemata: List[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool


class MemoryPolicy(TypedDict, total=False):
    mode: str
    nodes: str
    flags: List[str]


class SyscallArg(TypedDict, total=False):
    index: int
    value: int
    valueTwo: int
    op: str


class Syscall(TypedDict, total=False):
    names: List[str]
    action: str
    errnoRet: int
    args: List[SyscallArg]


class Seccomp(TypedDict, total=False):
    defaultAction: str
    defaultErrnoRet: int
    architectures: List[str]
    flags: List[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: List[Syscall]


class Personality(TypedDict, total=False):
    domain: str
    flags: List[str]


class Linux(TypedDict, total=False):
    namespaces: List[Namespace]
    uidMappings: List[IDMapping]
    gidMappings: List[IDMapping]
    timeOffsets: Dict[str, TimeOffset]
    devices: List[Device]
    netDevices: Dict[str, NetDevice]
    cgroupsPath: str
    resources: Resources
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    sysctl: Dict[str, str]
    seccomp: Seccomp
    rootfsPropagation: str
    maskedPaths: List[str]
    readonlyPaths: List[str]
    mountLabel: str
    personality: Personality


class Spec(TypedDict, total=False):
    """config.json as a whole, for Linux."""

    ociVersion: str
    root: Root
    process: Process
    hostname: str
    domainname: str
    mounts: List[Mount]
    hooks: Hooks
    annotations: Dict[str, str]
    linux: Linux
