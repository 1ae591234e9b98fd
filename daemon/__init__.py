"""The long-running process: sources, sinks, the engine's supervision, the page and the command line."""

import os

# OpenCV reads these when it is loaded, whichever module comes first.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64_000_000))  # a small file can unpack to gigabytes
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # a camera that falls silent must not delay a stop
