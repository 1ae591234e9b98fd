"""The command `driftcam`, as it is."""

import sys

from driftcam.daemon import cli

if __name__ == "__main__":
    sys.exit(cli.main())
