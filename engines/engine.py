"""One stream from frames to stylised frames: the engine as a library."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftcam.engines.api.engine_options import PIPELINES, check_choice
from driftcam.engines.api.errors import ParameterError
from driftcam.engines.api.memory import peak_memory_mb
from driftcam.engines.api.model_files import ModelFiles
from driftcam.engines.api.parameters import Parameters, changed
from driftcam.engines.api.planes import KNOWN, MOTION, NO_PLANES, STYLE_PICTURE, Lifetime, Plane, Planes, no_planes
from driftcam.engines.api.shift import NO_SHIFT, Shift, moved, shifted
from driftcam.engines.backends import explain, open_backend
from driftcam.engines.building import ModelBuilder
from driftcam.engines.canvas import Canvas, Placement
from driftcam.engines.carried import Carried, Rule, State
from driftcam.engines.conditions.base import Seen
from driftcam.engines.diffusion.frame import Finished, Frame
from driftcam.engines.diffusion.guidance import DIFFERENCE, Guidance
from driftcam.engines.diffusion.plan import Plan
from driftcam.engines.diffusion.schedules import Schedule
from driftcam.engines.diffusion.sequential import denoise
from driftcam.engines.diffusion.stream_batch import StreamBatch
from driftcam.engines.image.pixels import as_rgb
from driftcam.engines.image.similarity import SimilarityGate
from driftcam.engines.insight import insight
from driftcam.engines.memory.anchors import AnchorFrames
from driftcam.engines.memory.stream import SAME_PAINTING, Recall, StreamMemory
from driftcam.engines.models.base import Model, ModelSource
from driftcam.engines.models.registry import Models, open_source
from driftcam.engines.motion.stage import MotionStage
from driftcam.engines.noise.temporal import TemporalNoise
from driftcam.engines.numba_kernels import compile_kernels
from driftcam.engines.pipelines import OpenChoice
from driftcam.engines.timing import StageClock
from driftcam.engines.travel import TRAVELS, Travel, differs

# Guidance `initialize` asks the network what it would paint without a style, on every third frame: on a CPU each
# question takes a row's time. Real clips are as steady as with one on each, within 5 % (`scripts.bench_guidance`).
HELD_DIFFERENCE = State(DIFFERENCE, noise=Rule.FORGET, lasts=2)


@dataclass(frozen=True)
class Stylised:
    """A result. `image` (height, width, 3) u8 RGB is valid until the next call of the engine.

    Attributes:
        pts: the capture time given with the frame.
        index: which frame it was, counted from 0 by the engine.
        skipped: True where the similarity gate repeats the last picture.
        planes: beside the picture, such as `motion`.
    """

    image: np.ndarray
    pts: int
    index: int
    skipped: bool = False
    planes: Planes = field(default_factory=no_planes)


@dataclass(frozen=True)
class _Tag:
    """What a frame in flight needs at its end: the model and size it began with may have been replaced."""

    pts: int
    index: int
    model: Model
    placement: Placement
    leave: Callable[[str, Tensor], None]
    recall: Recall | None


class Engine:
    """Turns frames into stylised frames, in order, with one set of live parameters.

    Call everything but `update` from one thread.

    Args:
        parameters: where to start; see `Parameters`.
        model: which one to load; None for the embedded one as shipped.
        source: a model of one's own instead.
        backend, device, precision, pipeline: see `EngineOptions`. `sequential` gives a result for every frame at once
            (right for a CPU), `stream` those of n−1 frames ago (StreamDiffusion; right for a GPU that gains by it).
        readout: how the fine noise becomes latent noise, `band_limited` or the paper's `block_mean`.
        anchored: with warped noise, keep the latent grid on the scene (`engines.motion.anchor`).
        models: compiled networks to share with other engines that run in the same thread.

    Attributes:
        model, plan: the networks, and how the next frame is denoised.
        pipeline: which one runs, `sequential` or `stream`.
        planes: that are read, by name: of each frame, or of the session.

    Raises:
        ParameterError: weights missing or corrupt, an unknown backend or pipeline.
    """

    def __init__(
        self,
        parameters: Parameters | None = None,
        *,
        model: ModelFiles | None = None,
        source: ModelSource | None = None,
        backend: str = "auto",
        device: int = 0,
        precision: str = "auto",
        pipeline: str = "sequential",
        readout: str = "band_limited",
        anchored: bool = True,
        models: Models | None = None,
    ) -> None:
        check_choice("pipeline", pipeline, PIPELINES)
        self.clock = StageClock()
        self.parameters = parameters or Parameters()
        self._backend = open_backend(backend, device, precision)
        self._why_backend = explain(self._backend, backend, device)
        self._choosing = OpenChoice() if pipeline == "auto" else None
        self.pipeline = "sequential" if pipeline == "auto" else pipeline
        self._source = source or open_source(model or ModelFiles())
        self.planes = planes_of(self._source)
        self._session_planes: dict[str, np.ndarray] = {}
        self._source.check(self.parameters)
        self._asked = self.parameters
        self._readout = readout
        self._models = ModelBuilder(self._source, self._backend, models or Models(), self.rows)
        self._canvas = Canvas(self._source.stride, anchored=anchored)
        self._lock = threading.Lock()
        self._wanted: Parameters | None = None
        self._side = ThreadPoolExecutor(1, "noise")
        self._memory = StreamMemory(self._side)
        self._anchors = AnchorFrames()
        self._frames = self._skipped = 0
        self._newest = -(2**63)
        self._last: np.ndarray | None = None
        self._repeats: deque[tuple[int, int]] = deque()
        self._gate = SimilarityGate(self.parameters.seed)
        compile_kernels()  # before the networks: numba's compiler does not bear their imports beside it
        self.model = self._models.build(self.parameters)
        self._stream = StreamBatch(self.model.predict, Plan(Schedule()), self.model.unconditional)
        self._travel: Travel | None = None
        self._base, self._shift, self._in_effect = self.parameters, NO_SHIFT, NO_SHIFT
        self._carried: Carried | None = None
        self._noise_identity: tuple | None = None
        self._noise_shown = np.zeros((1, 1, 1, 1), np.float32)
        self._apply(self.parameters)

    def step(self, frame: np.ndarray) -> np.ndarray:
        """Stylise one frame and return the newest result (height, width, 3) u8, the caller's own copy.

        With `pipeline="stream"` and n steps the result is that of the frame n-1 calls ago; during the
        first n-1 calls the first frame is finished at once, so that there always is a picture.
        """
        results = self.process(frame)
        if not results and self._last is None:
            results = self.flush()
        if not results:
            assert self._last is not None
            return self._last.copy()
        return results[-1].image.copy()

    def process(self, frame: np.ndarray, pts: int = 0, planes: Planes | None = None) -> list[Stylised]:
        """Take in one frame, and planes beside it; return what is finished (see `Stylised`), oldest first.

        Raises:
            ParameterError: the frame is no picture (`engines.image.pixels.as_rgb`) or older than the last one, or a
                plane is not what its name says; the stream is as it was.
        """
        with self.clock.stage("frame"):
            begun = self.begin(frame, pts, planes)
            if not isinstance(begun, Frame):
                return begun
            with self.clock.stage("denoise"):
                if self.pipeline == "stream":
                    done = self._stream.push(begun)
                else:
                    done = denoise([begun], self.plan, self.model.predict, self.model.unconditional)
            return self.finish(done)

    def begin(self, frame: np.ndarray, pts: int = 0, planes: Planes | None = None) -> Frame | list[Stylised]:
        """The first part of `process`: what is to be denoised, or results where the gate repeats the last picture.

        For whoever denoises frames of several engines together (`engines.host`): their `model` and `plan` say how.
        """
        rgb = as_rgb(frame)
        if pts < self._newest:
            raise ParameterError("pts", pts, f"frames come in order of time; the last one had {self._newest}")
        for name, plane in (planes or NO_PLANES).items():
            if name in self.planes:
                self.planes[name].check(plane)
        self._memory.wait()  # it may still read the picture that this frame overwrites
        self._apply_wanted(pts)
        if self._travel is not None:
            self._go_on(self._travel, pts)
        if self._shift != self._in_effect:
            self._move_to(self._base)
        index = self._frames
        self._frames += 1
        self._newest = pts
        with self.clock.stage("prepare"):
            self._canvas.take(rgb)
        if self._gate_skips():
            self._skipped += 1
            self._repeats.append((index, pts))
            return self.finish(self._stream.advance())
        with self.clock.stage("anchor"):
            placement = self._canvas.place(follow=self.parameters.noise == "warped")
        assert self._carried is not None
        # Flow and noise keep one core busy for a while; the encoder needs neither and runs beside them.
        noise = self._side.submit(self._advance_noise)
        recall = self._recall(placement.offset)
        tag = _Tag(pts, index, self.model, placement, partial(self._carried.leave, index), recall)
        with self.clock.stage("encode"):
            photo = self.model.encode(self._canvas.input)
        with self.clock.stage("wait for noise"):
            noises = noise.result()
        placed = self._canvas.placed(planes or NO_PLANES, self.planes) | self._session_planes
        item = self._item(photo, noises, placed, tag)
        if self._choosing is not None:
            self._choose_pipeline(self._choosing, item)
        return item

    def flush(self) -> list[Stylised]:
        """Finish the frames in flight (none with the sequential pipeline); see `process`."""
        return self.finish(self._stream.flush())

    def update(self, parameters: Parameters) -> None:
        """Use `parameters` from the next frame on. May be called from any thread.

        A new size is compiled and a new prompt encoded beside the running networks; it takes effect, together with
        the rest of the change, when it is ready. Until then the stream goes on as it was.

        Raises:
            ParameterError: the model cannot do what is asked for; the stream goes on as it was.
        """
        self._source.check(parameters)
        with self._lock:
            self._wanted = self._asked = parameters

    def shift(self, shift: Shift) -> None:
        """From the next frame on, until told otherwise, work with the parameters moved by `shift` (`api.shift`).

        What they were set to stays, nothing is begun anew, and what is painted passes on to the new values.
        """
        self._shift = shift

    def set_plane(self, name: str, picture: np.ndarray | None) -> dict[str, Any]:
        """Use a plane from the next frame on, until another one or None takes its place.

        Returns the changes of the parameters that follow from it, which are in effect: a `style_picture` becomes
        `Parameters.style_vector`. Raises `ParameterError`; the stream goes on as it was.
        """
        if name == STYLE_PICTURE:
            changes = {"style_vector": None if picture is None else self._source.style_vector(as_rgb(picture))}
            self.update(self._asked.replace(**changes))
            return changes
        plane = self.planes.get(name)
        if plane is None or plane.lifetime is not Lifetime.SESSION:
            names = [known.name for known in self.planes.values() if known.lifetime is Lifetime.SESSION]
            raise ParameterError("plane", name, f"this engine reads {', '.join(names) or 'none'} for a whole session")
        self._session_planes.pop(name, None)
        if picture is not None:
            plane.check(picture)
            self._session_planes[name] = picture.copy()
        return {}

    def report(self) -> dict:
        """Counters, median and p95 of each stage in ms, memory, what runs the networks and how far a build is."""
        stages = self.clock.summary()
        return {
            "backend": self._why_backend,
            "building": self._models.building,
            "pipeline": self.pipeline,
            "why_pipeline": self._choosing.choice.reason if self._choosing else "as asked for",
            "frames": self._frames,
            "skipped": self._skipped,
            "fps": round(1000 / stages["frame"]["p50"], 1) if "frame" in stages else 0.0,
            "stages_ms": stages,
            "histogram_ms": self.clock.histogram(),
            "memory_mb": peak_memory_mb(),
        }

    def insight(self) -> dict:
        """Flow and noise of the last frame as small pictures; see `engines.insight`. Between two frames only."""
        return insight(self._motion.motion, self._noise_shown)

    # -- parameters -----------------------------------------------------------------------------

    def _apply_wanted(self, pts: int) -> None:
        with self._lock:
            wanted = self._wanted
        if wanted is None:
            return
        model = self._models.beside(self.model, wanted)
        if model is None:
            return
        self.model = model
        with self._lock:
            if self._wanted is wanted:
                self._wanted = None
        way = Travel(self._base, wanted, pts) if wanted.travel and differs(self._base, wanted) else None
        self._apply(wanted if way is None else way.at(pts) or wanted, on_the_way=way is not None)
        self._travel = way

    def _go_on(self, travel: Travel, pts: int) -> None:
        """One frame further on the way to other parameters."""
        now = travel.at(pts)
        if now is None:
            now, self._travel = travel.end, None
        self._move_to(now)

    def _move_to(self, parameters: Parameters) -> None:
        """Parameters that what was painted passes on to."""
        self._use(parameters, on_the_way=True)
        self._stream.reconfigure(plan=self.plan)

    def rows(self, parameters: Parameters, streams: int = 1, pipeline: str = "") -> set[int]:
        """Rows of the network's calls for frames of so many streams: without and with what guidance adds to them.

        `pipeline`: another one than that which runs.
        """
        frames = parameters.steps if (pipeline or self.pipeline) == "stream" else streams
        mode = Guidance(parameters.guidance, parameters.guidance_scale).active_mode
        return {frames, frames + {"full": frames, "initialize": streams}.get(mode, 0)}

    @property
    def on_graphics_card(self) -> bool:
        return self._backend.name in ("tensorrt", "torch-cuda")

    def _apply(self, parameters: Parameters, *, on_the_way: bool = False) -> None:
        """Make `parameters` those of the next frame; frames in flight finish with their own."""
        self._travel = None
        self._use(parameters, on_the_way=on_the_way)
        self._canvas.resize(self.model.size, parameters.width, parameters.height, parameters.fit)
        # Also where nothing is painted now: on a way, or moved, it may be.
        fields = max(1, self.model.schedule(parameters.steps, self.parameters.strength or 1.0).noise_fields)
        identity = (self.model.latent_size, fields, parameters.seed)
        if identity != self._noise_identity:
            self._noise_identity = identity
            self._canvas.anchor.reset()
            states = (HELD_DIFFERENCE, *(state for each in self.model.conditions for state in each.carried))
            self._carried = Carried(states, self.model.latent_size)
            self._motion = MotionStage(self.model.latent_size)
            self._noise = TemporalNoise(
                *self.model.latent_size, self.model.channels, fields, parameters.seed, readout=self._readout
            )
        self._stream.reconfigure(plan=self.plan, predict=self.model.predict, unconditional=self.model.unconditional)

    def _choose_pipeline(self, choosing: OpenChoice, frame: Frame) -> None:
        """Before `frame` is denoised. Frames that are in a batch then finish before it, see `finish`."""
        rows = self.rows(self.parameters) | self.rows(self.parameters, pipeline="stream")
        self.pipeline = choosing.consider(frame, self.model, self.plan, self.parameters, rows).pipeline

    def _use(self, parameters: Parameters, *, on_the_way: bool = False) -> None:
        """What does not need another size, seed or number of noise fields. `on_the_way`: to others (`Travel`)."""
        passing = (TRAVELS if on_the_way else set()) | moved(self._shift) | moved(self._in_effect)
        self._base, self._in_effect = parameters, self._shift
        parameters = shifted(parameters, self._shift) if self._shift else parameters
        names = changed(self.parameters, parameters)
        self._forget(names)
        self.parameters = parameters
        at_once = names - SAME_PAINTING - passing
        self._memory.use(parameters, self.model.size, anew=bool(at_once))
        self._anchors.use(parameters)
        self._gate.reset()  # even a still picture is to show the change
        self._tell = self.model.bind(parameters)
        guidance = Guidance(parameters.guidance, parameters.guidance_scale, parameters.delta)
        self.plan = Plan(self.model.schedule(parameters.steps, parameters.strength), guidance)

    def _forget(self, names: set[str]) -> None:
        """What the stream carries and does not hold any more with other values of the parameters `names`."""
        if self._carried is not None and names:
            conditions = [each for each in self.model.conditions if names.intersection(each.parameters)]
            states = [HELD_DIFFERENCE.name, *(state.name for each in conditions for state in each.carried)]
            self._carried.changed(self._frames - 1, states)

    # -- one frame ------------------------------------------------------------------------------

    def _gate_skips(self) -> bool:
        """Whether the similarity gate repeats the last picture instead of this frame."""
        skips = self._gate.skips(
            self._canvas.luma, threshold=self.parameters.similarity_threshold, max_skip=self.parameters.max_skip
        )
        return skips and self._last is not None

    def _advance_noise(self) -> Tensor:
        p = self.parameters
        if p.noise == "warped" or any(each.carried for each in self.model.conditions):
            self._motion.advance(self._canvas.placed_luma(), self._canvas.anchor.jump)
        else:
            self._motion.reset()
        noise = self._noise.advance(self._motion.motion, mode=p.noise, refresh=p.refresh, degradation=p.degradation)
        for part, milliseconds in (self._motion.timings | self._noise.timings).items():
            self.clock.add(part, milliseconds)
        self._noise_shown = noise
        return torch.from_numpy(noise)

    def _recall(self, offset: tuple[float, float]) -> Recall | None:
        """Begin to find out what of the last painting holds in this frame, behind the noise, which finds the cuts."""
        x, y = self._canvas.anchor.jump
        jump = x * self._source.stride, y * self._source.stride
        photo, travels = self._canvas.input[0].numpy(), self._travel is not None or bool(self._in_effect)
        return self._memory.begin(photo, offset, jump, lambda: self._motion.motion.cut, travels=travels)

    def _item(self, photo: Tensor, noises: Tensor, planes: Mapping[str, np.ndarray], tag: _Tag) -> Frame:
        p = self.parameters
        fresh_noise = p.noise != "warped" or p.refresh > 0 or p.degradation > 0
        assert self._carried is not None
        carried = self._carried.begin(tag.index, self._motion.motion, fresh_noise=fresh_noise)
        rows = self._tell(Seen(photo, noises, planes, carried))
        # A copy: other streams may share the encoder and use it before this frame is denoised.
        return Frame(photo[0].clone(), noises, rows, tag, carried, tag.leave)

    def finish(self, done: list[Finished]) -> list[Stylised]:
        """The last part of `process`: decoded results. Only the last picture is not a copy."""
        if self.pipeline == "sequential":
            done = [*self._stream.flush(), *done]  # of frames that came before the change of pipeline
        results: list[Stylised] = []
        for item in done:
            tag = item.tag
            assert isinstance(tag, _Tag)
            results += self._repeated(before=tag.index)
            if results:
                results = self._kept(results)
            results.append(self._decoded(item, tag))
        return results if len(self._stream) else results + self._repeated()

    def _repeated(self, before: float = math.inf) -> list[Stylised]:
        """The last picture for those frames before number `before` which the gate answers with it."""
        results = []
        while self._repeats and self._repeats[0][0] < before:
            index, pts = self._repeats.popleft()
            assert self._last is not None
            results.append(Stylised(self._last, pts, index, skipped=True))
        return results

    def _kept(self, results: list[Stylised]) -> list[Stylised]:
        """With pictures of their own, for the next one overwrites the last."""
        assert self._last is not None
        copy = self._last.copy()
        return [dataclasses.replace(r, image=copy) if r.image is self._last else r for r in results]

    def _decoded(self, done: Finished, tag: _Tag) -> Stylised:
        for name, value in tag.model.leaves(done.latent).items():
            tag.leave(name, value)
        with self.clock.stage("decode"):
            image = tag.model.decode(done.latent[None])[0].numpy()
        if tag.recall is not None:
            with self.clock.stage("memory"):
                image = tag.recall.blend(image)
        # Into a picture of our own: the decoder may be shared with other streams, and the gate may repeat it later.
        shape = (tag.placement.height, tag.placement.width, 3)
        if self._last is None or self._last.shape != shape:
            self._last = np.empty(shape, np.uint8)
        self._canvas.cut_out(image, tag.placement, self._last)
        if self._anchors.active:
            with self.clock.stage("anchors"):
                self._anchors.hold(self._last)
        motion = None if tag.recall is None else tag.recall.motion(shape[:2])
        return Stylised(self._last, tag.pts, tag.index, planes=NO_PLANES if motion is None else {MOTION: motion})


def planes_of(source: ModelSource) -> dict[str, Plane]:
    """Those that its conditions read, by name. Raises `ValueError` for one that nobody has declared."""
    names = dict.fromkeys(name for condition in source.parts.conditions for name in condition.planes)
    if unknown := names.keys() - KNOWN.keys():
        raise ValueError(f"a condition reads the plane {min(unknown)!r}: engines.api.planes.declare it")
    return {name: KNOWN[name] for name in names}
