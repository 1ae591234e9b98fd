"""How good the embedded model is, on photographs that no training step saw."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftcam.engines.api.parameters import Parameters
from driftcam.engines.conditions.freedom import degrade, hiding_level, hiding_noise
from driftcam.engines.models.embedded.networks import Decoder, Encoder, FlowUNet
from scripts.training import faces
from scripts.training.autoencoder import to_pixels
from scripts.training.teacher import PAINTED, STYLES, VECTOR
from scripts.training.texture import grid_ratio

DEFAULT_FREEDOM = 0.3
LIVE = Parameters()
WINDOW = 128


class StyleClassifier(nn.Module):
    """128² pixels in [-1, 1] to the logits of the named styles; trained on the teachers' pictures alone."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 192)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for inputs, outputs in zip((12, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], STYLES)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(pixels).mean((2, 3)))


def train_classifier(path: Path, pairs: dict, steps: int = 1500) -> StyleClassifier:
    model = StyleClassifier()
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    rng = np.random.default_rng(5)
    torch.manual_seed(5)
    pure = np.flatnonzero(pairs["named"].max(1) == 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        chosen = rng.choice(pure, 48)
        top, left = rng.integers(0, 256 - WINDOW + 1, size=2)
        pixels = to_pixels(pairs["stylised"][chosen][:, top : top + WINDOW, left : left + WINDOW])
        if step % 2:
            pixels = pixels.flip(-1)
        label = torch.from_numpy(pairs["named"][chosen].argmax(1))
        loss = F.cross_entropy(model(pixels), label, label_smoothing=0.05)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    torch.save(model.state_dict(), path)
    return model.eval()


@torch.no_grad()
def accuracy(classifier: StyleClassifier, pixels: Tensor, labels: Tensor) -> float:
    """Share of pictures whose four 128² windows together get the right style."""
    logits = torch.zeros(len(pixels), STYLES)
    for top, left in ((0, 0), (0, 128), (128, 0), (128, 128)):
        logits += classifier(pixels[..., top : top + WINDOW, left : left + WINDOW])
    return (logits.argmax(1) == labels).float().mean().item()


@torch.no_grad()
def euler(
    model: FlowUNet,
    photo: Tensor,
    style: Tensor,
    noise: Tensor,
    hiding: Tensor,
    *,
    strength: float,
    freedom: float,
    steps: int,
) -> Tensor:
    """Plain Euler integration of the rectified flow from t = strength to 0: the reference sampler."""
    if strength == 0:
        return photo
    level = torch.full((len(photo),), hiding_level(freedom))
    condition = degrade(photo, hiding, level)
    x = torch.lerp(photo, noise, strength)
    times = torch.linspace(strength, 0, steps + 1)
    for now, following in pairwise(times):
        x = x + (following - now) * model(x, now.expand(len(x)), condition, level, style)
    return x


def gradient(pixels: Tensor) -> Tensor:
    """Gradient magnitude of the luma, slightly smoothed: (B, 3, H, W) to (B, H·W)."""
    luma = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    luma = F.avg_pool2d(luma, 3, 1, 1)
    dx, dy = luma[..., :-1, 1:] - luma[..., :-1, :-1], luma[..., 1:, :-1] - luma[..., :-1, :-1]
    return (dx.square() + dy.square()).sqrt().flatten(1)


def edge_correlation(output: Tensor, photo: Tensor) -> Tensor:
    """Pearson correlation of gradient magnitudes, per picture."""
    a, b = gradient(output), gradient(photo)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-8)


