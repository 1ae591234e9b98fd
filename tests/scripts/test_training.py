"""The parts of the training that a wrong sign would spoil silently: losses, couples, room for new styles, judges."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.engines.models.embedded.model import WEIGHTS, load_networks
from scripts.training import card, looks, reflow
from scripts.training.package import widened, write_weights
from scripts.training.teacher import STYLES, VECTOR
from scripts.training.texture import grid_ratio, texture_loss

FACE = Path(__file__).parents[1] / "data" / "astronaut.jpg"


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1)).mul(0.3)


def blurred(pixels: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(pixels, 3, 1, 1)


def test_texture_is_missed_where_it_is_smoothed_and_not_where_it_moved(noise):
    assert texture_loss(noise, noise).item() == 0
    smooth, moved = texture_loss(blurred(noise), noise), texture_loss(noise.roll((3, 5), (2, 3)), noise)
    assert smooth > 0.3
    assert moved < 0.15 * smooth
    assert (moved_error := (noise.roll((3, 5), (2, 3)) - noise).square().mean()) > (
        blurred(noise) - noise
    ).square().mean()
    assert moved_error > 0.1  # which a squared error, for its part, punishes more than the smoothing


def test_texture_that_is_too_much_is_a_fault_as_well(noise):
    assert texture_loss(2 * noise, noise) > 0.3


def test_the_grid_of_the_cells_is_seen_and_another_one_is_not(noise):
    assert grid_ratio(noise).item() == pytest.approx(1, abs=0.02)
    steps = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 0.4
    cells = steps.repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert grid_ratio(noise + cells).item() > 1.05
    assert grid_ratio((noise + cells).roll((4, 4), (2, 3))).item() < 1.0


def test_a_painter_of_constant_velocity_paints_the_same_in_any_number_of_steps():
    velocity = torch.randn(3, 20, 4, 4)
    start, strength, told = torch.randn(3, 20, 4, 4), torch.tensor([1.0, 0.6, 0.3]), (torch.zeros(3),) * 3
    one, eight = (reflow.paint(lambda *_: velocity, start, strength, told, steps) for steps in (1, 8))
    torch.testing.assert_close(one, eight, atol=1e-5, rtol=0)
    torch.testing.assert_close(one, start - strength.view(-1, 1, 1, 1) * velocity)


def test_straight_lines_lead_from_start_to_picture_whatever_their_strength():
    rows = lines(torch.tensor([1.0, 0.8, 0.5, 0.3]))
    for _ in range(20):
        t = reflow.at_random_times(rows["strength"])
        assert (t <= rows["strength"]).all()
        x, _ = reflow.straight(lambda x, *_: x, rows, t)
        there = x - t.view(-1, 1, 1, 1) * reflow.slope(rows)
        torch.testing.assert_close(there, rows["latent"], atol=1e-5, rtol=0)


def lines(strength: Tensor) -> dict[str, Tensor]:
    shape = (len(strength), 20, 4, 4)
    told = {
        "condition": torch.zeros(shape),
        "level": torch.zeros(len(strength)),
        "style": torch.zeros(len(strength), 126),
    }
    return {"start": torch.randn(shape), "latent": torch.randn(shape), "strength": strength} | told


class Toy(nn.Module):
    """A velocity of points of the plane, (B, 2, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x: Tensor, t: Tensor, *_: Tensor) -> Tensor:
        return self.body(torch.cat([x.flatten(1), t[:, None]], 1)).view_as(x)


def modes(x: Tensor, t: Tensor, *_: Tensor) -> Tensor:
    """The exact velocity of a flow to three narrow Gaussians: the mean of noise minus picture at x."""
    centres = torch.tensor([[0.0, 2.0], [1.8, -1.0], [-1.8, -1.0]])
    point, t = x.flatten(1), t[:, None]
    variance = ((1 - t) * 0.1).square() + t.square()
    away = point[:, None] - (1 - t)[..., None] * centres
    likely = (-away.square().sum(2) / (2 * variance)).softmax(1)
    gain = ((1 - t) * 0.01 / variance)[..., None]
    picture = (likely[..., None] * (centres + gain * away)).sum(1)
    return ((point - picture) / t.clamp_min(1e-3)).view_as(x)


