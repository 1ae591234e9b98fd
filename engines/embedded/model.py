"""The embedded model as the engine uses it: verified weights, compiled networks, style conditions."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from engines.api.errors import ParameterError
from engines.api.parameters import STYLE_VECTOR_LENGTH, Parameters
from engines.api.styles import STYLE_NAMES
from engines.backends import Network, base, open_backend
from engines.embedded import networks
from engines.embedded.networks import LATENT_CHANNELS, STRIDE, STYLE_DIM, UNET_STRIDE, Decoder, Encoder, FlowUNet
from engines.network import BATCH, NetworkSpec, picture

WEIGHTS = Path(__file__).parent / "weights"
MULTIPLE = STRIDE * UNET_STRIDE
_STYLE_PICTURE = 256  # side of the picture the style-vector predictor sees


def embedded_specs(weights: Path | None = None) -> list[NetworkSpec]:
    """The three networks of the embedded model. Raises `ParameterError` for weights that cannot be used."""
    key, encoder, decoder, velocity = load_networks(weights or WEIGHTS)
    latent = picture(LATENT_CHANNELS, STRIDE)
    inputs = {"x": latent, "photo": latent, "t": (BATCH,), "level": (BATCH,), "style": (BATCH, STYLE_DIM)}
    return [
        NetworkSpec("encoder", encoder, {"pixels": picture(3)}, "latent", "in", key),
        NetworkSpec("velocity", velocity, inputs, "v", "", key),
        NetworkSpec("decoder", decoder, {"latent": latent}, "pixels", "out", key),
    ]


class EmbeddedModel:
    """Networks of one size. `height` and `width` are in pixels, multiples of `MULTIPLE` (32) and of the backend's.

    `progress` is told of builds that take their time, from the thread that makes the model.

    Raises:
        ParameterError: weights missing or not what their checksum says; unknown backend.
    """

    channels = LATENT_CHANNELS

    def __init__(
        self,
        height: int,
        width: int,
        *,
        backend: str = "auto",
        weights: Path | None = None,
        progress: base.Progress | None = None,
    ) -> None:
        self.size = (height, width)
        self._progress = progress
        self._folder = weights or WEIGHTS
        self._backend = open_backend(backend)
        encoder, self._unet, decoder = embedded_specs(self._folder)
        self.latent_size = (height // STRIDE, width // STRIDE)
        self._encode = self._backend.compile(encoder, {"pixels": (1, 3, height, width)}, progress=progress)
        latent = (1, LATENT_CHANNELS, *self.latent_size)
        self._decode = self._backend.compile(decoder, {"latent": latent}, progress=progress)
        self._velocity: dict[int, Network] = {}

    def prepare(self, batch: int) -> None:
        """Compile the velocity network for `batch` rows ahead of its first use; from any thread."""
        if batch not in self._velocity:
            latent = (batch, LATENT_CHANNELS, *self.latent_size)
            shapes = {"x": latent, "photo": latent, "t": (batch,), "level": (batch,), "style": (batch, STYLE_DIM)}
            self._velocity[batch] = self._backend.compile(self._unet, shapes, progress=self._progress)

    def ready(self, batch: int) -> bool:
        """Whether the velocity network is compiled for exactly `batch` rows."""
        return batch in self._velocity

    def encode(self, frame: Tensor) -> Tensor:
        """(1, H, W, 3) u8 to (1, C, h, w); overwritten by the next call."""
        return self._encode(frame)

    def decode(self, latent: Tensor) -> Tensor:
        """(1, C, h, w) to (1, H, W, 3) u8; overwritten by the next call."""
        return self._decode(latent)

    def predict(self, x: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Velocity ε - x at time t: (B, C, h, w). `condition` holds rows of photo, level and style.

        A number of rows that is not compiled borrows the next larger network, if there is one: a stream
        that fills or empties must not wait for a compiler.
        """
        rows = len(x)
        size = min((size for size in tuple(self._velocity) if size >= rows), default=rows)
        self.prepare(size)
        inputs = [x, condition["photo"], t, condition["level"], condition["style"]]
        if size > rows:
            inputs = [F.pad(value, (0, 0) * (value.dim() - 1) + (0, size - rows)) for value in inputs]
        return self._velocity[size](*inputs)[:rows]

    @staticmethod
    def unconditional(condition: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same condition without a style: the negative branch of classifier-free guidance."""
        return {**condition, "style": torch.zeros_like(condition["style"])}

    def style_vector(self, picture: np.ndarray) -> tuple[float, ...]:
        """Style vector of an (H, W, 3) u8 RGB picture: 100 numbers."""
        small = cv2.resize(picture, (_STYLE_PICTURE, _STYLE_PICTURE), interpolation=cv2.INTER_AREA)
        return tuple(float(v) for v in _predictor(self._folder)(small[None].astype(np.float32) / 255).reshape(-1))


def style_condition(parameters: Parameters) -> Tensor:
    """The UNet's style input (1, STYLE_DIM): weights of the named styles, then the style vector."""
    share = parameters.style_image_weight if parameters.style_vector is not None else 0.0
    style = torch.zeros(1, STYLE_DIM)
    for name, weight in parameters.styles:
        style[0, STYLE_NAMES.index(name)] = weight * (1 - share)
    if parameters.style_vector is not None:
        style[0, -STYLE_VECTOR_LENGTH:] = torch.tensor(parameters.style_vector) * share
    return style


@functools.lru_cache(maxsize=1)
def load_networks(folder: Path) -> tuple[str, Encoder, Decoder, FlowUNet]:
    """The key of the graphs, and the verified networks in evaluation mode."""
    path = folder / "embedded.safetensors"
    digest = _verified(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ParameterError("weights", str(path), f"not a safetensors file ({error}); reinstall driftcam") from None
    encoder, decoder, unet = Encoder(), Decoder(), FlowUNet()
    for prefix, module in (("encoder.", encoder), ("decoder.", decoder), ("unet.", unet)):
        part = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise ParameterError("weights", str(path), f"{problem}; reinstall driftcam") from None
        module.eval().requires_grad_(False)
    return _graph_key(digest), encoder, decoder, unet


def _graph_key(weights_digest: str) -> str:
    """Names a converted graph: it depends on the weights and on the code that defines the networks."""
    key = hashlib.sha256(weights_digest.encode())
    for source in (__file__, networks.__file__, base.__file__):
        key.update(Path(source).read_bytes())
    return key.hexdigest()[:16]


def _verified(path: Path) -> str:
    """SHA-256 of a weights file, after comparing it with the folder's checksums.json."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expected = json.loads((path.parent / "checksums.json").read_text())[path.name]
    except (OSError, ValueError, KeyError) as error:
        raise ParameterError("weights", str(path), f"cannot be read ({error}); reinstall driftcam") from None
    if digest != expected:
        raise ParameterError("weights", str(path), "the file is corrupt (checksum does not match); reinstall driftcam")
    return digest


@functools.lru_cache(maxsize=1)
def _predictor(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The style-vector network (Ghiasi et al., arXiv 1705.06830), run rarely and therefore in OpenVINO alone."""
    import openvino as ov

    path = folder / "style_vector.onnx"
    _verified(path)
    compiled = ov.Core().compile_model(path, "CPU")
    return lambda picture: compiled([picture])[0]