class Judge:
    """Runs the model over held-out photographs; `teach(photo u8, style index) -> u8` is the teacher."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        unet: FlowUNet,
        photos: np.ndarray,
        teach: Callable[[np.ndarray, int], np.ndarray],
        styles: int = STYLES,
        per_style: int = 6,
    ) -> None:
        self.encoder, self.decoder, self.unet = encoder, decoder, unet
        rng = np.random.default_rng(9)
        self.index = np.concatenate([rng.choice(len(photos), per_style, replace=False) for _ in range(styles)])
        self.labels = torch.arange(styles).repeat_interleave(per_style)
        self.pixels = to_pixels(photos[self.index])
        self.style = torch.cat([F.one_hot(self.labels, STYLES).float(), torch.zeros(len(self.labels), VECTOR)], 1)
        with torch.no_grad():
            self.photo = torch.cat([encoder(part) for part in self.pixels.split(16)])
        taught = [teach(photos[i], int(s)) for i, s in zip(self.index, self.labels, strict=True)]
        self.taught = to_pixels(np.stack(taught))

    def of(self, decoder: Decoder, unet: FlowUNet) -> Judge:
        """The same examination of other networks with the same encoder."""
        other = copy.copy(self)
        other.decoder, other.unet = decoder, unet
        return other

    @torch.no_grad()
    def straight(self, steps: int = 16) -> dict[str, float]:
        """How straight the way from noise to picture is, and how far one step ends from where eight do.

        `straightness` is S of InstaFlow (arXiv 2309.06380): the mean squared difference of the velocity along the way
        from the one that leads to its end directly. `one_to_eight` is a mean absolute difference of pixels in [0, 1].
        """
        generator = torch.Generator().manual_seed(11)
        level = torch.full((13,), hiding_level(DEFAULT_FREEDOM))
        bent = []
        for rows in torch.arange(len(self.photo))[:: max(1, len(self.photo) // 52)].split(13):
            photo, style = self.photo[rows], self.style[rows]
            start, hiding = (torch.randn(photo.shape, generator=generator) for _ in range(2))
            told = degrade(photo, hiding, level[: len(rows)]), level[: len(rows)], style
            x, velocities = start, []
            for now, following in pairwise(torch.linspace(1, 0, steps + 1)):
                velocities.append(self.unet(x, now.expand(len(x)), *told))
                x = x + (following - now) * velocities[-1]
            bent += [(start - x - velocity).square().mean().item() for velocity in velocities]
        one, eight = self.run(steps=1), self.run(steps=8)
        return {"straightness": float(np.mean(bent)), "one_to_eight": (one - eight).abs().mean().item() / 2}

    @torch.no_grad()
    def run(
        self,
        *,
        strength: float = 1.0,
        freedom: float = DEFAULT_FREEDOM,
        steps: int = 4,
        seed: int = 0,
        as_in_a_stream: bool = False,
    ) -> Tensor:
        """Pixels of all samples; `as_in_a_stream` the photograph is hidden by `hiding_noise`, not by its own noise."""
        generator = torch.Generator().manual_seed(seed)
        noise, hiding = (torch.randn(self.photo.shape, generator=generator) for _ in range(2))
        if as_in_a_stream:
            hiding = hiding_noise(noise)
        parts = []
        for rows in torch.arange(len(self.photo)).split(13):
            latent = euler(self.unet, self.photo[rows], self.style[rows], noise[rows], hiding[rows],
                           strength=strength, freedom=freedom, steps=steps)  # fmt: skip
            parts.append(self.decoder(latent).clamp(-1, 1))
        return torch.cat(parts)

    def drawn(self) -> dict[str, dict[str, float]]:
        """How sharp the pictures are and whether they show the grid of the latent: what a decoder has a part in."""
        live = {"strength": LIVE.strength, "freedom": LIVE.freedom, "steps": LIVE.steps}
        settings: dict[str, dict] = {"1 step": {"steps": 1}, "4 steps": {"steps": 4}, "as a stream starts": live}
        teacher_sharp = gradient(self.taught).mean().item()
        rows = {}
        for name, values in settings.items():
            out = self.run(**values)
            rows[name] = {
                "grid": grid_ratio(out).item(),
                "sharpness_to_teacher": gradient(out).mean().item() / teacher_sharp,
                "edge_correlation": edge_correlation(out, self.pixels).mean().item(),
            }
        return rows

    def report(self, classifier: StyleClassifier) -> dict:
        """Every number of the model card except the autoencoder's."""
        teacher_edges = edge_correlation(self.taught, self.pixels).mean().item()
        teacher_sharp = gradient(self.taught).mean().item()
        looks = self.labels >= PAINTED
        by_steps = {}
        for steps in (1, 2, 4, 8):
            out = self.run(steps=steps)
            by_steps[steps] = {
                "style_accuracy": accuracy(classifier, out, self.labels),
                "edge_correlation": edge_correlation(out, self.pixels).mean().item(),
                "sharpness_to_teacher": gradient(out).mean().item() / teacher_sharp,
                "distance_to_teacher": (out - self.taught).abs().mean().item() / 2,
                "grid": grid_ratio(out).item(),
                "style_accuracy_of_looks": accuracy(classifier, out[looks], self.labels[looks])
                if looks.any()
                else None,
            }
        by_freedom = {}
        for freedom in (0.0, 0.3, 0.5, 0.7, 1.0):
            a, b = self.run(freedom=freedom, seed=1), self.run(freedom=freedom, seed=2)
            by_freedom[freedom] = {
                "style_accuracy": accuracy(classifier, a, self.labels),
                "edge_correlation": edge_correlation(a, self.pixels).mean().item(),
                "seed_difference": (a - b).abs().mean().item() / 2,
            }
        hidden = []
        for steps, freedom, stream in product((1, 4), (0.3, 0.7), (False, True)):
            a, b = (self.run(steps=steps, freedom=freedom, seed=seed, as_in_a_stream=stream) for seed in (1, 2))
            numbers = {
                "style_accuracy": accuracy(classifier, a, self.labels),
                "edge_correlation": edge_correlation(a, self.pixels).mean().item(),
                "seed_difference": (a - b).abs().mean().item() / 2,
            }
            hidden.append({"steps": steps, "freedom": freedom, "as_in_a_stream": stream, **numbers})
        by_strength = {}
        for strength in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            out = self.run(strength=strength)
            by_strength[strength] = (out - self.pixels).abs().mean().item() / 2
        return {
            "styles": len(self.labels.unique()),
            "teacher": {
                "style_accuracy": accuracy(classifier, self.taught, self.labels),
                "edge_correlation": teacher_edges,
                "grid": grid_ratio(self.taught).item(),
            },
            "by_steps": by_steps,
            "by_freedom": by_freedom,
            "hidden_by": hidden,
            "distance_from_input_by_strength": by_strength,
        }


