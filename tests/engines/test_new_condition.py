"""A condition that the project does not know, in this one file: network inputs, a parameter, a plane, carried state.

It reaches the network, the exported graph, the API, its document, the command line, the page and OBS.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from driftcam.daemon import cli
from driftcam.daemon.bus.server import BusServer
from driftcam.engines.api.bus_client import BusClient
from driftcam.engines.api.fields import Number
from driftcam.engines.api.parameters import Parameters, declare
from driftcam.engines.backends.export import export_onnx
from driftcam.engines.backends.network import BATCH, NetworkSpec, Shape
from driftcam.engines.carried import Rule, State
from driftcam.engines.conditions.base import Bound, Condition, Seen
from driftcam.engines.diffusion.frame import Rows
from driftcam.engines.engine import Engine
from driftcam.engines.host import EngineHost
from driftcam.engines.models.base import denoiser_inputs
from driftcam.engines.models.embedded.model import EmbeddedSource
from tests.daemon.http_daemon import daemon_in

# -- the condition ---------------------------------------------------------------------------------

GLOW = Number("glow", "Afterglow", "Look", "how far pictures of before shine through", default=0.0, high=0.5)


class Glow(Condition):
    """What was painted last shines through where the mask says."""

    parameters = ("glow",)
    planes = ("mask",)
    carried = (State("painted", jump=Rule.MOVE, flow=Rule.MOVE),)

    def __init__(self, latent: Shape) -> None:
        self.inputs = {"painted": latent, "glow": (BATCH,)}

    def bind(self, parameters: Parameters, size: tuple[int, int]) -> Bound:
        def tell(seen: Seen) -> Rows:
            mask = seen.planes.get("mask")
            share = 1.0 if mask is None else float(mask.mean()) / 255
            there = "painted" in seen.carried
            painted = seen.carried["painted"] if there else seen.latent[0]
            return {"painted": painted, "glow": torch.tensor(parameters.glow * share * there)}

        return tell

    def leaves(self, latent: Tensor) -> Rows:
        return {"painted": latent.clone()}


# -- a network that takes it, and an engine with both ----------------------------------------------


class Glowing(nn.Module):
    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(
        self, x: Tensor, t: Tensor, image_latent: Tensor, level: Tensor, style: Tensor, painted: Tensor, glow: Tensor
    ) -> Tensor:
        return self.flow(x, t, image_latent, level, style) - glow.view(-1, 1, 1, 1) * painted


class GlowingSource(EmbeddedSource):
    def __init__(self) -> None:
        super().__init__()
        latent = self.parts.denoiser.inputs["x"]
        conditions = (*self.parts.conditions, Glow(latent))
        inputs = denoiser_inputs(latent, conditions)
        spec = NetworkSpec("velocity", Glowing(self.parts.denoiser.module).eval(), inputs, "v")
        self.parts = dataclasses.replace(self.parts, denoiser=spec, conditions=conditions)


class Host(EngineHost):
    """In the engine process."""

    def __init__(self, *args, **rest) -> None:
        super().__init__(*args, **rest)
        declare(GLOW)

    def open(self, parameters: Parameters) -> Engine:
        return Engine(parameters, source=GlowingSource(), backend="torch")


NAME = f"{__name__}:{Host.__name__}"
SMALL = Parameters(width=64, height=64, steps=1, noise="fixed", strength=1.0)


@pytest.fixture
def glow() -> Iterator[Number]:
    undo = declare(GLOW)
    yield GLOW
    undo()


def scene(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def rows_of(engine: Engine) -> list[Rows]:
    """What the network is told from now on, call by call."""
    told, predict = [], engine.model.predict

    def spy(x: Tensor, t: Tensor, rows: Rows) -> Tensor:
        told.append({name: value.clone() for name, value in rows.items()})
        return predict(x, t, rows)

    engine.model.predict = spy  # type: ignore[method-assign]
    engine.update(engine.parameters)  # which hands it to the stream batch
    return told


def test_the_network_is_told_and_the_picture_shows_it(glow: Number) -> None:
    plain = Engine(SMALL, backend="torch")
    engine = Engine(SMALL, source=GlowingSource(), backend="torch")
    np.testing.assert_array_equal(engine.step(scene()), plain.step(scene()))
    engine.update(SMALL.replace(glow=0.5))
    engine.step(scene())  # which begins anew: the parameter is the condition's
    shining, told = engine.step(scene()).astype(int), rows_of(engine)
    assert np.abs(shining - plain.step(scene())).mean() > 2
    before = engine.step(scene())
    engine.step(scene())
    assert [float(rows["glow"]) for rows in told] == [0.5, 0.5]
    assert before.shape == (64, 64, 3) and told[1]["painted"].shape == (1, 20, 8, 8)
    engine.step(scene())
    assert not torch.equal(told[1]["painted"], told[2]["painted"]), "each frame sees what the one before left"


def test_a_plane_of_the_frame_reaches_it(glow: Number) -> None:
    engine = Engine(SMALL.replace(glow=0.4), source=GlowingSource(), backend="torch")
    engine.step(scene())
    told = rows_of(engine)
    engine.process(scene(), planes={"mask": np.full((32, 32), 51, np.uint8)})
    assert float(told[0]["glow"]) == pytest.approx(0.4 * 0.2)


def test_its_state_survives_a_stream_batch_and_a_cut_ends_it(glow: Number) -> None:
    """With n steps in flight a frame sees what that of n frames ago left."""
    engine = Engine(SMALL.replace(glow=0.5, steps=2), source=GlowingSource(), backend="torch", pipeline="stream")
    told = rows_of(engine)
    for number in range(6):
        engine.process(scene(), pts=number)
    shares = [sorted(rows["glow"].tolist()) for rows in told]
    assert shares[0] == [0.0] and shares[1] == [0.0, 0.0] and shares[-1] == [0.5, 0.5]


def test_the_exported_graph_has_its_inputs_in_order(tmp_path: Path) -> None:
    spec = GlowingSource().parts.denoiser
    assert list(spec.inputs) == ["x", "t", "image_latent", "level", "style", "painted", "glow"]
    path = export_onnx(spec, tmp_path / "velocity.onnx")
    session = onnxruntime.InferenceSession(path)
    assert [each.name for each in session.get_inputs()] == list(spec.inputs)
    inputs = spec.examples(torch.float32, batch=2, height=4, width=5)
    with torch.inference_mode():
        expected = spec.module(*inputs)
    given = {name: value.numpy() for name, value in zip(spec.inputs, inputs, strict=True)}
    np.testing.assert_allclose(session.run(None, given)[0], expected.numpy(), atol=1e-3)


async def test_a_user_reaches_it_by_the_api_the_bus_and_the_command_line(
    tmp_path: Path, glow: Number, capsys: pytest.CaptureFixture
) -> None:
    """The page's controls are made of the same list as OBS's: `/api/parameters/fields` and the bus's `fields`."""
    async with daemon_in(tmp_path, NAME) as daemon, daemon.client() as client:
        server = BusServer(daemon.core.sessions)
        path = server.start(tmp_path)

        def ask() -> dict:
            with BusClient("sink", path=path) as bus:
                return bus.report()

        told = {each["name"]: each for each in (await asyncio.to_thread(ask))["fields"]}
        await server.close()
        page = {each["name"]: each for each in await (await client.get("/api/parameters/fields")).json()}
        assert told["glow"] == page["glow"] == GLOW.to_dict()
        schemas = (await (await client.get("/api/openapi.json")).json())["components"]["schemas"]
        assert schemas["Changes"]["properties"]["glow"] == GLOW.schema()
        answer = await client.patch("/api/parameters", json={"glow": 0.25})
        assert (answer.status, (await answer.json())["parameters"]["glow"]) == (200, 0.25)
        assert (await client.patch("/api/parameters", json={"glow": 0.75})).status == 422
    with pytest.raises(SystemExit):
        cli.main(["ctl", "set", "--help"])
    assert "--glow 0…0.5" in " ".join(capsys.readouterr().out.split())
