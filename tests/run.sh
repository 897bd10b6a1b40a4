#!/bin/sh
# Runs the tests on the built file, which it builds first where sources are newer.
#
#   tests/run.sh                    lint, unit, integration and security tests
#   tests/run.sh PART… [-- ARGS]    only these parts; ARGS go to pytest
#
# Parts: lint unit integration security bench cgroup2 systemd engines. All but lint and unit need root;
# `systemd` is a virtual machine; what it runs can be chosen: tests/run.sh systemd -- tests/engines -k docker.
# What the machine cannot run is skipped with the reason. What is missing is installed (with apt, and
# with pip into build/testvenv), and said.
set -eu

cd "$(dirname "$0")/.."
venv=build/testvenv

say() { echo "tests/run.sh: $*" >&2; }

install_debian() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        say "not installed (tests that need it are skipped):$missing"
        return 0
    fi
    say "installing Debian package(s):$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null
}

make_venv() {
    if [ -e "$venv/ready" ] && cmp -s tests/requirements.txt "$venv/ready"; then return; fi
    python=python3
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    "$python" -I -c 'import venv, ensurepip' 2>/dev/null || install_debian python3 python3-venv
    say "installing into $venv: $(tr '\n' ' ' <tests/requirements.txt)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install -qq --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt "$venv/ready"
}

build() {
    [ -n "${RUNC-}" ] && return
    if [ ! -e dist/runc ] || [ -n "$(find runc.py libc_bindings libcontainer contrib/build build_zipapp.sh \
        pyproject.toml README.md -newer dist/runc -not -name '*.pyc' -not -type d | head -n 1)" ]; then
        ./build_zipapp.sh
    fi
}

lint() {
    "$venv/bin/ruff" check .
    "$venv/bin/ruff" format --check .
    "$venv/bin/mypy"
}

parts=
while [ $# -gt 0 ]; do
    case $1 in
    lint | unit | integration | security | bench | cgroup2 | systemd | engines) parts="$parts $1" ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) say "unknown part $1 (see --help)"; exit 2 ;;
    esac
    shift
done
parts=${parts:-lint unit integration security}

install_debian python3 python3-venv busybox-static libseccomp2 jq strace iproute2 uidmap runc gcc libc6-dev
make_venv
status=0
folders=
for part in $parts; do
    case $part in
    lint) lint || status=1 ;;
    unit | integration | security) folders="$folders tests/$part" ;;
    bench) build; "$venv/bin/python" tests/bench/run.py "$@" || status=1 ;;
    cgroup2) build; tests/beds/uml/run.sh "$@" || status=1 ;;
    systemd)
        build
        tests/beds/vm/run.sh "$@" || status=1
        # And with cgroup v1, which systemd 252 still knows.
        [ $# -gt 0 ] || VM_APPEND=systemd.unified_cgroup_hierarchy=0 \
            tests/beds/vm/run.sh tests/systemd/test_legacy.py tests/integration/test_cgroups_v1.py || status=1
        ;;
    engines)
        install_debian docker.io tini containerd podman buildah catatonit
        # For containerd's CRI; without it those tests are skipped.
        "$venv/bin/pip" install -qq --disable-pip-version-check "grpcio>=1.60" || say "no grpcio"
        folders="$folders tests/engines"
        ;;
    esac
done
if [ -n "$folders" ]; then
    build
    # shellcheck disable=SC2086 # a list of folders
    "$venv/bin/python" -m pytest $folders "$@" || status=1
fi
[ $status = 0 ] || say "FAILED"
exit $status
