"""The prose of the help texts: for each verb its arguments, a description and an example."""

from __future__ import annotations

ABOUT = """\
runc runs containers from bundles. A bundle is a directory with a config.json, which says what to
run and how it is confined, and the root file system that the container gets. The format of both is
the runtime-spec of the Open Container Initiative: https://github.com/opencontainers/runtime-spec

In a bundle's directory, `runc spec` writes a config.json to start from, and

    # runc run web1

runs it as the container "web1", a name of your choice that no other container on this host has.
`create` and `start` do the same in two steps, for engines that prepare something in between.
`runc help VERB` explains one verb.
"""

_ID = "<container-id>"

ARGUMENTS = {
    "checkpoint": _ID,
    "create": _ID,
    "delete": _ID,
    "events": _ID,
    "exec": _ID + " <command> [arguments...]  |  --process FILE " + _ID,
    "features": "",
    "kill": _ID + " [signal]",
    "list": "",
    "pause": _ID,
    "ps": _ID + " [ps options]",
    "restore": _ID,
    "resume": _ID,
    "run": _ID,
    "spec": "",
    "start": _ID,
    "state": _ID,
    "update": _ID,
}

_BUNDLE = """
The bundle is the current directory unless --bundle names another. What runs is `process.args` of
its config.json. If that asks for a terminal (`process.terminal`) and runc does not stay in the
foreground, --console-socket says where to send the terminal."""

DESCRIPTIONS = {
    "checkpoint": """
Writes all processes of a running container, with their memory, to files from which `runc restore`
makes them go on: later, after a reboot, on another host. The container is deleted then, unless it
is to go on running. The host's criu does the work (criu.org); what went wrong is told in its
log, dump.log. The files of the root file system and of volumes are not part of the image.""",
    "create": """
Makes everything that the container consists of: namespaces, cgroup, mounts, security settings.
Its process is not run yet: that is what `runc start` does, at any time later."""
    + _BUNDLE,
    "delete": """
Removes the cgroup, the state directory and everything else that is left of a container that has
stopped, and runs its poststop hooks. A container that was created and never started is killed
first; one that runs is only killed with --force. With --force it is no error if there is none.
""",
    "events": """
Shows one JSON object a line: at each interval one of type `stats` with what the container's cgroup
counts, and one of type `oom` whenever a process was killed because the memory limit was reached.
It ends with the container.""",
    "exec": """
Runs one more process in the namespaces and the cgroup of a running container. It is confined like
the container's own process (`process` of its config.json) where options do not say otherwise.
Everything after the container's id belongs to the command; options of runc stand in front.

The exit status is the command's, 128+N if signal N killed it, and 255 if it could not be run.""",
    "features": """
Shows the namespaces, capabilities, mount options and so on that this runtime knows, whether or not
this host offers them, as the runtime-spec's features.md describes it.""",
    "kill": """
Sends the signal to the first process of the container. A signal is a name (KILL, SIGKILL) or a
number. A container without a pid namespace of its own loses all its processes by KILL.""",
    "list": """
Shows the containers whose state is below --root, whoever made them. Containers that were started
with another --root, as those of Docker or Podman, show with that same option.""",
    "pause": """
Freezes all processes of the container, as if time stood still for them, until `runc resume`.""",
    "ps": """
Shows the processes of the container with their pids on the host. The table is the host's `ps`,
cut down to those lines; options after the id are handed to it (default: -ef).""",
    "restore": """
Makes a container of the bundle and lets the processes that `runc checkpoint` wrote go on in it. As
with `runc run`, runc stays in the foreground until its end, or returns at once with --detach. The
bundle has to be the container's; criu's log is restore.log. To restore into another cgroup, both
`checkpoint` and `restore` need --manage-cgroups-mode ignore.""",
    "resume": """
Lets all processes of the container run on from where `runc pause` stopped them.""",
    "run": """
Creates the container, starts it, hands signals on to it and waits for it; then deletes it. The exit
status is the container's, 128+N if signal N killed it. With --detach runc returns at once, and the
container stays until it is deleted."""
    + _BUNDLE,
    "spec": """
Writes a config.json that runs `sh` in the directory rootfs beside it, with a terminal. It
is a start: edit `process.args` and whatever else you need. A config.json that exists is left alone.

With --rootless it suits an ordinary user: it has a user namespace in which the user is root, and
leaves out what takes privileges.""",
    "update": """
Changes limits while the container runs; what is not mentioned stays as it is. A size may have a
unit (k, M, G). With --resources the limits are those of a JSON object like `linux.resources` in a
config.json, and other options do not count.""",
    "start": """
Runs the process of a container that `runc create` made, and returns as soon as it runs.""",
    "state": """
Shows id, status (creating, created, running, paused or stopped), pid, bundle, time of creation and
annotations. The pid of a stopped container is 0.""",
}

EXAMPLES = {
    "checkpoint": """
# runc checkpoint --image-path /srv/saved/web1 web1
# runc restore -d --image-path /srv/saved/web1 --bundle /srv/web web1""",
    "create": """
# cd /srv/web && runc create web1
# runc start web1""",
    "delete": """
# runc kill web1 && runc delete web1
# runc delete --force web1""",
    "events": """
# runc events --stats web1
# runc events --interval 1s web1 | jq .data.memory.usage""",
    "exec": """
# runc exec -t web1 sh
# runc exec --user 33:33 --env LANG=C web1 ls -l /var/www""",
    "features": """
# runc features | jq .linux.namespaces""",
    "kill": """
# runc kill web1 TERM
# runc kill web1 9""",
    "list": """
# runc list
# runc --root /run/docker/runtime-runc/moby list --format json""",
    "pause": """
# runc pause web1
# runc resume web1""",
    "ps": """
# runc ps web1
# runc ps web1 -o pid,rss,args""",
    "restore": """
# runc restore -d --image-path /srv/saved/web1 --bundle /srv/web web1""",
    "resume": """
# runc resume web1""",
    "run": """
# runc run --bundle /srv/web web1
# runc run -d --pid-file /run/web1.pid --bundle /srv/web web1""",
    "spec": """
# mkdir -p web/rootfs && cd web
# docker export $(docker create busybox) | tar -C rootfs -xf -
# runc spec
# runc run web1""",
    "update": """
# runc update --memory 64M --pids-limit 100 web1
# runc update --resources limits.json web1""",
    "start": """
# runc create --bundle /srv/web web1
# runc start web1""",
    "state": """
# runc state web1
# runc state web1 | jq -r .status""",
}
