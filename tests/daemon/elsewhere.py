"""An engine with parameters of its own: what a condition that lives elsewhere brings along."""

from __future__ import annotations

from driftcam.engines.api import declare
from driftcam.engines.api.fields import Choice, Number
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.worker.main import OneByOne
from tests.daemon import standin

AFTERGLOW = Number(
    "afterglow", "Afterglow", "Past pictures", "how much of the past stays", default=0.2, high=3.0, step=0.1, unit="s"
)
RECALL = Choice(
    "recall", "Recall", "Past pictures", "what stays", default="all", choices={"all": "all", "edges": "edges"}
)
FIELDS = (AFTERGLOW, RECALL)
NAME = "tests.daemon.elsewhere:Host"


class Host(OneByOne):
    """Declares its parameters in the engine process."""

    def __init__(self, model: ModelFiles | None = None) -> None:
        for field in FIELDS:
            declare(field)
        super().__init__(standin.Engine, model or ModelFiles())
