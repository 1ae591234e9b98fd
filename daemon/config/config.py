"""The configuration of `driftcam serve`: typed, checked, with a default for everything.

Flags win over the environment (`DRIFTCAM_SECTION__FIELD`), which wins over the file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftcam.daemon.admission import Limits
from driftcam.daemon.changes import changed
from driftcam.daemon.config.folders import home_folder, recordings_folder, state_folder
from driftcam.daemon.config.specs import is_loopback, parse_address, parse_model_size, parse_sink, parse_source
from driftcam.daemon.midi_message import parse_map
from driftcam.engines.api import ParameterError, Parameters
from driftcam.engines.api.engine_options import EngineOptions
from driftcam.engines.api.model_files import ModelFiles, parse_loras
from driftcam.webrtc.settings import Bitrates, IceServer, SettingError, Settings

ENVIRONMENT = "DRIFTCAM_"
Positive = Annotated[float, Field(gt=0, le=3600)]


def _as_given(parse: Callable[[Any], Any]) -> AfterValidator:
    """Checks a value with `parse`, which raises `ParameterError`, and keeps it as it was written."""

    def check(given: Any) -> Any:
        parse(given)
        return given

    return AfterValidator(check)


def _as_text(given: Any) -> Any:
    """`size = 384` is as good as `size = "384"`."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _absolute(path: Path) -> Path:
    if path.parts[:1] == ("~",):
        path = home_folder().joinpath(*path.parts[1:])
    return path.absolute()


FilePath = Annotated[Path, AfterValidator(_absolute)]


def _device_sink(text: str) -> None:
    """Raises `ParameterError` for sinks that only make sense in a run of its own."""
    kind = parse_sink(text).kind
    advice = {
        "file": "a daemon writes no file without end: use driftcam ctl record",
        "page": "the page is always there",
    }
    if kind in advice:
        raise ParameterError("sink", text, advice[kind])


