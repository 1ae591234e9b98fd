#!/bin/bash
# A real `systemd --user` in namespaces of its own. Usage, as root:
#   unshare -m --propagation private --pid --fork --mount-proc user.sh FOLDER COMMAND…
# FOLDER/home and FOLDER/run become the user's home and runtime folder.
set -euo pipefail
folder=$1; shift
mount -t tmpfs t /run/systemd
mkdir -p /run/systemd/system  # without it `systemd --user` ends without a word
umount -R /sys/fs/cgroup 2>/dev/null || umount -l -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/driftcam-test-user-$$-${folder//\//-}
mkdir -p "$group"
echo $$ > "$group/cgroup.procs"
export HOME=$folder/home XDG_RUNTIME_DIR=$folder/run
unset XDG_CONFIG_HOME XDG_STATE_HOME XDG_CACHE_HOME
mkdir -p -m 700 "$HOME" "$XDG_RUNTIME_DIR/systemd"
/lib/systemd/systemd --user --log-target=console --log-level=notice > "$folder/manager.log" 2>&1 &
manager=$!
for _ in $(seq 100); do [ -S "$XDG_RUNTIME_DIR/systemd/private" ] && break; sleep .1; done
status=0
"$@" || status=$?
kill $manager; wait $manager || true
exit $status
