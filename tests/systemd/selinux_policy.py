"""Prints a small SELinux policy, for checkpolicy(8): enough to see labels take effect.

Everything is allowed, but that a process of the type cont_t makes a directory in one of the type
cfile_t. What the policy does not know of (most classes) is allowed too: `checkpolicy -U allow`.
"""

from __future__ import annotations

SIDS = """
    kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet
    icmp_socket tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix
    sysctl_vm sysctl_dev kmod policy scmp_packet devnull
""".split()
_FILE = """
    ioctl read write create getattr setattr lock relabelfrom relabelto append map unlink link rename
    execute quotaon mounton audit_access open execmod watch watch_mount watch_sb watch_with_perm
    watch_reads
""".split()
CLASSES = {
    "process": """
        fork transition sigchld sigkill sigstop signull signal ptrace getsched setsched getsession
        getpgid setpgid getcap setcap share getattr setexec setfscreate noatsecure siginh setrlimit
        rlimitinh dyntransition setcurrent execmem execstack execheap setkeycreate setsockcreate
        getrlimit
    """.split(),
    # Or a process with noNewPrivileges could not change its label at execve(2).
    "process2": ["nnp_transition", "nosuid_transition"],
    "filesystem": """
        mount remount unmount getattr relabelfrom relabelto associate quotamod quotaget watch
    """.split(),
    "file": [*_FILE, "execute_no_trans", "entrypoint"],
    "dir": [*_FILE, "add_name", "remove_name", "reparent", "search", "rmdir"],
    "key": "view read write search link setattr create".split(),
}
TYPES = ["base_t", "cont_t", "cfile_t"]
CONTEXT = "system_u:base_r:base_t"
LABELLED_BY = {
    "xattr": "ext4 overlay",
    "trans": "tmpfs devpts mqueue",
    "task": "pipefs sockfs",
}
LABELLED_AS_ONE = "proc sysfs cgroup cgroup2 selinuxfs rootfs 9p securityfs debugfs tracefs bpf"


def policy() -> str:
    """The policy's source."""
    lines = [f"class {name}" for name in CLASSES] + [f"sid {name}" for name in SIDS]
    lines += [f"class {name} {{ {' '.join(could)} }}" for name, could in CLASSES.items()]
    lines += ["policycap nnp_nosuid_transition;"]
    lines += [f"type {name};" for name in TYPES] + ["role base_r;"]
    lines += [f"role base_r types {name};" for name in TYPES]
    for name, could in CLASSES.items():
        for source in TYPES:
            for target in TYPES:
                denied = (name, source, target) == ("dir", "cont_t", "cfile_t")
                may = [permission for permission in could if not denied or permission != "add_name"]
                lines.append(f"allow {source} {target}:{name} {{ {' '.join(may)} }};")
    lines.append("user system_u roles { base_r };")
    lines += [f"sid {name} {CONTEXT}" for name in SIDS]
    for way, kinds in LABELLED_BY.items():
        lines += [f"fs_use_{way} {kind} {CONTEXT};" for kind in kinds.split()]
    lines += [f"genfscon {kind} / {CONTEXT}" for kind in LABELLED_AS_ONE.split()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(policy(), end="")
