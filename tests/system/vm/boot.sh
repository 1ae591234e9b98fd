#!/usr/bin/env bash
# Runs a command in a small virtual machine with a Debian kernel, on this machine's own files (changes are forgotten),
# and returns its status. Built for software emulation; VM_ACCEL=kvm is quicker where that works.
#   usage: boot.sh COMMAND…      VM_TIMEOUT (s), VM_MEMORY (MB), VM_CACHE (folder)
set -euo pipefail
here=$(dirname "$(realpath "$0")")
cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftcam-vm}
"$here/prepare.sh" "$cache"
# Below the cache, as the machine has a /run and a /dev/shm of its own, where $TMPDIR may lie. A run that was killed leaves
# its folder behind: those of days before go.
find "$cache" -maxdepth 1 -name 'run.*' -mtime +0 -exec rm -rf {} +
work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
printf 'export PATH=%q HOME=%q PYTHONPATH=%q PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 VM_CACHE=%q\ncd %q\n' \
  "$PATH" "$HOME" "${PYTHONPATH:-}" "$cache" "$PWD" >"$work/command"
printf '%q ' "$@" >>"$work/command"
timeout "${VM_TIMEOUT:-900}" qemu-system-x86_64 \
  -accel "${VM_ACCEL:-tcg,thread=multi,tb-size=512}" -cpu max,la57=off -smp 2 -m "${VM_MEMORY:-3072}" \
  -display none -serial stdio -monitor none -no-reboot -nic none -kernel "$cache/vmlinuz" -initrd "$cache/initrd.gz" \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on driftcam-vm=$work/command" \
  </dev/null | stdbuf -o0 tr -d '\r' | tee "$work/log" || true
status=$(sed -n 's/^VM_STATUS=\([0-9]*\).*/\1/p' "$work/log" | tail -1)
[ -n "$status" ] || echo "the virtual machine did not come to its end" >&2
exit "${status:-125}"
