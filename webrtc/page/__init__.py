"""The page's files, as they are served."""

from pathlib import Path

FOLDER = Path(__file__).parent