def taught(rows: dict[str, Tensor], steps: int = 1200) -> Toy:
    torch.manual_seed(0)
    model = Toy()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.randint(len(rows["start"]), (256,))
        batch = {key: value[chosen] for key, value in rows.items()}
        _, velocity = reflow.straight(model, batch, reflow.at_random_times(batch["strength"]))
        loss = (velocity - reflow.slope(batch)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def toy() -> tuple[dict[str, Tensor], dict[str, Tensor], Toy, Toy]:
    """Couples to learn from and to judge by, the painter straightened on them, and a control on the same, re-paired."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    start = torch.randn(5000, 2, 1, 1)
    zeros, ones = torch.zeros(len(start)), torch.ones(len(start))
    with torch.no_grad():
        latent = reflow.paint(modes, start, ones, (zeros, zeros, zeros), 50)
    rows = {"start": start, "latent": latent, "strength": ones, "condition": zeros, "level": zeros, "style": zeros}
    learnt, judged = ({key: value[part] for key, value in rows.items()} for part in (slice(4500), slice(4500, None)))
    control = taught(learnt | {"latent": learnt["latent"][torch.randperm(4500)]})
    result = learnt, judged, taught(learnt), control
    torch.set_num_threads(threads)
    return result


def straightness(velocity: reflow.Velocity, rows: dict[str, Tensor]) -> float:
    """InstaFlow's S of the flow itself, on its own ways."""
    told = (rows["condition"],) * 3
    x, ways = rows["start"], []
    with torch.no_grad():
        for now in torch.linspace(1, 0, 21)[:-1]:
            ways.append(velocity(x, now.expand(len(x)), *told))
            x = x - ways[-1] / 20
        return float(np.mean([(rows["start"] - x - way).square().sum(1).mean().item() for way in ways]))


def test_couples_straighten_a_flow_and_one_step_gives_what_fifty_gave(toy):
    _, judged, straightened, control = toy
    told = (judged["condition"],) * 3

    def one_step(model: reflow.Velocity) -> float:
        with torch.no_grad():
            painted = reflow.paint(model, judged["start"], judged["strength"], told, 1)
        return (painted - judged["latent"]).square().sum(1).mean().sqrt().item()

    assert straightness(straightened, judged) <= 0.2 * straightness(modes, judged)
    assert one_step(straightened) <= 0.4 * one_step(modes)
    assert straightness(control, judged) >= 0.5 * straightness(modes, judged)  # the same pictures to other noises


def test_new_styles_find_room_and_the_old_ones_stay_to_the_last_bit(tmp_path):
    encoder, decoder, unet = load_networks(WEIGHTS)
    generator = torch.Generator().manual_seed(4)
    by_style = torch.randn(STYLES, 10, VECTOR, generator=generator).numpy()
    wide = widened(unet, by_style)
    x, photo = torch.randn(2, 2, 20, 8, 8, generator=generator)
    t, level = torch.tensor([1.0, 0.4]), torch.tensor([0.0, 0.5])
    named, vector = torch.eye(len(STYLE_NAMES))[[0, 25]], torch.randn(2, VECTOR, generator=generator)

    def painted(model: nn.Module, styles: int, named: Tensor, vector: Tensor) -> Tensor:
        style = torch.zeros(2, styles + VECTOR)
        style[:, : named.shape[1]], style[:, -VECTOR:] = named, vector
        with torch.no_grad():
            return model(x, t, photo, level, style)

    known = len(STYLE_NAMES)
    for part in ((named, 0 * vector), (0 * named, vector), (0.5 * named, 0.5 * vector)):
        torch.testing.assert_close(painted(wide, STYLES, *part), painted(unet, known, *part), atol=2e-5, rtol=0)
    if known < STYLES:
        new = torch.nn.functional.one_hot(torch.tensor([known, STYLES - 1]), STYLES).float()
        pictured = torch.from_numpy(by_style[[known, STYLES - 1]].mean(1))
        torch.testing.assert_close(
            painted(wide, STYLES, new, 0 * vector), painted(unet, known, 0 * named, pictured), atol=2e-5, rtol=0
        )
    write_weights(tmp_path, encoder, decoder, wide, WEIGHTS / "style_vector.onnx", known)
    written, shipped = load_file(tmp_path / "embedded.safetensors"), load_file(WEIGHTS / "embedded.safetensors")
    assert written.keys() == shipped.keys()
    assert all(torch.equal(written[name], shipped[name]) for name in shipped)
    load_networks(tmp_path)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    picture = cv2.imread(str(FACE))
    assert picture is not None
    return np.ascontiguousarray(picture[:340, 64:404, ::-1])


@pytest.fixture(scope="module")
def face(portrait) -> np.ndarray:
    return cv2.resize(portrait, (128, 96), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("look", [look.name for look in looks.LOOKS])
def test_a_look_paints_its_own_picture_of_the_same_size_every_time(face, look):
    teach = {each.name: each.teach for each in looks.LOOKS}[look]
    if look not in ("inked-comic", "pencil", "manga", "anime"):
        pytest.importorskip("gmic")
    if look == "anime":
        pytest.importorskip("ncnn")
        if not looks.raw.exists():
            pytest.skip("needs the weights that training fetches")
    before = face.copy()
    painted = teach(face)
    assert (painted.shape, painted.dtype) == (face.shape, np.uint8)
    assert np.array_equal(face, before)
    assert np.abs(painted.astype(int) - face).mean() > 4
    assert np.array_equal(teach(face), painted)


def test_the_card_tells_a_decoder_before_and_now(tmp_path):
    def numbers(base: float) -> dict:
        drawn = {"grid": base, "sharpness_to_teacher": base + 1, "edge_correlation": base + 2}
        faces = {"distance": base + 3, "found": base / 10}
        told = {"psnr_photo": base + 4, "psnr_stylised": base + 5, "clips": {"a.mp4": base + 6}}
        return {"drawn": {"1 step": drawn}, "faces": faces} | told

    (tmp_path / "polish.json").write_text('[{"step": 800, "minutes": 9.83, "grid": 0.001}]')
    part = card.decoder_part({"before": numbers(2), "now": numbers(1)}, tmp_path)
    assert part.startswith(card.DECODER)
    assert "10 minutes (800 steps)" in part
    assert "| 1 step: grid | 2.000 | 1.000 |" in part
    assert "found again | 20% | 10% |" in part
    assert "| PSNR of a.mp4 (dB) | 8.00 | 7.00 |" in part


def test_names_of_looks_are_their_own():
    names = [look.name for look in looks.LOOKS]
    assert len(set(names)) == len(names) >= 14
    assert not set(names) & set(STYLE_NAMES[:26])


def test_a_face_stays_itself_darkened_and_is_lost_when_painted_over(portrait):
    pytest.importorskip("dlib")
    pytest.importorskip("skimage")
    from scripts.training import faces

    photo = faces.find(portrait)
    assert photo is not None
    same = faces.kept(photo, (portrait * 0.7).astype(np.uint8))
    assert same.found
    assert same.distance < 0.35
    over = portrait.copy()
    left, top, right, bottom = photo.box
    over[top:bottom, left:right] = cv2.resize(over[top:bottom, left:right][:5, :5], (right - left, bottom - top))
    lost = faces.kept(photo, over)
    assert not lost.found
    assert lost.distance > 0.6
