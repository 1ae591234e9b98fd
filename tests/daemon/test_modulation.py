"""Parameters that follow time, sound and motion, and the bound that keeps them from strobing."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest

from driftcam.daemon.frames import Picture
from driftcam.daemon.modulation.followed import levels
from driftcam.daemon.modulation.modulation import Modulation
from driftcam.daemon.modulation.settings import BPM, FIELDS, Settings
from driftcam.daemon.modulation.waves import wave
from driftcam.daemon.sound import CHANNELS, RATE, Chunk, Sound
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.shift import shifted, targets
from tests.daemon.collector import Collector
from tests.daemon.http_daemon import START, daemon_in, until
from tests.flashes import most_flashes, opposing_changes

FOLLOWED = FIELDS["follows"].to_dict()["choices"]
DARK, BRIGHT = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)


def frames(modulation: Modulation, seconds: float, fps: float, image=lambda now: DARK):
    """The time and the shift of each frame."""
    for number in range(round(seconds * fps)):
        now = number / fps
        yield now, modulation.of(Picture(image(now), round(now * 1e9), 0))


def modulated(**modulators: dict) -> Modulation:
    modulation = Modulation(lambda: None)
    modulation.change({"bpm": 120, "modulators": modulators})
    return modulation


def tone(hertz: float, amplitude: float, seconds: float = 1.0) -> np.ndarray:
    wave = amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return np.tile(wave.astype(np.float32), (CHANNELS, 1))


def test_the_counter_of_flashes_knows_the_definition() -> None:
    """Three a second pass and four do not; small changes and bright ones are none."""
    times = np.arange(0, 3, 0.01)

    def most(hertz: float, low: float, high: float) -> int:
        return most_flashes(times, np.where(np.floor(times * hertz * 2) % 2, low, high))

    assert (most(3, 0, 1), most(4, 0, 1), most(10, 0, 1)) == (3, 4, 10)
    assert most(10, 0.4, 0.49) == most(10, 0.81, 1.0) == 0


@pytest.mark.parametrize("seed", range(60))
def test_nothing_that_is_set_makes_any_mixture_of_what_is_moved_strobe(seed: int) -> None:
    """Any waves, tempo, depths, flickering sound and motion, and settings that change all the time."""
    random = np.random.default_rng(seed)
    sound = Sound()
    modulation = Modulation(lambda: sound)

    def settings() -> dict:
        chosen = random.choice([*targets(), "styles.dusk", "styles.weave"], 4, replace=False)
        return {
            "bpm": float(random.uniform(BPM.low, BPM.high)),
            "modulators": {
                str(target): {
                    "follows": str(random.choice(FOLLOWED)),
                    "depth": float(random.choice([-1, -0.5, 0.5, 1])),
                    "beats": int(random.choice([1, 1, 2, 3])),
                }
                for target in chosen
            },
        }

    modulation.change(settings())
    weights = random.normal(size=6)
    weights /= np.abs(weights).max()
    names = [*targets(), "styles.dusk", "styles.weave"]
    fps = float(random.choice([12, 25, 60]))
    times, mixture = [], []
    for number in range(round(6 * fps)):
        now = number / fps
        if number % round(fps / 8) == 0 and random.random() < 0.3:
            modulation.change({"modulators": dict.fromkeys(modulation.settings.modulators)} | {"bpm": 60})
            modulation.change(settings())
        if random.random() < 0.05:
            modulation.beat(round((now + random.random()) * 1e9))
        sound.write(
            Chunk(tone(random.choice([60, 900, 9000]), float(random.random() < 0.5), 1 / fps), round(now * 1e9))
        )
        shift = modulation.of(Picture(BRIGHT if random.random() < 0.5 else DARK, round(now * 1e9), 0))
        times.append(now)
        mixture.append(0.4 + sum(weight * shift.get(name, 0.0) for weight, name in zip(weights, names, strict=True)))
    assert most_flashes(times, mixture) <= 3


def test_at_its_quickest_it_does_move() -> None:
    """Else the bound would be met by standing still: a square of one beat at the greatest tempo is three pairs."""
    modulation = modulated(strength={"follows": "square", "depth": 0.5, "beats": 1})
    modulation.change({"bpm": BPM.high})
    times, values = zip(*((now, 0.4 + shift["strength"]) for now, shift in frames(modulation, 4, 60)), strict=True)
    assert len(opposing_changes(times, values)) == pytest.approx(4 * 2 * 3, abs=2)
    assert most_flashes(times, values) == 3


@pytest.mark.parametrize("bpm", [60, 97, 120, 174])
def test_a_wave_is_highest_on_its_beat_and_lowest_half_way(bpm: float) -> None:
    modulation = modulated(strength={"follows": "sine", "depth": 0.3, "beats": 4})
    modulation.change({"bpm": bpm})
    bar = 4 * 60 / bpm
    values = {round(now / bar, 2): shift["strength"] for now, shift in frames(modulation, 3 * bar, 100 / bar)}
    assert values[2.0] == pytest.approx(0.3, abs=1e-3)
    assert values[1.5] == pytest.approx(-0.3, abs=1e-3)
    errors = [abs(value - 0.3 * math.cos(2 * math.pi * turns)) for turns, value in values.items() if turns > 0.5]
    assert max(errors) < 0.05


def test_waves_have_their_shapes() -> None:
    assert [wave("triangle", part) for part in (0, 0.25, 0.5, 0.75)] == [1, 0, -1, 0]
    assert [wave("square", part) for part in (0, 0.49, 0.5, 0.99)] == [1, 1, -1, -1]
    assert [round(wave("steps", part), 3) for part in (0, 0.25, 0.5, 0.75)] == [-1, -0.333, 0.333, 1]


def test_a_beat_that_is_given_is_where_the_waves_begin() -> None:
    modulation = modulated(strength={"follows": "square", "depth": 0.5, "beats": 2})
    modulation.beat(333_000_000)
    rises = [now for now, shift in frames(modulation, 5, 200) if now > 1 and shift["strength"] > 0.4999]
    assert min(rises) == pytest.approx(1.333, abs=0.01)  # two beats are a second


@pytest.mark.parametrize(("hertz", "band"), [(80, "low"), (1000, "mid"), (9000, "high")])
def test_each_band_hears_its_tones_and_loudness_all(hertz: float, band: str) -> None:
    found = levels(tone(hertz, 0.5))
    assert found[band] > 0.9 and found["loudness"] > 0.9
    assert all(found[other] < 0.35 for other in {"low", "mid", "high"} - {band}), found
    quiet = levels(tone(hertz, 0.02))
    assert 0 < quiet["loudness"] < found["loudness"]
    assert set(levels(tone(hertz, 0.0)).values()) == set(levels(np.zeros((2, 7), np.float32)).values()) == {0.0}


def test_a_parameter_rises_with_the_sound_and_falls_after_it() -> None:
    sound = Sound()
    modulation = Modulation(lambda: sound)
    assert not sound.wanted
    modulation.change({"modulators": {"strength": {"follows": "loudness", "depth": 0.6}}})
    values = {}
    for number in range(100):
        loud = 25 <= number < 50
        sound.write(Chunk(tone(440, 0.5 * loud, 0.04), number * 40_000_000))
        shift = modulation.of(Picture(DARK, (number + 1) * 40_000_000, 0))
        values[number] = shift.get("strength", 0.0)
    assert sound.wanted
    assert values[20] == 0 and values[49] == pytest.approx(0.6, abs=0.02) and values[99] == 0
    assert 0 < values[54] < 0.6  # falls, and does not drop
    modulation.change({"modulators": {"strength": {"on": False}}})
    assert not sound.wanted  # nothing is decoded for nobody


def test_a_parameter_follows_motion_in_the_picture() -> None:
    modulation = modulated(freedom={"follows": "motion", "depth": 0.5})
    random = np.random.default_rng(1)
    still = random.integers(0, 256, (96, 128, 3), np.uint8)
    *_, (_, calm) = frames(modulation, 2, 25, lambda now: still)
    *_, (_, moving) = frames(
        modulated(freedom={"follows": "motion", "depth": 0.5}), 2, 25, lambda now: np.roll(still, round(now * 200), 1)
    )
    assert calm.get("freedom", 0.0) == 0
    assert moving["freedom"] == pytest.approx(0.5)


def test_what_is_switched_off_glides_back_and_then_costs_nothing() -> None:
    modulation = modulated(strength={"follows": "square", "depth": 0.5, "beats": 64})
    *_, (_, there) = frames(modulation, 1, 50)
    assert there == {"strength": 0.5}
    modulation.change({"modulators": {"strength": {"on": False}}})
    values = [modulation.of(Picture(DARK, round((1 + k / 50) * 1e9), 0)) for k in range(50)]
    assert any(0 < value.get("strength", 0.0) < 0.5 for value in values)
    assert values[-1] == {} == modulation.shift


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modulators": {"strenth": {}}}, "did you mean strength"),
        ({"modulators": {"seed": {}}}, "it cannot be moved"),
        ({"modulators": {"styles.": {}}}, "give a name"),
        ({"modulators": {"strength": {"depth": 2}}}, "depth: 2 .*give a number from -1 to 1"),
        ({"modulators": {"strength": {"follows": "cosine"}}}, "follows.*did you mean sine"),
        ({"modulators": {"strength": {"beats": 0.5}}}, "beats.*whole number"),
        ({"modulators": {"strength": {"on": 1}}}, "send true or false"),
        ({"modulators": {"strength": {"speed": 1}}}, "speed"),
        ({"modulators": {"strength": 3}}, "send an object with follows"),
        ({"modulators": ["strength"]}, "send an object"),
        ({"bpm": 500}, "bpm: 500 .*give a number from 20 to 180"),
        ({"tempo": 90}, "tempo"),
        ([], "send an object with bpm"),
        ({"modulators": {f"styles.s{k}": {} for k in range(17)}}, "keep 16 at most"),
    ],
)
def test_a_mistake_is_explained(changes: object, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Settings().changed(changes)


def test_values_stay_in_their_ranges_and_styles_among_those_that_are_blended() -> None:
    base = Parameters(strength=0.9, styles=(("weave", 0.5), ("dusk", 0.5)))
    there = shifted(base, {"strength": 0.5, "freedom": -0.4, "styles.dusk": -0.5, "styles.meadow": 0.5})
    assert (there.strength, there.freedom, there.styles) == (1.0, 0.0, (("weave", 1.0),))
    assert shifted(base, {"styles.dusk": -0.5, "styles.weave": -0.5}) == base  # never none at all


async def test_the_base_stays_what_was_set_and_the_state_shows_both(tmp_path) -> None:
    async with daemon_in(tmp_path) as daemon, daemon.client() as client, daemon.frames():
        before = await (await client.get("/api/state")).json()
        wanted = {"bpm": 90, "modulators": {"strength": {"follows": "square", "depth": -0.2, "beats": 64}}}
        answer = await client.patch("/api/modulation", json=wanted)
        assert (answer.status, (await answer.json())["modulation"]["bpm"]) == (200, 90)
        await until(lambda: abs(daemon.session.modulation.shift.get("strength", 0.0)) == pytest.approx(0.2))
        state = await (await client.get("/api/state")).json()
        assert state["parameters"] == before["parameters"] and state["version"] == before["version"]
        assert abs(state["modulated"]["strength"] - state["parameters"]["strength"]) == pytest.approx(0.2)
        assert (await client.put("/api/presets/while it moves")).status == 204
        kept = await (await client.get("/api/presets/while it moves")).json()
        assert kept["strength"] == before["parameters"]["strength"]

        refused = await client.patch("/api/modulation", json={"bpm": 60, "modulators": {"seed": {}}})
        assert (refused.status, (await refused.json())["field"]) == (422, "modulators")
        assert (await client.post("/api/modulation/beat")).status == 204
        there = await (await client.get("/api/modulation")).json()
        assert there["bpm"] == 90 and there["modulators"]["strength"]["beats"] == 64
        await client.patch("/api/modulation", json={"modulators": {"strength": None}})
        await until(lambda: daemon.session.modulation.shift == {})
        fields = await (await client.get("/api/modulation/fields")).json()
        assert {"strength", "freedom", "memory", "styles.dusk"} <= set(fields["targets"])


async def test_each_frame_is_made_with_what_moves_it_in_a_live_session(tmp_path) -> None:
    """By sound that comes with the frames; after it every picture is again that of what was set."""
    async with daemon_in(tmp_path) as daemon:
        session, sink = daemon.session, Collector()
        session.add_sink(sink)
        session.modulation.change({"modulators": {"strength": {"follows": "loudness", "depth": 0.5}}})
        with session.ingest.claim("test") as lease:
            lease.sound = Sound()

            async def seen(grey: int, loud: bool) -> None:
                while not sink.results or not np.all(sink.results[-1].image == grey):
                    now = time.monotonic_ns()
                    lease.sound.write(Chunk(tone(440, 0.5 * loud, 0.02), now))
                    lease.offer(Picture(np.full((START.height, START.width, 3), 255, np.uint8), now, now))
                    await asyncio.sleep(0.02)

            async with asyncio.timeout(60):
                await seen(0, loud=False)  # the negative of white
                await seen(178, loud=True)
                greys = {int(result.image[0, 0, 0]) for result in sink.results}
                await seen(0, loud=False)
        assert greys - {0, 128, 178}  # it came there by and by
        assert daemon.session.control.parameters.strength == START.strength


def test_of_a_file_no_frame_is_moved_by_a_clock_but_its_own() -> None:
    """The same frames are moved by as much whenever, and however quickly, they are worked through."""
    settings = {"follows": "sine", "depth": 0.5, "beats": 2}
    once, again = ([shift for _, shift in frames(modulated(strength=settings), 3, 25)] for _ in range(2))
    assert once == again and len({round(shift["strength"], 3) for shift in once}) > 10
