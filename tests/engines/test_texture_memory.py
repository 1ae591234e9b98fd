"""The memory of past paintings: strokes stay on what they are painted on, nothing grows, sets or haunts."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftcam import Engine, Parameters
from driftcam.engines.memory.blend import BLOCK, EnergyBlend
from driftcam.engines.memory.texture import TextureMemory

SIDE = 64
LOOK = Parameters(width=128, height=128, styles=(("starry-night", 1.0),), strength=1.0, freedom=0.3, memory=0.95)


def noise(rng: np.random.Generator, side: int = SIDE, grain: int = 2) -> np.ndarray:
    coarse = rng.integers(0, 256, (side // grain, side // grain, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def everywhere(share: float) -> np.ndarray:
    return np.full((SIDE, SIDE), share, np.float32)


def scene(side: int = 256) -> np.ndarray:
    rng = np.random.default_rng(3)
    layers = [cv2.resize(rng.integers(0, 256, (n, n, 3)).astype(np.float32), (side, side)) for n in (5, 12, 40)]
    return np.clip(0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2], 0, 255).astype(np.uint8)


def crossing(count: int) -> list[np.ndarray]:
    """A thing that crosses a still scene, 2.5 pixels a frame."""
    still, thing, frames = scene()[:128, :128], scene()[128:176, 128:176], []
    for k in range(count):
        move = np.array([[1, 0, 8 + 2.5 * k], [0, 1, 40]])
        mask = cv2.warpAffine(np.ones((48, 48), np.float32), move, (128, 128))[..., None]
        frames.append((still * (1 - mask) + cv2.warpAffine(thing, move, (128, 128)) * mask).astype(np.uint8))
    return frames


# -- the blend ----------------------------------------------------------------------------------


def reference(m: np.ndarray, n: np.ndarray, texture: np.ndarray, tone: np.ndarray, dulled: np.ndarray) -> np.ndarray:
    """The blend of the module's equations in float64, without any of its code."""
    blocks = (SIDE // BLOCK, SIDE // BLOCK)

    def means(x: np.ndarray) -> np.ndarray:
        return x.reshape(blocks[0], BLOCK, blocks[1], BLOCK, -1).mean((1, 3))

    def up(x: np.ndarray) -> np.ndarray:
        return cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).reshape(SIDE, SIDE, -1)

    low_m, low_n = (cv2.GaussianBlur(means(x), (0, 0), 6 / BLOCK) for x in (m, n))
    over_m, over_n = means(m) - low_m, means(n) - low_n
    products = (over_m * over_m, over_n * over_n, over_m * over_n)
    mm, nn, mn = (cv2.blur(product.sum(-1), (28 // BLOCK, 28 // BLOCK)) for product in products)
    c = np.maximum(mn, 0) / np.sqrt(mm * nn)
    kept_texture, kept_tone, d = (cv2.resize(x.astype(float), blocks[::-1]) for x in (texture, tone, dulled))
    wanted = 1 - kept_texture
    a = positive_root(1, 2 * wanted * c, wanted**2 - 1)
    left = np.sqrt(1 - 0.5 * d) * a
    fine = positive_root(1, 2 * left * c, left**2 - 1)
    a *= np.minimum(np.sqrt(nn / mm), 1)
    kept_tone *= 1 - np.clip((np.abs(low_m - low_n).mean(-1) - 15) / 35, 0, 1)
    rest = (kept_tone - a)[..., None] * low_m + (1 - kept_tone - wanted)[..., None] * low_n
    rest += (wanted - fine)[..., None] * means(n)
    return np.clip(up(a) * m + up(fine) * n + up(rest), 0, 255)


def positive_root(a: float, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (np.sqrt(b * b - 4 * a * c) - b) / (2 * a)


@pytest.mark.parametrize("contrast", [0.5, 1.0, 2.0])
def test_the_blend_is_its_equations_in_float64(contrast):
    rng = np.random.default_rng(1)
    n = noise(rng)
    m = (128 + contrast * (0.7 * (noise(rng) - 128.0) + 0.3 * (n - 128.0))).astype(np.float32)
    texture, tone, dulled = (cv2.GaussianBlur(rng.random((SIDE, SIDE)), (0, 0), 4).astype(np.float32) for _ in range(3))
    expected = reference(m.astype(float), n.astype(float), texture, tone, dulled)
    out = np.empty_like(n)
    EnergyBlend(SIDE, SIDE)(m, n, texture, tone, dulled, out)
    assert np.abs(m - expected).max() < 0.1
    assert np.abs(out - expected).max() <= 0.6


def test_with_nothing_to_keep_the_fresh_painting_comes_out():
    rng = np.random.default_rng(2)
    m, n, out = noise(rng).astype(np.float32), noise(rng), np.empty((SIDE, SIDE, 3), np.uint8)
    EnergyBlend(SIDE, SIDE)(m, n, *[everywhere(0)] * 3, out)
    np.testing.assert_array_equal(out, n)


def texture_energy(picture: np.ndarray) -> float:
    picture = picture.astype(np.float32)
    return float(np.square(picture - cv2.GaussianBlur(picture, (0, 0), 6)).mean())


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    share=st.floats(0, 1),
    correlation=st.floats(0, 1),
    uneven=st.booleans(),
    slip=st.floats(-0.5, 0.5),
)
def test_no_gain_trust_or_noise_makes_it_explode_or_wash_out(seed, share, correlation, uneven, slip):
    """10,000 steps over the examples; the remembered picture slips by a part of a pixel on each."""
    rng = np.random.default_rng(seed)
    blend, out = EnergyBlend(SIDE, SIDE), np.empty((SIDE, SIDE, 3), np.uint8)
    fixed, m, energies, fresh_energies = noise(rng), noise(rng).astype(np.float32), [], []
    move = np.array([[1, 0, slip], [0, 1, slip / 2]])
    right, down = abs(slip), abs(slip / 2)
    dulled = everywhere(1 - (1 - 2 * right * (1 - right)) * (1 - 2 * down * (1 - down)))
    for k in range(850):
        n = np.clip(128 + correlation * (fixed - 128.0) + (1 - correlation) * (noise(rng) - 128.0), 0, 255)
        kept = everywhere(share)
        if uneven:
            kept *= cv2.resize(rng.random((4, 4), np.float32), (SIDE, SIDE))
        m = cv2.warpAffine(m, move, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)
        blend(m, n.astype(np.uint8), kept, kept, dulled, out)
        if k >= 50:
            energies.append(texture_energy(out))
            fresh_energies.append(texture_energy(n))
    assert np.max(energies) <= 1.5 * np.max(fresh_energies)
    assert np.mean(energies) >= 0.7 * np.mean(fresh_energies)


def test_what_is_not_painted_any_more_fades():
    """With all of the memory and a scene that never changes, too."""
    rng = np.random.default_rng(4)
    memory, photo = TextureMemory(SIDE, SIDE), noise(rng)
    grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for _ in range(5):
        memory.blend(noise(rng), memory.follow(photo, (0, 0), 1.0))
    for _ in range(200):
        out = memory.blend(grey, memory.follow(photo, (0, 0), 1.0))
    assert np.abs(out.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("grain", [2, 4])
def test_strokes_stay_about_as_sharp_as_they_are_painted_however_often_they_are_moved(grain):
    """A scene pans by a third of a pixel on 300 frames; every painting is a new one."""
    rng = np.random.default_rng(5)
    memory, wide = TextureMemory(128, 128), scene()
    sharp, fresh = [], []
    for k in range(300):
        move = np.array([[1, 0, -0.33 * k], [0, 1, 0.0]])
        photo = cv2.warpAffine(wide, move, (128, 128), flags=cv2.INTER_CUBIC)
        painting = noise(rng, 128, grain=grain)
        out = memory.blend(painting, memory.follow(photo, (0, 0), 0.95))
        sharp.append(np.abs(np.diff(out.astype(int), axis=1)).mean())
        fresh.append(np.abs(np.diff(painting.astype(int), axis=1)).mean())
    assert 0.8 < np.mean(sharp[-100:]) / np.mean(fresh[-100:]) < 1.25


def test_no_stroke_grows_at_the_cost_of_those_around_it():
    """A scene zooms slowly on 300 frames; every painting is a new one, so no place of it is a special one.

    Kurtosis of the texture: 3 for sums of many strokes, far more where it stands in dots.
    """
    rng = np.random.default_rng(6)
    memory, wide, outputs, paintings = TextureMemory(128, 128), scene(), [], []
    for k in range(300):
        move = cv2.getRotationMatrix2D((128, 128), 0.0, 1 + 0.1 * np.sin(k / 23))
        move[:, 2] -= 64
        photo = cv2.warpAffine(wide, move, (128, 128), flags=cv2.INTER_CUBIC)
        painting = np.clip(128 + 8 * cv2.GaussianBlur(rng.normal(0, 10, (128, 128, 3)), (0, 0), 1.2), 0, 255)
        out = memory.blend(painting.astype(np.uint8), memory.follow(photo, (0, 0), 0.95))
        if k >= 200 and k % 20 == 0:
            outputs.append(kurtosis(out))
            paintings.append(kurtosis(painting))
    assert np.mean(outputs) < 1.25 * np.mean(paintings)


def kurtosis(picture: np.ndarray) -> float:
    picture = picture.astype(np.float32).mean(2)
    texture = picture - cv2.GaussianBlur(picture, (0, 0), 3)
    return float((texture**4).mean() / np.square(texture).mean() ** 2)


# -- in the engine ------------------------------------------------------------------------------


def change_along(outputs: list[np.ndarray], speed: float) -> float:
    """Mean change of the middle of the crossing thing, followed."""
    changes = []
    for k in range(10, len(outputs)):
        move = np.array([[1, 0, speed], [0, 1, 0.0]])
        moved = cv2.warpAffine(outputs[k - 1], move, (128, 128), flags=cv2.INTER_LINEAR)
        inside = slice(48, 80), slice(round(8 + speed * k) + 8, round(8 + speed * k) + 40)
        changes.append(np.abs(moved[inside].astype(int) - outputs[k][inside]).mean())
    return float(np.mean(changes))


@pytest.mark.parametrize("mode", ["warped", "fixed", "independent"])
def test_the_strokes_on_a_thing_that_moves_stay_on_it(mode):
    frames = crossing(24)
    engines = [Engine(LOOK.replace(noise=mode, memory=share)) for share in (0.0, 0.95)]
    without, remembered = (change_along([engine.step(f) for f in frames], 2.5) for engine in engines)
    assert remembered < 0.6 * without


@pytest.mark.parametrize(
    "change",
    [
        {"styles": (("meadow", 1.0),)},
        {"seed": 7},
        {"strength": 0.5},
        {"noise": "fixed"},
        {"width": 96},
        {"memory": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_what_is_painted_is_there_at_once(change):
    frames = crossing(8)
    remembering, painter = Engine(LOOK), Engine(LOOK.replace(memory=0.0))
    for engine in (remembering, painter):
        for frame in frames[:6]:
            last = engine.step(frame)
    before = remembering.step(frames[6]), painter.step(frames[6])
    assert np.abs(before[0].astype(int) - before[1]).mean() > 3  # the memory does something
    for engine, share in ((remembering, 0.95), (painter, 0.0)):
        engine.update(LOOK.replace(**{"memory": share, **change}))
        for _ in range(400):  # another size is built beside the stream, on the same picture
            last = engine.step(frames[7])
            if engine.parameters.replace(memory=share) == LOOK.replace(**{**change, "memory": share}):
                break
        engine.last = last  # type: ignore[attr-defined]
    if "width" not in change:
        np.testing.assert_array_equal(remembering.last, painter.last)
    assert remembering.last.shape == painter.last.shape


def test_a_cut_leaves_nothing_of_the_scene_before():
    frames = [*crossing(8), cv2.flip(scene()[100:228, 90:218], -1)]
    results = [[engine.step(f) for f in frames][-1] for engine in (Engine(LOOK), Engine(LOOK.replace(memory=0.0)))]
    np.testing.assert_array_equal(*results)


def test_a_light_that_is_switched_on_is_seen_at_once():
    bright = scene()[:128, :128]
    frames = [*[(0.3 * bright).astype(np.uint8)] * 10, *[bright] * 2]
    remembered, without, other = (
        [engine.step(f) for f in frames][-1].astype(float)
        for engine in (Engine(LOOK), Engine(LOOK.replace(memory=0.0)), Engine(LOOK.replace(memory=0.0, seed=1)))
    )
    assert np.abs(remembered - without).mean() < 0.3 * np.abs(other - without).mean()


def test_a_thing_that_has_gone_leaves_no_ghost():
    """Three frames later its place is painted as the scene is: no further off than two paintings are."""
    frames = crossing(20)
    paintings = [
        [engine.step(f).copy() for f in frames]
        for engine in (Engine(LOOK), Engine(LOOK.replace(memory=0.0)), Engine(LOOK.replace(memory=0.0, seed=1)))
    ]
    gone = slice(44, 84), slice(round(8 + 2.5 * 12), round(8 + 2.5 * 16))  # left of the thing in frame 16 and later
    smooth = [cv2.GaussianBlur(painted[19], (0, 0), 3)[gone].astype(float) for painted in paintings]
    assert np.abs(smooth[0] - smooth[1]).mean() <= 1.1 * np.abs(smooth[2] - smooth[1]).mean()


def test_a_stream_batch_remembers_what_the_sequential_pipeline_does():
    look, frames = LOOK.replace(steps=3), crossing(12)
    sequential, batch = Engine(look), Engine(look, pipeline="stream")
    expected = [engine_result.image.copy() for f in frames for engine_result in sequential.process(f)]
    results = []
    for k, frame in enumerate(frames):
        if k == 6:
            batch.update(look.replace(freedom=0.6))
            expected_engine = Engine(look)
            expected = [expected_engine.step(f) for f in frames[:6]]
            expected_engine.update(look.replace(freedom=0.6))
            expected += [expected_engine.step(f) for f in frames[6:]]
        results += [r.image.copy() for r in batch.process(frame)]
    results += [r.image.copy() for r in batch.flush()]
    assert len(results) == len(frames)
    for result, wanted in zip(results, expected, strict=True):
        assert np.abs(result.astype(int) - wanted).max() <= 3


def test_on_the_way_to_another_style_the_memory_is_short():
    """Half a second of travel: at its end the picture is as near to the new style as one that remembers nothing."""
    frames, look = [scene()[:128, :128]] * 40, LOOK.replace(travel=0.5)
    target = look.replace(styles=(("meadow", 1.0),))
    results = []
    for share in (0.95, 0.0):
        engine = Engine(look.replace(memory=share))
        for k, frame in enumerate(frames):
            if k == 10:
                engine.update(target.replace(memory=share))
            last = engine.process(frame, pts=k * 50_000_000)[-1].image.copy()
            if k == 28:
                results.append(last)
    colours = [np.mean(result, (0, 1)) for result in results]
    assert np.abs(colours[0] - colours[1]).max() < 8


def test_a_travel_begins_without_letting_go():
    """Of a scene that rests under noise that does not: at the first frame of the way nothing is painted anew."""
    picture, look = scene()[:128, :128], LOOK.replace(noise="independent")
    engine = Engine(look)
    outputs = [engine.process(picture, pts=k * 50_000_000)[-1].image.astype(int) for k in range(30)]
    target = look.replace(style_vector=(0.1,) * 100, travel=10.0)  # the style of a picture where there was none
    engine.update(target)
    begun = engine.process(picture, pts=30 * 50_000_000)[-1].image.astype(int)
    before = np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(outputs[-6:])])
    assert np.abs(begun - outputs[-1]).mean() < 2 * before
    engine.update(target.replace(seed=3))  # a seed does not travel
    other = engine.process(picture, pts=31 * 50_000_000)[-1].image.astype(int)
    assert np.abs(other - begun).mean() > 3 * before


def test_without_strength_the_photograph_comes_back_and_no_memory_of_it():
    picture, look = scene()[:128, :128], LOOK.replace(strength=0.0)
    frames = [picture, np.roll(picture, 3, 1), np.roll(picture, 7, 0)]
    for remembered, plain in zip(
        *([Engine(look.replace(memory=m)).step(f) for f in frames] for m in (0.95, 0)), strict=True
    ):
        np.testing.assert_array_equal(remembered, plain)
