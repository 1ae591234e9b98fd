"""The command `driftcam` with the stand-in engine, which starts in a moment even on an emulated processor."""

import sys

import driftcam.daemon.run
from driftcam.daemon import cli
from driftcam.daemon.engine.process import worker_command
from tests.daemon import standin

if __name__ == "__main__":
    driftcam.daemon.run.worker_command = lambda engine, options: worker_command(standin.NAME, options)
    sys.exit(cli.main())
