"""One OBS for all tests: starting it takes longer than most of them."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.obs.rig import ROOT, Obs, poll, start_obs

numbers = itertools.count(1)
NEEDED = ("obs", "Xvfb", "cmake", "gcc")


@pytest.fixture(scope="session")
def plugins() -> Path:
    """The folder that `make obs-plugin` fills."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not Path("/usr/include/obs/obs.h").exists():
        pytest.skip("libobs-dev is not installed")
    subprocess.run(["make", "-s", "obs-plugin"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build" / "obs-plugin" / "stage"


@pytest.fixture(scope="session")
def obs(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Obs]:
    """A running OBS. After the last test it must end well and have given back all memory."""
    obs = start_obs(tmp_path_factory.mktemp("obs"), plugins)
    yield obs
    obs.check_end()


@pytest.fixture
def scene(obs: Obs) -> Iterator[str]:
    """A new scene on air; it and its sources are gone afterwards."""
    name = f"test {next(numbers)}"  # OBS removes a scene later than it says
    obs.remote.call("CreateScene", sceneName=name)
    obs.remote.call("SetCurrentProgramScene", sceneName=name)
    yield name
    obs.remote.call("SetCurrentProgramScene", sceneName="Scene")
    for source in inputs(obs):
        obs.remote.call("RemoveInput", inputName=source)
    obs.remote.call("RemoveScene", sceneName=name)
    poll(lambda: not inputs(obs), "the end of the sources")


def inputs(obs: Obs) -> list[str]:
    """Names of all sources."""
    return [source["inputName"] for source in obs.remote.call("GetInputList")["inputs"]]
