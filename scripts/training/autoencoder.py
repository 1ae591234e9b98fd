"""Stage 1: the autoencoder, on photographs and on the teacher's pictures alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from driftcam.engines.models.embedded.networks import LATENT_CHANNELS, Decoder, Encoder
from scripts.training.progress import Run, mixed

CROP = 128
BATCH = 16
LATENT_NOISE = 0.1  # upper end of a uniform level: the decoder must bear an imperfect denoiser


class Autoencoder(nn.Module):
    """Encoder and decoder around a batch normalisation that is folded into the encoder at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.norm = nn.BatchNorm2d(LATENT_CHANNELS, affine=False, momentum=0.01)

    def forward(self, pixels: Tensor) -> Tensor:
        latent = self.norm(self.encoder(pixels))
        level = torch.rand(len(latent), 1, 1, 1) * LATENT_NOISE
        return self.decoder(latent + level * torch.randn_like(latent))

    def folded_encoder(self) -> Encoder:
        """An encoder whose output has zero mean and unit variance, without the normalisation layer."""
        encoder = Encoder()
        encoder.load_state_dict(self.encoder.state_dict())
        last = encoder.body[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        mean, var = self.norm.running_mean, self.norm.running_var
        assert mean is not None and var is not None
        scale = (var + self.norm.eps).rsqrt()
        with torch.no_grad():
            last.weight.mul_(scale[:, None, None, None])
            last.bias.sub_(mean).mul_(scale)
        return encoder.eval()


def to_pixels(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) u8 to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().div_(127.5).sub_(1)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 on pixels and on their gradients, with a squared term for the PSNR."""
    error = output - target
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return error.abs().mean() + 6 * error.square().mean() + 0.5 * (dx.abs().mean() + dy.abs().mean())


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Per-image PSNR in dB of pictures in [-1, 1], after clipping and rounding to 8 bits."""
    output = ((output.clamp(-1, 1) + 1) * 127.5).round()
    target = ((target + 1) * 127.5).round()
    return 10 * torch.log10(255**2 / (output - target).square().flatten(1).mean(1).clamp_min(1e-6))


@torch.no_grad()
def median_psnr(encoder: Encoder, decoder: Decoder, images: np.ndarray) -> float:
    """Median reconstruction PSNR in dB of (N, H, W, 3) u8 pictures."""
    parts = [psnr(decoder(encoder(part)), part) for part in to_pixels(images).split(8)]
    return torch.cat(parts).median().item()


def train(folder: Path, crops: dict, pairs: dict, held_pairs: dict, minutes: float) -> Autoencoder:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Autoencoder()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run(folder, "autoencoder", model, optimiser, minutes)
    photos, stylised = crops["train"], pairs["stylised"]
    total, count = 0.0, 0
    while run.progress < 1:
        run.set_learning_rate(1.5e-3)
        target = to_pixels(_batch(photos, stylised, rng)).contiguous(memory_format=torch.channels_last)
        with mixed():
            output = model(target)
        loss = reconstruction_loss(output.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.update()
        total, count = total + loss.item(), count + 1
        if run.step % 1000 == 0:
            networks = run.average.folded_encoder(), run.average.decoder
            held = crops["held_out"], held_pairs["stylised"][:64]
            photo_db, stylised_db = (median_psnr(*networks, images) for images in held)
            run.record(loss=round(total / count, 5), psnr_photo=round(photo_db, 2), psnr_stylised=round(stylised_db, 2))
            total, count = 0.0, 0
    return run.average


def _batch(photos: np.ndarray, stylised: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half photographs, half stylised; random 128² windows."""
    batch = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for k in range(BATCH):
        source = photos if k % 2 else stylised
        image = source[rng.integers(len(source))]
        top, left = rng.integers(0, image.shape[0] - CROP + 1, size=2)
        batch[k] = image[top : top + CROP, left : left + CROP]
    return batch
