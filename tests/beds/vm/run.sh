#!/bin/sh
# Runs tests on a machine with systemd as init, cgroup v2 with all controllers, and AppArmor: under QEMU.
#
#   tests/beds/vm/run.sh [ARGS]        ARGS go to pytest; files among them replace the default ones
#   tests/beds/vm/run.sh -c COMMAND    a shell command instead
#
# The image is built once (build.sh: some minutes, from Debian packages) in $XDG_CACHE_HOME/runc-test-vm, and no
# run changes it. It boots in half a minute and, without KVM, computes at a tenth of the host's speed. The
# repository is shared with it at the host's path, read-write; so are the folders in VM_SHARE. VM_APPEND is for
# the kernel's command line: systemd.unified_cgroup_hierarchy=0 makes it a machine with cgroup v1.
set -eu

cd "$(dirname "$0")/../../.."
root=$PWD
bed=$root/tests/beds/vm
image=${XDG_CACHE_HOME:-$HOME/.cache}/runc-test-vm
say() { echo "vm: $*" >&2; }

missing=
for pair in qemu-system-x86_64=qemu-system-x86 debootstrap=debootstrap mke2fs=e2fsprogs; do
    command -v "${pair%=*}" >/dev/null || missing="$missing ${pair#*=}"
done
if [ -n "$missing" ]; then
    say "installing Debian package(s):$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null
fi
if ! cat "$bed/build.sh" "$bed/guest" "$bed/bed.service" | cmp -s - "$image/made-from"; then
    say "building the image in $image, which takes some minutes (its log: build.log)"
    "$bed/build.sh" "$image"
fi

accelerator=tcg,thread=multi
patience=10
# A /dev/kvm that is there may still not work, as in some virtual machines: some refuse at once, others
# (that do without the processor's help) never get any kernel of ours to its first line.
if grep -qwE 'vmx|svm' /proc/cpuinfo && (echo quit | qemu-system-x86_64 -machine q35 -accel kvm -cpu max -display none -nic none -S -monitor stdio) \
    >/dev/null 2>&1; then
    accelerator=kvm
    patience=1
fi

work=$root/build/vm
mkdir -p "$work"
rm -f "$work/after-reboot"
cp -f "${RUNC:-$root/dist/runc}" "$work/runc"
{
    # For the tests the file is where the README puts it.
    echo "export RUNC=/usr/local/bin/runc PATIENCE=$patience"
    if [ "${1-}" = -c ]; then
        echo "$2"
    else
        files="tests/systemd tests/integration/test_cgroups_v2.py tests/integration/test_resources.py
            tests/integration/test_lsm.py tests/integration/test_netdevices.py
            tests/integration/test_checkpoint.py"
        for argument in "$@"; do
            case $argument in tests/*) files= ;; esac
        done
        printf '%s' "python3 -m pytest" ; printf " %s" $files
        for argument in "$@"; do
            printf " '%s'" "$(printf %s "$argument" | sed "s/'/'\\\\''/g")"
        done
        echo
    fi
} >"$work/command"

set -- -machine q35 -accel "$accelerator" -cpu max -smp 2 -m "${VM_MEMORY:-2048}" -display none \
    -kernel "$image/vmlinuz" -initrd "$image/initrd.img" \
    -drive "file=$image/disk.img,format=raw,if=virtio,snapshot=on" -nic none \
    -chardev "file,id=console,path=$work/console.log" -serial chardev:console \
    -chardev "stdio,id=tests,signal=off" -serial chardev:tests
shares=
number=0
for folder in "$root" ${VM_SHARE-}; do
    set -- "$@" -virtfs "local,path=$folder,mount_tag=share$number,security_model=none,multidevs=remap"
    shares="$shares bed.share=$folder"
    number=$((number + 1))
done
log=$work/output.log
TMPDIR=$work qemu-system-x86_64 "$@" \
    -append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=1 apparmor=1 security=apparmor$shares ${VM_APPEND-}" \
    </dev/null | tee "$log"
status=$(sed -n 's/^vm: status \([0-9]*\).*/\1/p' "$log" | tail -n 1)
# What failed before a reboot has failed.
grep -q '^vm: reboot, status [1-9]' "$log" && status=1
[ -n "$status" ] || say "the machine ended without a word; its console: $work/console.log"
exit "${status:-1}"
