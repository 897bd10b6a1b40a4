"""`freebsd`: not for this platform, but small, and a config is valid as a whole or not at all.

runtime-spec config-freebsd.md.
"""

from __future__ import annotations

_MODE = frozenset(("new", "inherit", "disable"))
_MODE_NO_DISABLE = frozenset(("new", "inherit"))

FREEBSD = {
    "devices": [{"path": str, "mode": (0, 0o777)}],
    "jail": {
        "parent": str,
        "host": _MODE_NO_DISABLE,
        "ip4": _MODE,
        "ip4Addr": [str],
        "ip6": _MODE,
        "ip6Addr": [str],
        "vnet": _MODE_NO_DISABLE,
        "interface": str,
        "vnetInterfaces": [str],
        "sysvmsg": _MODE,
        "sysvsem": _MODE,
        "sysvshm": _MODE,
        "enforceStatfs": (0, 255),
        "allow": {
            "setHostname": bool,
            "rawSockets": bool,
            "chflags": bool,
            "mount": [str],
            "quotas": bool,
            "socketAf": bool,
            "mlock": bool,
            "reservedPorts": bool,
            "suser": bool,
        },
    },
}
