#!/bin/sh
# Makes the image of the virtual machine: Debian bookworm with systemd 252, kernel 6.1, cgroup v2, AppArmor,
# the container engines, and what the tests need. Some minutes, 2 GB; needs root and a mirror of Debian,
# debootstrap's own one or $DEBIAN_MIRROR.
#
#   tests/beds/vm/build.sh DIRECTORY    disk.img, vmlinuz, initrd.img go there
set -eu

out=$1
bed=$(cd "$(dirname "$0")" && pwd)
packages="systemd-sysv dbus dbus-user-session libpam-systemd udev kmod linux-image-amd64 initramfs-tools
    python3 python3-pytest busybox-static libseccomp2 jq iproute2 uidmap strace gcc libc6-dev
    apparmor apparmor-utils procps psmisc sudo socat bats criu runc crun
    docker.io containerd podman buildah fuse-overlayfs slirp4netns catatonit tini ca-certificates python3-grpcio"

mkdir -p "$out"
tree=$out/tree
cleanup() {
    for name in proc sys dev; do mountpoint -q "$tree/$name" && umount -l "$tree/$name"; done
    rm -rf --one-file-system "$tree"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
rm -rf --one-file-system "$tree"

debootstrap --variant=minbase bookworm "$tree" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$out/build.log"
for name in proc sys dev; do mount --rbind "/$name" "$tree/$name"; mount --make-rslave "$tree/$name"; done
# Nothing is started on the host.
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
mkdir -p "$tree/etc/initramfs-tools"
printf '9p\n9pnet_virtio\n' >"$tree/etc/initramfs-tools/modules"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
# shellcheck disable=SC2086 # a list of names
DEBIAN_FRONTEND=noninteractive chroot "$tree" apt-get install -y --no-install-recommends $packages >>"$out/build.log"
rm -rf "$tree/usr/sbin/policy-rc.d" "$tree"/var/cache/apt/*.bin "$tree"/var/cache/apt/archives/*.deb \
    "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc

# The machine's own services: one runs the command that run.sh leaves; an ordinary user has a manager.
install -m 755 "$bed/guest" "$tree/usr/local/sbin/bed"
cp "$bed/bed.service" "$tree/etc/systemd/system/"
chroot "$tree" systemctl -q enable bed.service
chroot "$tree" systemctl -q disable docker.service docker.socket containerd.service podman.service podman.socket \
    podman-restart.service podman-auto-update.timer apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service e2scrub_all.timer 2>/dev/null || true
chroot "$tree" useradd --create-home --uid 2000 --shell /bin/bash rootless
mkdir -p "$tree/var/lib/systemd/linger" "$tree/etc/systemd/system/user@.service.d" "$tree/etc/systemd/journald.conf.d"
touch "$tree/var/lib/systemd/linger/rootless"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$tree/etc/systemd/system/user@.service.d/delegate.conf"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$tree/etc/systemd/journald.conf.d/bed.conf"
printf '/dev/vda / ext4 rw,noatime 0 0\n' >"$tree/etc/fstab"
echo vm >"$tree/etc/hostname"
echo "127.0.0.1 localhost vm" >"$tree/etc/hosts"
cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
cp "$tree"/boot/initrd.img-* "$out/initrd.img"
for name in proc sys dev; do umount -l "$tree/$name"; done
rm -f "$out/disk.img"
mke2fs -q -t ext4 -d "$tree" "$out/disk.img" 6G
cat "$bed/build.sh" "$bed/guest" "$bed/bed.service" >"$out/made-from"
