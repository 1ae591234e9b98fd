"""What other rooms may import from `engines`: types only, light to import, no torch."""

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import TABLE, Parameters, declare

__all__ = ["TABLE", "ParameterError", "Parameters", "declare"]
