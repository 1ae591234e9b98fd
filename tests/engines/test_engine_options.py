"""What an engine is told when it starts reaches it whole, and what it cannot do is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftcam import Engine, Parameters
from driftcam.engines.api import ParameterError
from driftcam.engines.api.engine_options import BACKENDS, PIPELINES, PRECISIONS, EngineOptions
from driftcam.engines.api.model_files import EMBEDDED_SOLVERS, SOLVERS, ModelFiles
from driftcam.engines.backends.choice import Facts, choose
from driftcam.engines.backends.nvidia import Card, DriverFacts
from driftcam.engines.diffusion.schedules import flow
from driftcam.engines.models.embedded.model import WEIGHTS
from driftcam.engines.models.registry import open_source
from driftcam.engines.worker.main import open_host
from tests.daemon import standin

PATHS = st.text(st.characters(exclude_characters="\0"), min_size=1).map(Path)
LORAS = st.lists(st.tuples(PATHS, st.floats(-2, 2))).map(tuple)
MODELS = st.builds(ModelFiles, PATHS, st.none() | PATHS, LORAS, st.sampled_from(SOLVERS)) | st.just(ModelFiles())
OPTIONS = st.builds(
    EngineOptions,
    MODELS,
    st.sampled_from(PIPELINES),
    st.sampled_from(BACKENDS),
    st.integers(0, 127),
    st.sampled_from(PRECISIONS),
)


@given(OPTIONS)
def test_one_argument_of_a_process_carries_all_options(options: EngineOptions) -> None:
    assert EngineOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pipeline": "batch"}, "pipeline: 'batch' cannot be used; choose from: auto, sequential, stream"),
        ({"backend": "directml"}, "backend: 'directml' cannot be used; choose from: auto, tensorrt"),
        ({"precision": "int8"}, "precision: 'int8' cannot be used; choose from: auto, fp32"),
        ({"device": -1}, "device: -1 cannot be used; give the number of a graphics card"),
        ({"device": True}, "device: True cannot be used"),
    ],
)
def test_what_cannot_be_an_option_is_named_with_its_choices(options: dict, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        EngineOptions(**options)
    assert message in str(error.value)


TWO = DriverFacts((13, 0), (Card("RTX 4080", (8, 9), 16 << 30), Card("GTX 1080", (6, 1), 8 << 30)), "")
NONE = DriverFacts((0, 0), (), "no NVIDIA driver is installed")


def test_a_card_is_chosen_by_its_number_and_one_that_is_not_there_is_refused() -> None:
    usable = Facts(TWO, "", "")
    assert "RTX 4080" in choose("auto", lambda: usable, 0).reason
    for wanted, facts, device, words in (
        ("auto", usable, 2, "this machine has: 0 (RTX 4080), 1 (GTX 1080)"),
        ("tensorrt", usable, 1, "generation sm61"),
        ("auto", usable, 1, "generation sm61"),
        ("auto", Facts(NONE, NONE.problem, NONE.problem), 1, "no NVIDIA driver is installed; leave device out"),
        ("openvino", usable, 1, "openvino runs on the processor"),
    ):
        with pytest.raises(ParameterError) as error:
            choose(wanted, lambda facts=facts: facts, device)
        assert words in str(error.value)
    assert choose("auto", lambda: Facts(NONE, NONE.problem, NONE.problem), 0).backend == "openvino"


def test_the_precision_that_is_asked_for_is_that_of_the_networks() -> None:
    parameters = Parameters(width=64, height=64, steps=1)
    host = open_host("driftcam.engines.host:EngineHost", EngineOptions(backend="torch", precision="bf16"))
    assert host.open(parameters).report()["backend"].startswith("torch bf16 (cpu)")
    assert Engine(parameters, backend="torch").report()["backend"].startswith("torch fp32 (cpu)")
    with pytest.raises(ParameterError, match="precision: 'fp8' cannot be used; the torch backend has here: fp32, bf16"):
        Engine(parameters, backend="torch", precision="fp8")


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"auto", "euler", "dpmpp"}))
def test_the_embedded_model_refuses_solvers_that_it_does_not_have(solver: str) -> None:
    with pytest.raises(
        ParameterError, match=f"solver: '{solver}' cannot be used; embedded models have: auto, euler, dpmpp"
    ):
        ModelFiles(solver=solver)
    with pytest.raises(ParameterError, match=f"solver: '{solver}' cannot be used; the embedded model is a rectified"):
        open_source(ModelFiles(WEIGHTS, solver=solver))


def test_the_solver_that_is_asked_for_is_that_of_the_embedded_model() -> None:
    schedules = {solver: open_source(ModelFiles(solver=solver)).parts.schedule(4, 0.8) for solver in EMBEDDED_SOLVERS}
    assert schedules["auto"] == schedules["euler"] == flow(4, 0.8, "euler") != schedules["dpmpp"]
    assert schedules["dpmpp"] == flow(4, 0.8, "dpmpp")


def test_an_engine_of_another_class_says_which_options_it_does_not_take() -> None:
    host = open_host(standin.NAME, EngineOptions(pipeline="stream"))
    with pytest.raises(ParameterError, match="pipeline: 'stream' cannot be used; Engine does not take it"):
        host.open(Parameters())
    assert open_host(standin.NAME, EngineOptions()).open(Parameters())
