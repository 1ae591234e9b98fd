"""One client of the frame bus, after its HELLO was accepted: frames in, results out, requests answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np

from driftcam.daemon import background
from driftcam.daemon.bus.hello import SLOT_BYTES, Hello, event, report, welcome
from driftcam.daemon.errors import RunError
from driftcam.daemon.frames import Picture, Result
from driftcam.daemon.pictures import session_plane, shrunk
from driftcam.daemon.session.ingest import QUICK_AREA, Lease
from driftcam.daemon.session.session import Session
from driftcam.daemon.wire import Wire
from driftcam.engines.api import ParameterError
from driftcam.engines.api.bus import (
    SLOTS,
    BusError,
    Message,
    MessageType,
    SlotLedger,
    SlotPool,
    create_memory,
    describe,
)
from driftcam.engines.api.fitting import fit_image
from driftcam.engines.api.planes import (
    ALPHA,
    KNOWN,
    NO_PLANES,
    RGB,
    STYLE_PICTURE,
    Lifetime,
    PixelFormat,
    Plane,
    Planes,
    planes_json,
)
from driftcam.webrtc.latest import Latest

log = logging.getLogger("driftcam")
EVENT_EVERY, EVENT_PAUSE = 0.5, 0.02  # seconds: at most and at least between two
MOST_REQUESTS = 8  # that a client may leave unanswered


class Presets(Protocol):
    """Named sets of parameters. Both methods block on the disk."""

    def names(self) -> list[str]: ...

    def load(self, name: str) -> dict[str, Any]: ...


class BusPeer:
    """Also a sink of its session. `run` until the client goes away; large results are converted in `threads`.

    `lease` of a client that gives frames.
    """

    def __init__(
        self,
        wire: Wire,
        hello: Hello,
        session: Session,
        lease: Lease | None,
        *,
        threads: Executor,
        presets: Presets,
        notice: Callable[[], str],
        page: Callable[[], str],
    ) -> None:
        self.name, self.session, self.hello, self.alpha = hello.name, session, hello, hello.alpha
        self._wire, self._lease, self._threads, self._presets = wire, lease, threads, presets
        self._notice, self._page = notice, page
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._held: set[int] = set()  # input slots that are ours
        self._free = SlotLedger(SLOTS)  # result slots
        self._newest: Latest[Result] = Latest()

    async def run(self) -> None:
        """Raises `BusError` when the client breaks the protocol."""
        self._open_memory()
        self._start(self._send_events())
        if self.hello.role.takes:
            self._start(self._give_results())
            self.session.add_sink(self)
        try:
            while (messages := await self._wire.read()) is not None:
                for message in messages:
                    self._receive(message)
        finally:
            self.session.remove_sink(self)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._loop.run_in_executor(self._threads, self._close_memory)

    # -- as a sink ------------------------------------------------------------------------------

    async def room(self) -> None:
        """A client of the bus is live: it never makes anybody wait."""

    def offer(self, result: Result) -> bool:
        """The newest wins while one is converted."""
        if self._wire.closed or self._free.out == SLOTS:
            return False
        if self._newest.idle and quick(result.image, self._result_size(result)):
            message, views = self._result_slot(result, self._free.take())
            fill(views, result.image, self._alpha_of(result))
            self._wire.send(message)
            return True
        return self._newest.put(result) is None

    def show_placeholder(self, image: np.ndarray) -> None:
        now = time.monotonic_ns()
        self.offer(Result(image, Picture(image, now, now, now), 0, False, 0.0, now))

    async def close(self) -> None:
        """Hang up."""
        self._wire.close()

    # -------------------------------------------------------------------------------------------

    def _open_memory(self) -> None:
        """Hand over memory for the directions of this client's role."""
        directions = self.hello.role.gives + self.hello.role.takes
        fds = [create_memory(SLOTS, SLOT_BYTES) for _ in range(directions)]
        pools = [SlotPool(fd, SLOTS, SLOT_BYTES) for fd in fds]
        self._input = pools[0] if self.hello.role.gives else None
        self._output = pools[-1] if self.hello.role.takes else None
        self._wire.send(Message(MessageType.WELCOME, body=welcome(self.session, self.hello)), fds)

    def _close_memory(self) -> None:
        for pool in (self._input, self._output):
            if pool is not None:
                with contextlib.suppress(BufferError):  # the garbage collector will do it
                    pool.close()

    def _receive(self, message: Message) -> None:
        match message.type:
            case MessageType.FRAME if self._lease is not None:
                picture = Picture(self._take(message), message.pts, message.pts, planes=self._planes_of(message))
                self._lease.offer(picture, partial(self._release, message))
            case MessageType.RESULT_RELEASE if self._output is not None:
                self._free.give_back(message.slot)
            case MessageType.PARAMETERS | MessageType.PRESET | MessageType.REPORT:
                self._serve(message)
            case MessageType.PLANE if not message.width:
                self._serve(message)
            case MessageType.PLANE | MessageType.STYLE_PICTURE if self._input is not None:
                self._take(message)
                self._serve(message)
            case _:
                raise BusError(f"a {self.hello.role} does not send {message.type.name} now")

    def _take(self, message: Message) -> np.ndarray:
        """An input slot becomes ours, its picture. Raises `BusError` when it was, or its description does not fit."""
        assert self._input is not None
        view = self._input.view(message)
        if message.slot in self._held:
            raise BusError(f"input slot {message.slot} was not the client's to fill")
        self._held.add(message.slot)
        return view

    def _planes_of(self, message: Message) -> Planes:
        """The planes beside a frame's picture. Raises `BusError` for what is none, or none that anybody knows."""
        if "planes" not in message.body:
            return NO_PLANES
        assert self._input is not None
        views, read = self._input.planes(message), self.session.planes
        for name, view in views.items():
            plane = KNOWN.get(name) or (read or {}).get(name)
            if plane is not None and plane.lifetime is Lifetime.FRAME:
                try:
                    plane.check(view)
                except ParameterError as error:
                    raise BusError(str(error)) from None
            elif plane is not None or read is not None:  # before the engine came up, nobody can say
                raise BusError(f"a frame has no plane {name}; REPORT says which it may have")
        return views

    def _release(self, message: Message) -> None:
        self._held.discard(message.slot)
        self._wire.send(Message(MessageType.RELEASE, slot=message.slot, pts=message.pts))

    async def _give_results(self) -> None:
        """Convert the newest result in a thread, one after the other."""
        while True:
            result = await self._newest.take()
            if (slot := self._free.take()) is None:
                continue
            message, views = self._result_slot(result, slot)
            await self._in_thread(fill, views, result.image, self._alpha_of(result))
            del views  # so that the memory can be closed
            self._wire.send(message)

    def _result_size(self, result: Result) -> tuple[int, int]:
        return self.hello.size or (result.image.shape[1], result.image.shape[0])

    def _alpha_of(self, result: Result) -> np.ndarray | None:
        """Its own, or that of its frame; None where there is none, or this client does not ask for it."""
        return result.planes.get(ALPHA, result.source.planes.get(ALPHA)) if self.alpha else None

    def _result_slot(self, result: Result, slot: int | None) -> tuple[Message, dict[str, np.ndarray]]:
        """The RESULT that says what is in `slot`, and where the pixels of its planes go."""
        assert self._output is not None and slot is not None
        body = {} if result.sequence else {"placeholder": True}
        fields = Message(MessageType.RESULT, sequence=result.sequence, pts=result.source.given_pts, body=body)
        size, pixel_format = self._result_size(result), self.hello.pixel_format
        apart = pixel_format is PixelFormat.RGB24 and self._alpha_of(result) is not None
        message = describe(fields, slot, *size, pixel_format, {ALPHA: (PixelFormat.GRAY8, *size)} if apart else {})
        return message, {RGB: self._output.view(message), **self._output.planes(message)}

    def _serve(self, message: Message) -> None:
        if self._requests >= MOST_REQUESTS:
            raise BusError(f"more than {MOST_REQUESTS} requests without waiting for an answer")
        self._requests += 1
        self._start(self._answer(message))

    async def _answer(self, message: Message) -> None:
        try:
            body = await self._do(message)
        except (ParameterError, RunError) as error:
            refusal = error.to_wire() if isinstance(error, ParameterError) else {"text": str(error)}
            self._wire.send(Message(MessageType.ERROR, sequence=message.sequence, body=refusal))
        except Exception:
            mistake = {"text": "the daemon made a mistake; its log says more"}
            self._wire.send(Message(MessageType.ERROR, sequence=message.sequence, body=mistake))
            log.exception("%s of the client %s failed", message.type.name, self.name)
        else:
            self._wire.send(Message(MessageType.REPLY, sequence=message.sequence, body=body))
        finally:
            self._requests -= 1

    async def _do(self, message: Message) -> dict[str, Any]:
        """What a request asks for; the JSON of its answer. Raises `ParameterError`."""
        control = self.session.control
        match message.type:
            case MessageType.PARAMETERS:
                if message.body.get("style_vector") is not None:
                    raise ParameterError("style_vector", "…", "send the picture itself as PLANE style_picture")
                await control.change(message.body)
            case MessageType.PRESET:
                name = message.body.get("name")
                if not isinstance(name, str):
                    raise ParameterError("name", name, "give the name of a preset")
                values = await self._in_thread(self._presets.load, name)
                await control.change(values, message.body.get("travel"))
            case MessageType.STYLE_PICTURE:  # of clients that know no other plane
                await self._set_plane(STYLE_PICTURE, message)
            case MessageType.PLANE:
                await self._set_plane(message.body.get("name"), message)
            case MessageType.REPORT:
                presets = await self._in_thread(self._presets.names)
                return report({**self._state(), "planes": planes_json(self.session.planes)}, presets)
        return self._state()

    async def _set_plane(self, name: object, message: Message) -> None:
        """Raises `ParameterError`."""
        picture = None
        try:
            plane = session_plane(name, self.session.planes)
            if message.width:
                assert self._input is not None
                picture = await self._in_thread(plane_of, self._input.view(message), plane)
        finally:
            if message.width:
                self._release(message)
        await self.session.control.set_plane(plane.name, picture)

    async def _send_events(self) -> None:
        """The state, at each change and every half second."""
        news = asyncio.Event()
        end_listening = self.session.control.listen(news.set)
        try:
            while not self.session.closed:
                self._wire.send(Message(MessageType.EVENT, body=self._state()))
                await asyncio.sleep(EVENT_PAUSE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVENT_EVERY):
                        await news.wait()
                news.clear()
            self._wire.close()
        finally:
            end_listening()

    def _state(self) -> dict[str, Any]:
        return event(self.session, self._notice(), self._page())

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Shielded: memory that a thread works on must not go away, so that a cancelled task waits for the thread."""
        working = self._loop.run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.gather(working, return_exceptions=True)
            raise

    def _start(self, work: Any) -> None:
        task = background.start(work, f"the frame bus's client {self.name}", self._wire.close)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def quick(image: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a change of format alone is done (some hundredths of a millisecond) sooner than a thread is woken."""
    height, width = image.shape[:2]
    return (width, height) == size and width * height <= QUICK_AREA


def fill(views: Mapping[str, np.ndarray], image: np.ndarray, alpha: np.ndarray | None) -> None:
    """Fill a slot's RGB or BGRA picture of any size, and its alpha where it has one, with an RGB picture and alpha."""
    target = views[RGB]
    height, width, channels = target.shape
    if channels == 4:
        cv2.cvtColor(fit_image(image, width, height), cv2.COLOR_RGB2BGRA, dst=target)
    else:
        fit_image(image, width, height, out=target)
    if alpha is not None:
        np.copyto(views[ALPHA] if ALPHA in views else target[..., 3], fit_image(alpha, width, height))


def plane_of(image: np.ndarray, plane: Plane) -> np.ndarray:
    """A copy of a picture in a slot as pixels of `plane`, small enough for one. Raises `ParameterError`."""
    if image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    plane.check(image)
    small = shrunk(image, plane)
    return small.copy() if small is image else small
