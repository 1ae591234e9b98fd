"""`python -m driftcam.engines.worker --bus-fd N`: started by the daemon, never by hand."""

import sys

from driftcam.engines.worker.main import main

sys.exit(main())
