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
from torch import Tensor, nn
from torch.nn import functional as F

from engines.api.errors import ParameterError
from engines.api.parameters import STYLE_VECTOR_LENGTH, Parameters
from engines.api.styles import STYLE_NAMES
from engines.backends import compile_network
from engines.embedded import networks
from engines.embedded.networks import LATENT_CHANNELS, STRIDE, STYLE_DIM, UNET_STRIDE, Decoder, Encoder, FlowUNet

WEIGHTS = Path(__file__).parent / "weights"
MULTIPLE = STRIDE * UNET_STRIDE
_STYLE_PICTURE = 256  # side of the picture the style-vector predictor sees


class _PixelsToLatent(nn.Module):
    """(B, H, W, 3) u8 to latents, so that the change of layout runs inside the compiled graph."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frame: Tensor) -> Tensor:
        return self.encoder(frame.permute(0, 3, 1, 2).float() / 127.5 - 1)


class _LatentToPixels(nn.Module):
    """Latents to (B, H, W, 3) u8."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        pixels = self.decoder(latent) * 127.5 + 127.5
        return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class EmbeddedModel:
    """Networks of one size. `height` and `width` are in pixels, multiples of `MULTIPLE` (32).

    Raises:
        ParameterError: weights missing or not what their checksum says; unknown backend.
    """

    channels = LATENT_CHANNELS

    def __init__(self, height: int, width: int, *, backend: str = "auto", weights: Path | None = None) -> None:
        self.size = (height, width)
        self._folder = weights or WEIGHTS
        self._backend = backend
        self._key, encoder, decoder, self._unet = load_networks(self._folder)
        self.latent_size = (height // STRIDE, width // STRIDE)
        frame = torch.zeros((1, height, width, 3), dtype=torch.uint8)
        latent = torch.zeros((1, LATENT_CHANNELS, *self.latent_size))
        self._encode = compile_network(_PixelsToLatent(encoder), [frame], backend, key=self._key)
        self._decode = compile_network(_LatentToPixels(decoder), [latent], backend, key=self._key)
        self._velocity: dict[int, Callable[..., Tensor]] = {}

    def prepare(self, batch: int) -> None:
        """Compile the velocity network for `batch` rows ahead of its first use; from any thread."""
        if batch not in self._velocity:
            latent = torch.zeros((batch, LATENT_CHANNELS, *self.latent_size))
            level = torch.zeros(batch)
            examples = [latent, latent, level, level, torch.zeros(batch, STYLE_DIM)]
            self._velocity[batch] = compile_network(self._unet, examples, self._backend, key=self._key)

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
    for source in (Path(__file__), Path(networks.__file__)):
        key.update(source.read_bytes())
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
