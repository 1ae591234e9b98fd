"""A stream's frames on their way into the networks' picture, and results on their way out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from driftcam.engines.api.fitting import Box, blacken_bars, fit_image, fit_plane, place_in
from driftcam.engines.api.planes import Plane, Planes, Scaling
from driftcam.engines.image.luma import WorkingLuma, working_size
from driftcam.engines.image.shift import Shift, shift_by_pixels
from driftcam.engines.motion.anchor import Anchor


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in the networks' picture, so that its result can be taken out of there.

    Attributes:
        height, width: of the frame at the stream's size.
        offset: (x, y) pixels by which it was moved right and down.
        between_bars: the part of it that is no bar, None where there are none.
    """

    height: int
    width: int
    offset: tuple[float, float]
    between_bars: Box | None


class Canvas:
    """Scales a frame, puts it where the scene lies on the latent grid, and keeps every buffer for that.

    Args:
        stride: pixels per latent cell.
        anchored: follow the scene where `place` may (`engines.motion.anchor`).

    Attributes:
        input: (1, H, W, 3) u8, what the encoder is given.
        luma: (h, w) u8, small grey picture of the frame as it came.
        anchor: see there.
    """

    def __init__(self, stride: int, *, anchored: bool) -> None:
        self.anchor, self._anchored = Anchor(stride), anchored
        self._shift_in, self._shift_out, self._to_luma = Shift(), Shift(), WorkingLuma()

    def resize(self, size: tuple[int, int], width: int, height: int, fit: str) -> None:
        """For frames of `width` × `height`, fitted as `Parameters.fit` says, in networks' pictures of `size` (H, W)."""
        self._fit = fit
        self._picture = np.zeros((*size, 3), np.uint8)
        self.input = torch.from_numpy(self._picture[None])
        self._scaled = np.zeros((height, width, 3), np.uint8)
        self.luma = np.zeros(working_size(height, width), np.uint8)
        self._placed_luma = np.zeros(working_size(*size), np.uint8)

    def take(self, rgb: np.ndarray) -> None:
        """Fit a frame (H, W, 3) u8 into the stream's size and make its small grey picture."""
        height, width = self._scaled.shape[:2]
        self._came = rgb.shape[1], rgb.shape[0]
        fit_image(rgb, width, height, self._fit, out=self._scaled)
        self._to_luma.convert(self._scaled, self.luma)
        self._between_bars = place_in(rgb, width, height, self._fit)

    def place(self, *, follow: bool) -> Placement:
        """Put the frame into `input`, with `follow` where the anchor wants it; borders mirror the picture."""
        if self._anchored and follow:
            self.anchor.follow(self.luma, self._scaled.shape[1] / self.luma.shape[1])
        else:
            self.anchor.reset()
        self._shift_in(self._scaled, *self.anchor.offset, self._picture)
        return Placement(*self._scaled.shape[:2], self.anchor.offset, self._between_bars)

    def placed_luma(self) -> np.ndarray:
        """(h, w) u8, small grey picture of the networks' picture; overwritten by the next call."""
        return self._to_luma.convert(self._picture, self._placed_luma)

    def placed(self, planes: Planes, read: Mapping[str, Plane]) -> dict[str, np.ndarray]:
        """The frame's planes that are `read`, where the frame itself lies in the networks' picture; to whole pixels."""
        height, width = self._scaled.shape[:2]
        x, y = (round(side) for side in self.anchor.offset)
        placed = {}
        for name in planes.keys() & read.keys():
            nearest = read[name].scaling is Scaling.NEAREST
            fitted = fit_plane(planes[name], self._came, width, height, self._fit, nearest=nearest)
            placed[name] = np.empty((*self._picture.shape[:2], *fitted.shape[2:]), fitted.dtype)
            shift_by_pixels(fitted, x, y, placed[name])
        return placed

    def cut_out(self, image: np.ndarray, placement: Placement, out: np.ndarray) -> None:
        """A frame's result (height, width, 3) u8 from the networks' picture `image`, into `out`."""
        x, y = placement.offset
        self._shift_out(image, -x, -y, out)
        if placement.between_bars is not None:  # the model has painted on the bars, too
            blacken_bars(out, placement.between_bars)
