"""`driftcam serve` as a class: everything that a configuration asks for, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from driftcam.daemon.addresses import reachable
from driftcam.daemon.admission import Limits
from driftcam.daemon.bus.server import BusServer
from driftcam.daemon.config.config import Config, differences
from driftcam.daemon.config.file import ConfigError
from driftcam.daemon.config.folders import state_folder
from driftcam.daemon.config.specs import parse_address, parse_model_size, parse_sink, parse_source
from driftcam.daemon.controls import Controls
from driftcam.daemon.engine.process import worker_command
from driftcam.daemon.engine.state import Timeouts
from driftcam.daemon.errors import RunError
from driftcam.daemon.http.certificate import self_signed
from driftcam.daemon.http.server import Security
from driftcam.daemon.http.tls import tls_context
from driftcam.daemon.http.token import read_or_make
from driftcam.daemon.midi.server import MidiServer
from driftcam.daemon.midi_message import parse_map
from driftcam.daemon.osc import OscServer
from driftcam.daemon.service.logs import Logs
from driftcam.daemon.service.metrics import Metrics
from driftcam.daemon.service.pulse import Pulse
from driftcam.daemon.service.systemd import Systemd
from driftcam.daemon.session.core import Core
from driftcam.daemon.session.recordings import Recordings
from driftcam.daemon.session.retry import Retrying, RetryingSink, RetryingSource, RetryingStyle
from driftcam.daemon.session.sessions import DEFAULT
from driftcam.daemon.web import Web
from driftcam.engines.api import ParameterError, Parameters

log = logging.getLogger("driftcam")
# What a running daemon takes over from a changed configuration; the rest waits for the next start.
AT_ONCE = {
    *("live.source", "live.size", "live.sinks", "live.style_image", "live.parameters"),
    *("recording.folder", "recording.name", "log.level", "server.requests_per_second", "server.viewers"),
}

SPARE_AFTER = 2.0  # seconds of calm until a fork server is started, which takes a core for a moment


class Service:
    """Opened by `open`, then lives until `close`."""

    def __init__(self, config: Config, logs: Logs, systemd: Systemd) -> None:
        self._config, self._logs, self._systemd = config, logs, systemd
        engine = config.engine
        timeouts = Timeouts(start=engine.start, answer=engine.answer, spare=SPARE_AFTER if engine.spare else None)
        command = worker_command(engine.implementation or None, engine.options())
        limits = Limits(most=config.sessions.most, least_fps=config.sessions.least_fps)
        self.core = Core(command, notify=log.warning, timeouts=timeouts, limits=limits, model=engine.kind)
        self._retrying: list[Retrying] = []
        self._bus: BusServer | None = None
        self._osc: OscServer | None = None
        self._midi: MidiServer | None = None
        self._metrics = Metrics(self.core)
        self._pulse = Pulse(self.core, self._metrics, systemd)
        self._web = Web(
            self.core,
            Recordings(config.recording.folder, config.recording.name),
            logs.recent,
            defaults=self._first,
            settings=config.webrtc.settings(),
            unready=self._unready,
            expose=self._metrics.expose,
            viewers=config.server.viewers,
        )

    async def open(self) -> None:
        """Raises `ParameterError` or `RunError` for what cannot work; what may come later is waited for."""
        config = self._config
        self._leave_size_open(config)
        self._session = self.core.sessions.open(DEFAULT, self._first_parameters(config))
        for problem in await asyncio.to_thread(self._web.presets.damaged):
            log.warning("%s", problem)
        await self._web.open(*parse_address(config.server.listen), await asyncio.to_thread(self._security))
        for address in reachable(self.address):
            log.info("the page is at %s", address)
        if config.bus.enabled:
            self._start_bus()
        controls = Controls(self.core.sessions, self._web.presets)
        if config.osc.listen:
            await self._open_osc(config, controls)
        if config.midi.ports:
            await self._open_midi(config, controls)
        self._open_source(config)
        self._open_sinks(config)
        self._pulse.start()
        if config.live.style_image is not None:
            self._retrying.append(RetryingStyle(config.live.style_image, self._session, self.core.notify))
        self._systemd.ready()

    @property
    def address(self) -> str:
        """Of the page, from `open` on."""
        return self._web.address

    async def reload(self, load: Callable[[], Config]) -> None:
        """Take over a changed configuration; one that is wrong changes nothing and is explained."""
        self._systemd.reloading()
        try:
            new = await asyncio.to_thread(load)
            await self._take_over(new)
        except ConfigError as error:
            for problem in error.problems:
                self.core.notify(problem)
            self.core.notify("the configuration stays as it was")
        except (ParameterError, RunError) as error:
            self.core.notify(str(error))
        finally:
            self._systemd.ready()

    async def close(self) -> None:
        """Free everything; recordings are complete then."""
        self._systemd.stopping()
        async with contextlib.AsyncExitStack() as closing:  # each of them, whatever another one raises; the last first
            closing.push_async_callback(self.core.close)
            closing.push_async_callback(self._close_web)
            if self._midi is not None:
                closing.push_async_callback(self._midi.close)
            if self._osc is not None:
                closing.push_async_callback(self._osc.close)
            if self._bus is not None:
                closing.push_async_callback(self._bus.close)
            for each in self._retrying:
                closing.push_async_callback(each.close)
            closing.push_async_callback(self._pulse.close)

    async def _close_web(self) -> None:
        try:
            await self._web.close()
        except RunError as error:
            log.error("%s", error)

    async def _take_over(self, new: Config) -> None:
        changed, self._config = differences(self._config, new), new
        live, server, recording = new.live, new.server, new.recording
        self._logs.set_level(new.log.level)
        self._web.recordings.folder, self._web.recordings.name = recording.folder, recording.name
        self._web.limit(server.requests_per_second, server.viewers)
        self._leave_size_open(new)
        if {"live.source", "live.size"} & set(changed):
            await self._close(RetryingSource)
            self._open_source(new)
        if "live.size" in changed:
            await self._change_size(new)
        if "live.sinks" in changed:
            await self._close(RetryingSink)
            self._open_sinks(new)
        if "live.style_image" in changed:
            await self._close(RetryingStyle)
            if live.style_image is not None:
                self._retrying.append(RetryingStyle(live.style_image, self._session, self.core.notify))
        if "live.parameters" in changed:
            await self._session.control.change(live.parameters or Parameters().to_dict())
        log.info("the configuration was read again: %s", ", ".join(changed) or "nothing has changed")
        if later := [name for name in changed if name not in AT_ONCE]:
            self.core.notify(f"takes effect with the next start: {', '.join(later)}")

    async def _close(self, kind: type[Retrying]) -> None:
        for each in [each for each in self._retrying if isinstance(each, kind)]:
            await each.close()
            self._retrying.remove(each)

    def _open_source(self, config: Config) -> None:
        if config.live.source:
            size = parse_model_size(config.live.size)
            spec = parse_source(config.live.source)
            self._retrying.append(RetryingSource(spec, self._session, size, self.core.notify))

    def _open_sinks(self, config: Config) -> None:
        for text in config.live.sinks:
            self._retrying.append(RetryingSink(parse_sink(text), self._session, self.core.notify))

    def _start_bus(self) -> None:
        bus = BusServer(
            self.core.sessions,
            defaults=self._first,
            presets=self._web.presets,
            notice=lambda: self.core.notices[-1] if self.core.notices else "",
            page=lambda: self.address,
        )
        try:
            log.info("the frame bus is at %s", bus.start())
        except ParameterError as error:  # another daemon, or no runtime folder: everything else works without it
            self.core.notify(str(error))
            return
        self._bus = bus

    async def _open_osc(self, config: Config, controls: Controls) -> None:
        """Raises `RunError`."""
        feedback = parse_address(config.osc.feedback) if config.osc.feedback else None
        self._osc = OscServer(controls, feedback)
        log.info("OSC is at udp://%s:%d", *await self._osc.open(*parse_address(config.osc.listen)))

    async def _open_midi(self, config: Config, controls: Controls) -> None:
        """Raises `RunError`."""
        midi = MidiServer(controls, config.midi.ports, parse_map(config.midi.map), state_folder() / "midi.json")
        await midi.open()
        self._midi = self._web.context.midi = midi

    def _security(self) -> Security:
        """Raises `ParameterError`."""
        server = self._config.server
        token = read_or_make(server.token_file) if server.needs_token else None
        if token is not None:
            self._logs.hide(token)
            log.info("the token that is asked for is in %s", server.token_file)
        local = server.local
        hosts = tuple(name.lower() for name in server.hosts)
        return Security(token, local, hosts, server.requests_per_second, tls_context(*self._certificate(local)))

    def _certificate(self, local: bool) -> tuple[Path | None, Path | None]:
        """And its key, where HTTPS is spoken."""
        server = self._config.server
        if server.tls == "off":
            return None, None
        if server.tls_cert is not None or local:
            return server.tls_cert, server.tls_key
        certificate, key, fingerprint = self_signed(state_folder() / "tls", server.hosts)
        log.info("HTTPS with a certificate of our own, of which browsers warn once; SHA-256 %s", fingerprint)
        return certificate, key

    def _leave_size_open(self, config: Config) -> None:
        """Or not: sessions get the size that was written down, and else the largest that runs live."""
        written = config.live.parameters.keys() & {"width", "height"}
        self.core.sessions.auto_size = parse_model_size(config.live.size) is None and not written

    async def _change_size(self, config: Config) -> None:
        """Raises `ParameterError`."""
        if size := parse_model_size(config.live.size):
            await self._session.control.change({"width": size[0], "height": size[1]})
        elif self.core.sessions.auto_size:
            self._session.leave_size_open()
            self.core.notify(
                "live.size = auto is measured when an engine starts: driftcam ctl restart-engine does it now"
            )

    def _first(self) -> Parameters:
        return self._first_parameters(self._config)

    def _unready(self) -> str:
        if self._session.trouble:
            return self._session.trouble
        return self._pulse.trouble

    @staticmethod
    def _first_parameters(config: Config) -> Parameters:
        parameters = config.live.first_parameters()
        if size := parse_model_size(config.live.size):
            parameters = parameters.replace(width=size[0], height=size[1])
        return parameters
