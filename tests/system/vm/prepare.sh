#!/usr/bin/env bash
# Makes, once, what boot.sh boots: the distribution's generic kernel, a small initial file system, and v4l2loopback built
# in two versions, Debian 12's and 13's. As root on Debian or Ubuntu; nothing is loaded here.
#   usage: prepare.sh CACHE
set -euo pipefail
cache=$1
here=$(dirname "$(realpath "$0")")
export DEBIAN_FRONTEND=noninteractive
stamp=$(cat "$here/prepare.sh" "$here/init" | sha256sum)
[ "$(cat "$cache/ready" 2>/dev/null)" = "$stamp" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "prepare.sh installs packages: run it as root" >&2; exit 77; }
rm -rf "$cache" && mkdir -p "$cache/tree" "$cache/initial" && cd "$cache"

apt-get update -qq || echo "the package lists may be old" >&2
apt-get install -qy --no-install-recommends \
  qemu-system-x86 linux-headers-amd64 gcc make cpio kmod busybox-static v4l-utils ffmpeg >apt.log 2>&1 || { cat apt.log >&2; exit 1; }
headers=$(ls -d /usr/src/linux-headers-*-amd64 | grep -v cloud | sort -V | tail -1) # the cloud kernel has no media support
kernel=${headers#/usr/src/linux-headers-}

# A newer version is asked for through a list of our own: the machine's package sources stay as they are.
echo "deb http://deb.debian.org/debian trixie main" >newer.list
mkdir -p lists/partial packages
as_root=(-o APT::Sandbox::User=root) # the folder may not be readable for apt's own user
newer=("${as_root[@]}" -o Dir::Etc::sourcelist="$PWD/newer.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$PWD/lists")
apt-get "${newer[@]}" update -qq || echo "a newer v4l2loopback cannot be had" >&2
cd packages
apt-get "${as_root[@]}" download -qq "linux-image-$kernel" v4l2loopback-dkms
apt-get "${newer[@]}" download -qq v4l2loopback-dkms v4l2loopback-utils || true
cd ..
dpkg-deb -x packages/linux-image-*.deb tree
mv "tree/boot/vmlinuz-$kernel" vmlinuz
depmod -b tree "$kernel"

for package in packages/v4l2loopback-dkms_*.deb; do
  dpkg-deb -x "$package" loopback
  source=$(echo loopback/usr/src/v4l2loopback-*)
  make -s -C "$headers" M="$PWD/$source" modules >>make.log 2>&1
  cp "$source/v4l2loopback.ko" "${source##*/}.ko"
  rm -rf loopback
done

for package in packages/v4l2loopback-utils_*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -xO ./usr/bin/v4l2loopback-ctl >v4l2loopback-ctl && chmod +x v4l2loopback-ctl
done

# The modules are numbered: the order in which they must be loaded.
mkdir -p initial/{modules,bin,proc,sys,dev,root,lower,upper}
cp /bin/busybox initial/bin/
number=100
for name in virtio_pci overlay 9pnet_virtio 9p videodev snd_seq; do
  modprobe -d tree -S "$kernel" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "initial/modules/$((number++))-${file##*/}"
done
cp "$here/init" initial/init
chmod +x initial/init
(cd initial && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
rm -rf tree initial packages lists newer.list
echo "$stamp" >ready
