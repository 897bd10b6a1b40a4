#!/bin/sh
# Builds dist/runc: this project and pyseccomp in one executable file (README.md, contrib/build/pack.py).
#
#   ./build_zipapp.sh           builds
#   ./build_zipapp.sh --quick   builds in seconds, with byte code for one interpreter
#   ./build_zipapp.sh --demo    builds, makes a bundle from busybox and runs a command in it (as root)
#
# Needs a shell, Python and, for what is missing, apt. It says what it installs and where to.
# BYTECODE_PYTHONS: more interpreters (paths, separated by blanks) to pack byte code for, beside those
# in /usr/bin, /usr/local/bin, pyenv's versions and PATH; BYTECODE_ONLY=1: no others.
# SOURCE_DATE_EPOCH: the time of the archive's entries; by default the last commit's.
set -eu

cd "$(dirname "$0")"
here=$PWD
work=$here/build
demo=
case ${1-} in
--demo) demo=1 ;;
--quick) BYTECODE_ONLY=1 BYTECODE_PYTHONS=$(command -v /usr/bin/python3 || command -v python3) ;;
"") ;;
-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${0##*/}"; exit 0 ;;
*) echo "build_zipapp.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
esac
umask 022

say() { echo "build_zipapp.sh: $*" >&2; }

# install_debian PACKAGE…: with apt, announced.
install_debian() {
    if ! command -v apt-get >/dev/null; then
        say "please install: $*"
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        say "needs Debian package(s) $*: run 'apt-get install $*' as root"
        exit 1
    fi
    say "installing Debian package(s): $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 || {
        apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    }
}

# The build's own Python: the first that can make a virtual environment.
build_python() {
    for candidate in /usr/bin/python3 /usr/local/bin/python3 python3; do
        if "$candidate" -I -c 'import sys; assert sys.version_info >= (3, 8)' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

make_venv() {
    [ -e "$work/venv/ready" ] && cmp -s contrib/build/requirements.txt "$work/venv/ready" && return
    python=$(build_python)
    if [ -z "$python" ]; then
        install_debian python3 python3-venv
        python=/usr/bin/python3
    elif ! "$python" -I -c 'import venv, ensurepip' 2>/dev/null; then
        install_debian python3-venv
    fi
    say "installing into $work/venv: $(grep -v '^#' contrib/build/requirements.txt | tr '\n' ' ')"
    rm -rf "$work/venv"
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -qq --disable-pip-version-check -r contrib/build/requirements.txt
    cp contrib/build/requirements.txt "$work/venv/ready"
}

# The interpreters to pack byte code for, one a line; the first of a version is taken.
interpreters() {
    for candidate in ${BYTECODE_PYTHONS-}; do echo "$candidate"; done
    [ -n "${BYTECODE_ONLY-}" ] && return
    for minor in 8 9 10 11 12 13 14; do
        for candidate in "/usr/bin/python3.$minor" "/usr/local/bin/python3.$minor"; do
            [ -x "$candidate" ] && echo "$candidate"
        done
        for root in "${PYENV_ROOT-}" "${HOME-}/.pyenv"; do
            # Of several patch releases the newest, so that the choice does not depend on chance.
            ls -d "$root/versions/3.$minor."[0-9]*/bin/python3 2>/dev/null | sort -t. -k4 -rn | head -n 1
        done
        command -v "python3.$minor" || true
    done
}

# Those of them that work, one a version.
usable() {
    seen=" "
    interpreters | while read -r candidate; do
        version=$("$candidate" -I -S -c 'import sys
if (3, 8) <= sys.version_info[:2] <= (3, 14) and sys.implementation.name == "cpython":
    print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case $seen in *" $version "*) continue ;; esac
        [ -n "$version" ] || continue
        seen="$seen$version "
        echo "$candidate"
    done
}

build() {
    mkdir -p "$work"
    # Two builds at once would overwrite each other's stage.
    exec 9>"$work/lock"
    if command -v flock >/dev/null; then flock 9; fi
    make_venv
    stage=$work/stage
    rm -rf "$stage"
    mkdir -p "$stage" dist
    cp runc.py pyproject.toml README.md LICENSE "$stage"
    find libc_bindings libcontainer -name '*.py' | while read -r file; do
        mkdir -p "$stage/$(dirname "$file")"
        cp "$file" "$stage/$file"
    done
    commit=$(git describe --always --dirty --abbrev=12 2>/dev/null) || commit=unknown
    printf '"""Written by build_zipapp.sh."""\n\nCOMMIT = "%s"\n' "$commit" >"$stage/libcontainer/_build.py"
    [ -n "${SOURCE_DATE_EPOCH-}" ] || SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
        SOURCE_DATE_EPOCH=315532800
    export SOURCE_DATE_EPOCH
    "$work/venv/bin/shiv" --quiet --no-build-isolation --no-deps --entry-point runc:entry --compressed \
        --output-file "$stage/shiv.pyz" "$stage" "$(grep '^pyseccomp' contrib/build/requirements.txt)" \
        >"$work/shiv.log" 2>&1 || { cat "$work/shiv.log" >&2; exit 1; }
    # shellcheck disable=SC2046 # one argument an interpreter
    "$work/venv/bin/python" contrib/build/pack.py "$stage/shiv.pyz" "$stage/runc" $(usable)
    mv -f "$stage/runc" dist/runc
    say "built dist/runc ($(wc -c <dist/runc) bytes)"
}

run_demo() {
    # Debian's other package, busybox, is linked with libraries that the bundle does not have.
    if [ ! -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then install_debian busybox-static; fi
    bundle=$work/demo
    rm -rf "$bundle"
    mkdir -p "$bundle/rootfs/bin"
    cp "$(readlink -f /bin/busybox)" "$bundle/rootfs/bin/busybox"
    for applet in sh echo cat ls id hostname ps uname sleep; do
        ln -s busybox "$bundle/rootfs/bin/$applet"
    done
    dist/runc spec --bundle "$bundle"
    "$work/venv/bin/python" - "$bundle/config.json" <<'EOF'
import json, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
config["process"]["terminal"] = False
config["process"]["args"] = ["/bin/sh", "-c", 'echo "hello from $(hostname), I am pid $$:"; ps']
with open(sys.argv[1], "w") as file:
    json.dump(config, file, indent=4)
EOF
    say "dist/runc run --bundle $bundle demo"
    dist/runc run --bundle "$bundle" "demo-$$"
}

build
if [ -n "$demo" ]; then run_demo; fi
