"""What other rooms may import from `engines`: types only, light to import, no torch."""

from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.parameters import GUIDANCE_MODES, NOISE_MODES, Parameters

__all__ = ["GUIDANCE_MODES", "NOISE_MODES", "ParameterError", "Parameters"]
