"""The command `driftcam` with the stand-in engine, which starts in a moment even on an emulated processor."""

import sys

import daemon.run
from daemon import cli
from daemon.engine_process import worker_command
from tests.daemon import standin

if __name__ == "__main__":
    daemon.run.worker_command = lambda engine, weights: worker_command(standin.NAME, weights)
    sys.exit(cli.main())
