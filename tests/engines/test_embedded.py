"""The shipped model: both backends agree, weights are verified, styles are conditions that blend."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.backends import open_backend
from driftcam.engines.conditions.freedom import degrade, hiding_level, hiding_noise
from driftcam.engines.conditions.style import STYLE_DIM, style_input
from driftcam.engines.models.base import Model
from driftcam.engines.models.embedded.model import WEIGHTS, EmbeddedSource, load_networks

CLIP = Path(__file__).parents[2] / "scripts" / "clips" / "bigbuckbunny.mp4"
BFLOAT16_TOLERANCE = 0.10  # of the output's standard deviation; one bfloat16 has 8 bits of mantissa


@pytest.fixture(scope="module")
def models():
    return {name: Model(EmbeddedSource().parts, 64, 96, open_backend(name)) for name in ("openvino", "torch")}


def test_backends_agree_on_the_velocity(models):
    generator = torch.Generator().manual_seed(0)
    x, photo = (torch.randn(2, 20, 8, 12, generator=generator) for _ in range(2))
    condition = {"image_latent": photo, "level": torch.tensor([0.0, 0.7]), "style": torch.eye(STYLE_DIM)[[3, 19]]}
    t = torch.tensor([1.0, 0.4])
    fast, reference = (models[name].predict(x, t, condition).clone() for name in ("openvino", "torch"))
    assert (fast - reference).std() < BFLOAT16_TOLERANCE * reference.std()


def test_backends_agree_on_pixels_and_the_autoencoder_keeps_the_picture(models):
    frame = _smooth_picture(64, 96)
    pictures = {}
    for name, model in models.items():
        latent = model.encode(torch.from_numpy(frame[None])).clone()
        pictures[name] = model.decode(latent)[0].numpy().copy()
        assert pictures[name].shape == frame.shape
        assert pictures[name].dtype == np.uint8
    assert np.abs(pictures["openvino"].astype(int) - pictures["torch"].astype(int)).mean() < 1.5
    error = (pictures["openvino"].astype(float) - frame).astype(float)
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 30


def test_a_result_survives_in_the_callers_copy_only(models):
    """Buffers are reused: the contract says a result is overwritten by the next call."""
    model = models["openvino"]
    first = model.encode(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    kept = first.clone()
    second = model.encode(torch.full((1, 64, 96, 3), 255, dtype=torch.uint8))
    assert first.data_ptr() == second.data_ptr()
    assert not torch.equal(kept, second)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "no checksums", "not safetensors"])
def test_damaged_weights_are_refused_by_name(tmp_path, damage):
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    path = folder / "embedded.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:1000])
    elif damage == "remove":
        path.unlink()
    elif damage == "no checksums":
        (folder / "checksums.json").unlink()
    else:
        path.write_bytes(b"\x80\x04pickle")
    load_networks.cache_clear()
    with pytest.raises(ParameterError, match=r"embedded\.safetensors") as caught:
        EmbeddedSource(folder)
    assert caught.value.field == "weights"
    load_networks.cache_clear()


def test_weights_fit_in_twenty_megabytes():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 20e6


def test_every_style_has_its_own_effect():
    torch.manual_seed(0)
    unet = load_networks(WEIGHTS)[2]
    x, photo = torch.randn(1, 20, 8, 8), torch.randn(1, 20, 8, 8)
    rows = torch.cat([style_input(Parameters(styles=((name, 1.0),))) for name in STYLE_NAMES])
    with torch.no_grad():
        out = unet(x.expand(26, -1, -1, -1), torch.ones(26), photo.expand(26, -1, -1, -1), torch.zeros(26), rows)
    distances = torch.cdist(out.flatten(1), out.flatten(1)) + torch.eye(26) * 1e6
    assert distances.min() > 0.5


def test_style_condition_blends_names_and_picture():
    vector = tuple(float(i) for i in range(100))
    parameters = Parameters(styles=(("fresco", 3), ("weave", 1)), style_vector=vector, style_image_weight=0.25)
    style = style_input(parameters)[0]
    assert style[STYLE_NAMES.index("fresco")] == pytest.approx(0.75 * 0.75)
    assert style[STYLE_NAMES.index("weave")] == pytest.approx(0.75 * 0.25)
    assert style[-1] == pytest.approx(99 * 0.25)


def test_style_vector_tells_pictures_apart():
    a, b = (EmbeddedSource().style_vector(_smooth_picture(80, 80, seed)) for seed in (0, 1))
    assert len(a) == 100
    assert np.abs(np.subtract(a, b)).max() > 0.1


def test_degrade_keeps_the_variance_and_reaches_both_ends():
    photo, noise = torch.randn(1, 4, 64, 64), torch.randn(1, 4, 64, 64)
    assert torch.equal(degrade(photo, noise, torch.zeros(1)), photo)
    for level in (0.0, 0.3, 1.0):
        torch.testing.assert_close(degrade(photo, noise, level), degrade(photo, noise, torch.full((1,), level)))
    assert torch.allclose(degrade(photo, noise, torch.ones(1)), noise, atol=1e-6)
    assert degrade(photo, noise, torch.full((1,), 0.5)).var().item() == pytest.approx(1, abs=0.05)


def test_the_noise_of_the_step_hides_as_well_as_its_own():
    """On a real clip and several styles: as sharp, as varied between seeds, and the same pictures on average."""
    encoder, decoder, unet = load_networks(WEIGHTS)
    generator, level = torch.Generator().manual_seed(0), torch.tensor([hiding_level(0.5)])
    styles = [style_input(Parameters(styles=((name, 1.0),))) for name in STYLE_NAMES[::5]]
    painted = {"own": [], "the step's": []}
    with torch.inference_mode():
        photo = encoder(clip_frames())
        for _, style in itertools.product(range(6), styles):
            noise, own = torch.randn((2, *photo.shape), generator=generator)
            for name, hiding in (("own", own), ("the step's", hiding_noise(noise))):
                condition = degrade(photo, hiding, level)
                t, hidden, look = (v.expand(len(photo), *v.shape[1:]) for v in (torch.ones(1), level, style))
                painted[name].append(decoder(noise - unet(noise, t, condition, hidden, look)))
    own, ours = (torch.stack(pictures).unflatten(0, (6, len(styles))) for pictures in painted.values())
    for number in (sharpness, lambda pictures: pictures.std(0).mean()):
        assert number(ours).item() == pytest.approx(number(own).item(), rel=0.05)
    difference = (own.mean(0) - ours.mean(0)).square().mean().sqrt()
    assert difference < own.std(0).square().mean().sqrt() / 4


@pytest.mark.parametrize(("strength", "freedom"), [(1.0, 0.3), (Parameters().strength, Parameters().freedom)])
def test_the_cells_of_the_latent_do_not_show(strength, freedom):
    """Gradient across their borders ÷ elsewhere in one step, over all places of the picture against the cells."""
    encoder, decoder, unet = load_networks(WEIGHTS)
    generator, level = torch.Generator().manual_seed(0), torch.tensor([hiding_level(freedom)])
    frames, ratios = clip_frames()[:, :, :136, :136], []
    with torch.inference_mode():
        for name, shift in itertools.product(STYLE_NAMES[::5], range(0, 8, 2)):
            photo = encoder(frames[..., shift : shift + 128, shift : shift + 128].contiguous())
            noise, hiding = torch.randn((2, *photo.shape), generator=generator)
            style = style_input(Parameters(styles=((name, 1.0),)))
            t, hidden, look = (v.expand(len(photo), *v.shape[1:]) for v in (torch.tensor([strength]), level, style))
            start = torch.lerp(photo, noise, strength)
            velocity = unet(start, t, degrade(photo, hiding, level), hidden, look)
            ratios.append(border_ratio(decoder(start - strength * velocity).clamp(-1, 1)))
    assert np.mean(ratios) <= 1.02


def border_ratio(pictures: torch.Tensor) -> float:
    luma = pictures.mean(1)
    along = [step.abs().mean(axes).numpy() for step, axes in ((luma.diff(dim=2), (0, 1)), (luma.diff(dim=1), (0, 2)))]
    border = np.arange(1, len(along[0]) + 1) % 8 == 0
    return float(np.mean([profile[border].mean() / profile[~border].mean() for profile in along]))


def sharpness(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.diff(dim=-1).abs().mean()


def clip_frames() -> torch.Tensor:
    """Some of the shipped clip, (B, 3, 256, 256) in [-1, 1]."""
    capture, frames = cv2.VideoCapture(str(CLIP)), []
    for number in range(0, 130, 40):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        frames.append(cv2.resize(capture.read()[1][:, -720:, ::-1], (256, 256), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_an_unknown_backend_is_refused():
    with pytest.raises(ParameterError, match="openvino"):
        open_backend("cuda-magic")


def _smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
