#!/bin/bash
# A real systemd as the first process, with a journal, on this machine's own root, copy-on-write. Usage, as root:
#   unshare -m --propagation private machine.sh FOLDER SOURCES PACKAGES
# It starts FOLDER/test.service, which writes into /out (FOLDER/out) and ends the machine. SOURCES and
# PACKAGES are at /opt/sources and /opt/packages, wherever they lie here: the machine has a /tmp of its own.
set -euo pipefail
folder=$1 sources=$2 packages=$3
mkdir -p /run/systemd/nspawn
mount -t tmpfs t /run/systemd/nspawn
umount -R /sys/fs/cgroup 2>/dev/null || umount -l -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/driftcam-test-machine-$$
mkdir -p "$group"
echo $$ > "$group/cgroup.procs"
mkdir -p "$folder/root" "$folder/out"
mount -t tmpfs t "$folder/root"
mkdir "$folder"/root/{upper,work,merged}
mount -t overlay -o "lowerdir=/,upperdir=$folder/root/upper,workdir=$folder/root/work" overlay "$folder/root/merged"
: > "$folder/root/merged/etc/machine-id"
exec systemd-nspawn -q -D "$folder/root/merged" -M driftcam-test --register=no --keep-unit --console=passive \
  --private-network --bind="$folder/out:/out" --bind-ro="$sources:/opt/sources" \
  --bind-ro="$packages:/opt/packages" \
  --bind-ro="$folder/test.service:/etc/systemd/system/driftcam-test.service" \
  /lib/systemd/systemd systemd.show_status=0 systemd.unit=driftcam-test.service