class Section(BaseModel):
    """Nothing unknown is let in; a configuration does not change, another one replaces it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """The HTTP server: page, API, metrics.

    Attributes:
        listen: HOST:PORT. Beyond this machine itself a token is needed for everything.
        token: ask for the token on this machine too.
        token_file: made with a new token when it is needed and not there.
        hosts: names by which browsers may reach this machine; addresses and localhost always work.
        tls: auto: HTTPS with tls_cert, or beyond this machine with a certificate that is made when it is needed,
            as browsers give their camera only to HTTPS or this machine. off: HTTP, for example behind a proxy.
        tls_cert, tls_key: PEM files; both or neither.
        requests_per_second: of one client, on average; twice as many at once.
        viewers: open streams and sockets, of all clients.
    """

    listen: Annotated[str, _as_given(parse_address)] = "127.0.0.1:8900"
    token: bool = False
    token_file: FilePath = Field(default_factory=lambda: state_folder() / "token")
    hosts: tuple[str, ...] = ()
    tls: Literal["auto", "off"] = "auto"
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None
    requests_per_second: Annotated[float, Field(ge=1, le=10_000)] = 100
    viewers: Annotated[int, Field(ge=1, le=1000)] = 16

    @model_validator(mode="after")
    def _check_tls(self) -> Server:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or neither")
        return self

    @property
    def needs_token(self) -> bool:
        """Whether a token is asked for."""
        return self.token or not self.local

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(parse_address(self.listen)[0])

    @property
    def speaks_tls(self) -> bool:
        """Whether it is reached by https."""
        return self.tls != "off" and (self.tls_cert is not None or not self.local)


class Live(Section):
    """The session that is there from the start.

    Attributes:
        source: as after `driftcam run --source`; empty waits for a browser, OBS or another program.
        sinks: devices, as after `driftcam run --sink`; the page is always there.
        size: N or WIDTHxHEIGHT of the model's picture; auto is the largest that this machine runs at 20 frames a
            second, in the shape of the source.
        style_image: a picture whose style is used.
        parameters: any parameter and its first value, and `prompt`.
    """

    source: Annotated[str, _as_given(lambda text: text and parse_source(text))] = ""
    sinks: tuple[Annotated[str, _as_given(_device_sink)], ...] = ()
    size: Annotated[str, BeforeValidator(_as_text), _as_given(parse_model_size)] = "auto"
    style_image: FilePath | None = None
    parameters: Annotated[dict[str, Any], _as_given(lambda given: given and changed(Parameters(), given))] = {}

    def first_parameters(self) -> Parameters:
        """What the session starts with, but for the size."""
        return changed(Parameters(), self.parameters) if self.parameters else Parameters()


class EngineSection(Section):
    """The engine process.

    Attributes:
        weights: folder of a Stable Diffusion checkpoint in the layout of diffusers; without it the embedded model.
        vae: folder of another autoencoder for the checkpoint, such as TAESD.
        loras: PATH or PATH:WEIGHT each, for the checkpoint.
        solver: see `ModelFiles`.
        pipeline, backend, device, precision: see `EngineOptions`.
        implementation: MODULE:CLASS of another engine; empty is the embedded one.
        start, answer: seconds that it may take to start (a large network is first compiled for a graphics card, which
            takes minutes), and to deal with a frame, before it is started again.
        spare: a process waits with its libraries loaded, from which the next engine is forked when one ends.
    """

    weights: FilePath | None = None
    vae: FilePath | None = None
    loras: Annotated[list[str], _as_given(parse_loras)] = []
    solver: str = ModelFiles.solver
    pipeline: str = EngineOptions.pipeline
    backend: str = EngineOptions.backend
    device: int = EngineOptions.device
    precision: str = EngineOptions.precision
    implementation: Annotated[str, Field(pattern=r"^$|^[\w.]+:\w+$")] = ""
    start: Positive = 600
    answer: Positive = 30
    spare: bool = True

    @model_validator(mode="after")
    def _check(self) -> EngineSection:
        self.options()
        return self

    def options(self) -> EngineOptions:
        """What the engine process is told. Raises `ParameterError`."""
        model = ModelFiles(self.weights, self.vae, parse_loras(self.loras), self.solver)
        return EngineOptions(model, self.pipeline, self.backend, self.device, self.precision)

    @property
    def kind(self) -> str | None:
        """Which of the models of `engines.api.fields` that is; None for an implementation of somebody else."""
        return None if self.implementation else self.options().model.kind


class SessionsSection(Section):
    """Several sessions at once: those of browsers, OBS and other programs beside the live one.

    Attributes:
        most: at once; a further one is refused.
        least_fps: what each must be able to get, or a further one is refused.
    """

    most: Annotated[int, Field(ge=1, le=64)] = Limits.most
    least_fps: Annotated[float, Field(ge=0, le=60)] = Limits.least_fps


class Bus(Section):
    """The frame bus for other programs on this machine.

    Attributes:
        enabled: listen at all.
    """

    enabled: bool = True


class Osc(Section):
    """Open Sound Control, for light desks, music programs and tablets.

    Attributes:
        listen: HOST:PORT (UDP); empty does not listen. It has no password.
        feedback: HOST:PORT that is told of every value; empty tells nobody.
    """

    listen: Annotated[str, _as_given(lambda text: text and parse_address(text))] = ""
    feedback: Annotated[str, _as_given(lambda text: text and parse_address(text))] = ""


class Midi(Section):
    """MIDI controllers at this machine.

    Attributes:
        ports: parts of the names of those that are listened to and told; none listens to none.
        map: what a control (`cc 7`, `note 36 channel 10`, `program 3`) is for: a parameter, `bypass`, `beat`, or
            `preset NAME`. What is learned goes before it.
    """

    ports: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    map: Annotated[dict[str, str], _as_given(parse_map)] = {}


class IceServerSection(Section):
    """A STUN or TURN server.

    Attributes:
        urls: stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp].
        username, credential: for TURN.
    """

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = Field(default=None, repr=False)


class WebRtc(Section):
    """Browsers, WHIP and WHEP.

    Attributes:
        ice_servers: for both ends; none are needed in one network, and without any nobody outside is asked.
        codecs: the favourite first.
        start_bitrate, least_bitrate, most_bitrate: of a video, in bits per second.
        peers: most at a time.
    """

    ice_servers: tuple[IceServerSection, ...] = ()
    codecs: tuple[Literal["H264", "VP8"], ...] = ("H264", "VP8")
    start_bitrate: int = 2_000_000
    least_bitrate: int = 200_000
    most_bitrate: int = 6_000_000
    peers: int = 8

    @model_validator(mode="after")
    def _check(self) -> WebRtc:
        self.settings()
        return self

    def settings(self) -> Settings:
        """Raises `ParameterError`."""
        try:
            servers = tuple(IceServer(each.urls, each.username, each.credential) for each in self.ice_servers)
            bitrates = Bitrates(self.start_bitrate, self.least_bitrate, self.most_bitrate)
            return Settings(servers, self.codecs, bitrates, self.peers)
        except SettingError as error:
            raise ParameterError(error.field, error.value, error.advice) from None


class Recording(Section):
    """Recordings and snapshots.

    Attributes:
        folder: made when it is needed.
        name: what file names begin with.
    """

    folder: FilePath = Field(default_factory=recordings_folder)
    name: Annotated[str, Field(pattern=r"^[\w-]{1,40}$")] = "driftcam"


class Log(Section):
    """What is written to the journal, or to standard error.

    Attributes:
        level: the least that is written.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(BaseSettings):
    """All sections. `daemon.config.file.load` makes one and explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    server: Server = Field(default_factory=Server)
    live: Live = Field(default_factory=Live)
    engine: EngineSection = Field(default_factory=EngineSection)
    sessions: SessionsSection = Field(default_factory=SessionsSection)
    bus: Bus = Field(default_factory=Bus)
    osc: Osc = Field(default_factory=Osc)
    midi: Midi = Field(default_factory=Midi)
    webrtc: WebRtc = Field(default_factory=WebRtc)
    recording: Recording = Field(default_factory=Recording)
    log: Log = Field(default_factory=Log)

    @model_validator(mode="after")
    def _check_parameters(self) -> Config:
        """The first parameters are those of the model that is loaded."""
        if self.engine.kind is not None:
            self.live.first_parameters().check_model(self.engine.kind)
        return self


def differences(old: Config, new: Config) -> list[str]:
    """`section.field` of everything that is not the same."""
    return [
        f"{section}.{field}"
        for section in Config.model_fields
        for field in type(getattr(old, section)).model_fields
        if getattr(getattr(old, section), field) != getattr(getattr(new, section), field)
    ]


@functools.cache
def fields() -> Mapping[str, tuple[str, ...]]:
    """The names of the fields by section."""
    sections = ((name, info.annotation) for name, info in Config.model_fields.items())
    return {name: tuple(section.model_fields) for name, section in sections if section is not None}
