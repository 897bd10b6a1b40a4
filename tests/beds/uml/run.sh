#!/bin/sh
# Runs the tests that concern cgroups on pure cgroup v2, under User-mode Linux.
#
#   tests/beds/uml/run.sh [ARGS]        ARGS go to pytest; files among them replace the default ones
#   tests/beds/uml/run.sh -c COMMAND    a shell command instead
#   tests/beds/uml/run.sh --smoke       what takes two minutes; success, with the reason, where it cannot run
#
# Needs the Debian package user-mode-linux (a kernel that is a program, 6.1 in bookworm), installed here if
# it is missing. The machine has the host's root directory, read-write, but its own /tmp and /run; it
# starts in two seconds, computes at a fifth of the host's speed, and has no time namespaces.
set -eu

cd "$(dirname "$0")/../../.."
root=$PWD
skip() { echo "uml: SKIPPED: $*" >&2; exit 0; }

if [ "${1-}" = --smoke ]; then
    command -v linux.uml >/dev/null || command -v apt-get >/dev/null || skip "no user-mode-linux, no apt-get"
    said=$(timeout 60 "$0" -c 'echo it runs' 2>&1) || skip "User-mode Linux does not start: $(echo "$said" | tail -n 1)"
    exec timeout 400 "$0" -q tests/integration/test_cgroups_v2.py tests/integration/test_resources.py \
        -k "unified or delegated or replaced or enforced or device_rules or pause or without_a_pid or fails"
fi
if ! command -v linux.uml >/dev/null; then
    echo "uml: installing user-mode-linux" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends user-mode-linux; } >/dev/null
fi

mkdir -p build/uml
{
    echo "cd '$root'"
    echo "export RUNC='${RUNC:-$root/dist/runc}'"
    if [ "${1-}" = -c ]; then
        echo "$2"
    else
        files="tests/integration/test_cgroups_v2.py tests/integration/test_resources.py"
        for argument in "$@"; do
            case $argument in tests/*) files= ;; esac
        done
        printf '%s' "${TEST_PYTHON:-build/testvenv/bin/python} -m pytest $files"
        for argument in "$@"; do
            printf " '%s'" "$(printf %s "$argument" | sed "s/'/'\\\\''/g")"
        done
        echo
    fi
} >build/uml/command

# Processors with AMX have a larger floating point state than User-mode Linux before 6.13 hands to
# ptrace(PTRACE_SETREGSET, NT_X86_XSTATE), which wants all of it and says EFAULT: a copy of the kernel hands
# over 64 KiB, of which ptrace(2) takes what there is. (What is behind it is not looked at: the state's own
# header tells which parts are in use.)
kernel=$(command -v linux.uml)
if grep -qw amx_tile /proc/cpuinfo; then
    python3 - "$kernel" build/uml/linux <<'END'
import pathlib, sys
kernel, copy = map(pathlib.Path, sys.argv[1:])
# movl $2696, iov.iov_len; movl $PTRACE_SETREGSET, %edi
before = bytes.fromhex("c745f8880a0000 bf05420000")
copy.unlink(missing_ok=True)
copy.write_bytes(kernel.read_bytes().replace(before, bytes.fromhex("c745f800000100 bf05420000")))
copy.chmod(0o755)
END
    kernel=build/uml/linux
fi

log=build/uml/console.log
# A standard input that never ends: at its end the console would.
[ -p build/uml/stdin ] || mkfifo build/uml/stdin
TMPDIR=/dev/shm "$kernel" mem=1024M root=/dev/root rootfstype=hostfs rootflags=/ rw quiet loglevel=0 \
    con=null con0=fd:0,fd:1 "init=$root/tests/beds/uml/init" <>build/uml/stdin 2>build/uml/kernel.log |
    tee "$log"
status=$(sed -n 's/^uml: status \([0-9]*\).*/\1/p' "$log" | tail -n 1)
exit "${status:-1}"