@torch.no_grad()
def faces_kept(
    encoder: Encoder, decoder: Decoder, unet: FlowUNet, portraits: list[np.ndarray], styles: int
) -> dict[str, dict]:
    """Of every style as a stream starts with it, in one step: the median distance from the person, and faces found.

    Of the 26 that the style-transfer network teaches, of the looks, and of all.
    """
    photos = [(face, picture) for picture in portraits if (face := faces.find(picture)) is not None]
    latent = encoder(to_pixels(np.stack([picture for _, picture in photos])))
    generator = torch.Generator().manual_seed(7)
    noise, hiding = (torch.randn(latent.shape, generator=generator) for _ in range(2))
    rows: list[list[faces.Kept]] = []
    for style in F.one_hot(torch.arange(styles), STYLES + VECTOR).float():
        painted = euler(unet, latent, style.expand(len(latent), -1), noise, hiding,
                        strength=LIVE.strength, freedom=LIVE.freedom, steps=1)  # fmt: skip
        pixels = ((decoder(painted).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        rows.append([faces.kept(face, picture) for (face, _), picture in zip(photos, pixels, strict=True)])
    parts = {"network's": rows[:PAINTED], "looks": rows[PAINTED:], "all": rows}
    return {name: _kept([kept for row in part for kept in row]) for name, part in parts.items() if part}


def _kept(rows: list[faces.Kept]) -> dict[str, float]:
    distance = float(np.median([row.distance for row in rows]))
    return {"distance": distance, "found": float(np.mean([row.found for row in rows]))}
