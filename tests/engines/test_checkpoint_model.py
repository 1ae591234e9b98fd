"""The engine on Stable-Diffusion-class checkpoints: the same stream, other networks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from driftcam import Engine, Parameters
from driftcam.engines.api import ParameterError
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.diffusion.schedules import add_noise, advance, estimate
from driftcam.engines.models.stable_diffusion.checkpoint import Checkpoint
from driftcam.engines.noise.temporal import TemporalNoise
from tests.engines.test_checkpoints import folders as folders  # a fixture
from tests.engines.test_checkpoints import one_thread as one_thread  # a fixture

SMALL = Parameters(
    width=64, height=64, steps=1, strength=0.5, noise="fixed", prompts=(("the cat", 2.0), ("the hat", 1.0))
)


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 255, (64, 64, 3), np.uint8)


def files(folders: dict[str, Path], layout: str) -> ModelFiles:
    if layout == "sd15":
        return ModelFiles(folders["sd15"], loras=((folders["lora"], 0.7),), solver="lcm")
    if layout == "taesd":
        return ModelFiles(folders["sd-turbo"], vae=folders["taesd"])
    return ModelFiles(folders[layout])


@pytest.mark.parametrize("layout", ["sd-turbo", "sd15", "sdxl-turbo", "taesd"])
def test_one_step_is_the_checkpoints_own(folders: dict[str, Path], layout: str, frame: np.ndarray) -> None:
    model = files(folders, layout)
    engine = Engine(SMALL, model=model, backend="torch")
    picture = engine.step(frame)

    own = Checkpoint.load(model.weights, vae=model.vae, loras=model.loras, solver=model.solver)
    cells = 64 // own.scale
    noise = TemporalNoise(cells, cells, own.channels, 1, SMALL.seed).advance()
    [step] = own.schedule(1, 0.5).steps
    latent = own.encode(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1)
    x = add_noise(latent, torch.from_numpy(noise), step.alpha, step.sigma)
    condition = {key: value[None] for key, value in own.condition(SMALL.prompts, (64, 64)).items()}
    output = own.predict(x, torch.tensor([step.timestep]), condition)
    result = advance(x, estimate(x, output, *step.estimate), None, None, *step.advance)
    expected = (own.decode(result) * 127.5 + 127.5).clamp(0, 255).round()[0].permute(1, 2, 0)
    np.testing.assert_allclose(picture.astype(float), expected.numpy(), atol=1)


def test_backends_agree(folders: dict[str, Path], frame: np.ndarray) -> None:
    pictures = [Engine(SMALL, model=files(folders, "sd-turbo"), backend=b).step(frame) for b in ("torch", "openvino")]
    difference = np.abs(pictures[0].astype(float) - pictures[1])
    assert difference.mean() < 3


@pytest.mark.parametrize("guidance", ["full", "initialize", "self"])
def test_guidance_and_stream_batch_run(folders: dict[str, Path], guidance: str, frame: np.ndarray) -> None:
    parameters = SMALL.replace(steps=2, guidance=guidance, guidance_scale=2.0, noise="warped")
    pictures = []
    for pipeline in ("sequential", "stream"):
        engine = Engine(parameters, model=files(folders, "sdxl-turbo"), backend="torch", pipeline=pipeline)
        results = [r for k in range(4) for r in engine.process(np.roll(frame, k, axis=1), k)] + engine.flush()
        assert [r.index for r in results] == [0, 1, 2, 3]
        pictures.append(results[-1].image.astype(float))
    np.testing.assert_allclose(pictures[0], pictures[1], atol=2)


def test_a_prompt_is_encoded_beside_the_stream_and_then_shows(folders: dict[str, Path], frame: np.ndarray) -> None:
    engine = Engine(SMALL, model=files(folders, "sd-turbo"), backend="torch")
    before = engine.step(frame)
    engine.update(SMALL.replace(prompts=(("the dog", 1.0),)))
    deadline = time.monotonic() + 20
    while engine.parameters.prompts == SMALL.prompts and time.monotonic() < deadline:
        after = engine.step(frame)
    assert engine.parameters.prompts == (("the dog", 1.0),)
    assert not np.array_equal(before, after)


def test_what_a_checkpoint_cannot_do_is_named_and_the_stream_goes_on(
    folders: dict[str, Path], frame: np.ndarray
) -> None:
    engine = Engine(SMALL, model=files(folders, "sd-turbo"), backend="torch")
    before = engine.step(frame)
    with pytest.raises(ParameterError, match=r"style_image: .*in words"):
        engine.set_plane("style_picture", frame)
    with pytest.raises(ParameterError, match=r"style_image: .*in words"):
        engine.update(SMALL.replace(style_vector=(0.0,) * 100))
    np.testing.assert_array_equal(engine.step(frame), before)


def test_parts_without_a_checkpoint_are_named(folders: dict[str, Path]) -> None:
    with pytest.raises(ParameterError, match=r"vae: .*checkpoint"):
        Engine(model=ModelFiles(vae=folders["taesd"]))
    with pytest.raises(ParameterError, match=r"lora: .*checkpoint"):
        Engine(model=ModelFiles(loras=((folders["lora"], 1.0),)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": (("zzzz", 1.0),)}, "prompt: 'zzzz'"),
        ({"styles": (("stary-night", 1.0),)}, "styles: 'stary-night' .*starry-night"),
        ({"negative_prompt": "fog"}, "negative_prompt: 'fog' .*only a Stable Diffusion checkpoint"),
    ],
)
def test_the_embedded_model_refuses_what_only_a_checkpoint_understands(change: dict, words: str) -> None:
    engine = Engine(Parameters(width=64, height=64))
    with pytest.raises(ParameterError, match=words):
        engine.update(engine.parameters.replace(**change))


def test_a_checkpoint_reads_any_name_of_a_style(folders: dict[str, Path], frame: np.ndarray) -> None:
    model, named = files(folders, "sd-turbo"), SMALL.replace(prompts=(), styles=(("oil-painting", 1.0),))
    engine = Engine(named, model=model, backend="torch")
    words = Engine(SMALL.replace(prompts=(("oil painting", 1.0),)), model=model, backend="torch")
    np.testing.assert_array_equal(engine.step(frame), words.step(frame))
