#!/usr/bin/env bash
# `make test-vm`: the tests of this folder in the virtual machine.      usage: run.sh PYTHON
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export VM_CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/driftcam-vm}
"$here/prepare.sh" "$VM_CACHE"
# The engine's kernels are compiled out here, for any processor: under emulation that takes minutes.
NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=$VM_CACHE/kernels "$1" -c "from driftcam import Engine; Engine()"
exec "$here/boot.sh" "$1" -m pytest -p pytest_timeout "$here"
