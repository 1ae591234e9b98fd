"""`driftcam serve` as a process, and `driftcam ctl` beside it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftcam.daemon.cli import main
from tests.daemon import standin
from tests.daemon.conftest import ROOT, read_clip

CONFIG = f"""
[engine]
implementation = "{standin.NAME}"
[live]
source = "test"
size = "128x64"
[live.parameters]
strength = 0.5
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Served:
    """A daemon in a home of its own."""

    process: subprocess.Popen
    home: Path
    url: str
    environ: dict[str, str]

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def ctl(self, *arguments: str) -> Said:
        return in_process("ctl", "--url", self.url, *arguments)

    def state(self) -> dict:
        return json.loads(self.get("/api/state"))

    def get(self, path: str, headers: dict[str, str] | None = None) -> str:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, headers=headers or {}), timeout=20
        ) as answer:
            return answer.read().decode()

    def until(self, condition: Callable[[], object], timeout: float = 60.0) -> None:
        """Wait for `condition`, which may fail to connect; the daemon must live meanwhile."""
        end = time.monotonic() + timeout
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if condition():
                    return
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)


@dataclass
class Said:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def in_process(*arguments: str) -> Said:
    """A command that needs no home of its own: much quicker than a process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(arguments)
    return Said(status, out.getvalue(), err.getvalue())


def driftcam(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from driftcam.daemon.cli import main; raise SystemExit(main())", *arguments]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=90)


def home_of(folder: Path) -> dict[str, str]:
    """The environment of a user whose home is `folder`."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DRIFTCAM_"))}
    return environ | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(runtime)}


@contextlib.contextmanager
def serving(folder: Path, config: str = CONFIG, *flags: str) -> Iterator[Served]:
    """Until its engine is ready and a result is there."""
    environ, port = home_of(folder), free_port()
    path = folder / ".config" / "driftcam" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(config)
    command = [sys.executable, "-c", "from driftcam.daemon.cli import main; raise SystemExit(main())", "serve"]
    with (folder / "log").open("w") as log:
        command += ["--listen", f"127.0.0.1:{port}", *flags]
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=log, stdout=log)
    served = Served(process, folder, f"http://127.0.0.1:{port}", environ)
    try:
        yield served
    finally:
        process.terminate()
        try:
            assert process.wait(20) == 0, served.log
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        served.until(lambda: served.state()["delivered"] > 0)
        yield served


def test_status_says_what_it_is_doing(served: Served) -> None:
    said = served.ctl("status").stdout
    for words in ("engine     ready", "source     test", "strength=0.5", "128x64"):
        assert words in said
    assert json.loads(served.ctl("status", "--json").stdout)["engine"] == "ready"


def test_ctl_changes_the_look(served: Served) -> None:
    assert served.ctl("set", "strength=0.25", "style-image-weight=0.5").returncode == 0
    assert served.state()["parameters"]["strength"] == 0.25
    served.ctl("style", "weave:3,dusk")
    assert served.state()["parameters"]["styles"] == [["weave", 0.75], ["dusk", 0.25]]
    served.ctl("prompt", "a", "great", "wave")
    assert served.state()["parameters"]["styles"][0][0] == "great-wave"
    served.ctl("style-image", str(ROOT / "tests" / "data" / "astronaut.jpg"))
    assert served.state()["parameters"]["style_picture"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["set", "strength=9"], "strength: 9 cannot be used; give a number from 0 to 1"),
        (["set", "strenth=0.9"], "did you mean strength"),
        (["set", "strength"], "write NAME=VALUE"),
        (["style", "stary-night"], "did you mean starry-night"),
        (["prompt", "zzzz"], "no word fits"),
        (["preset", "load", "none"], "there is no 'none'"),
        (["preset", "save", "../x"], "give up to 64 letters"),
        (["preset", "load"], "driftcam ctl preset load NAME"),
        (["snapshot", "x.gif"], ".png or .jpg"),
        (["record", "stop"], "is not being recorded"),
        (["style-image", "/none.jpg"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(served: Served, arguments: list[str], words: str) -> None:
    said = served.ctl(*arguments)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert words in said.stderr


def test_presets_come_back(served: Served) -> None:
    served.ctl("set", "strength=0.125")
    assert served.ctl("preset", "save", "late night").returncode == 0
    served.ctl("set", "strength=1")
    assert served.ctl("preset", "list").stdout == "late night\n"
    served.ctl("preset", "load", "late night")
    assert served.state()["parameters"]["strength"] == 0.125
    served.ctl("set", "strength=1")
    assert served.ctl("preset", "load", "late night", "--travel", "1.5").returncode == 0
    parameters = served.state()["parameters"]
    assert (parameters["strength"], parameters["travel"]) == (0.125, 0)
    for verb, advice in (("load", "travel"), ("save", "preset load NAME --travel S")):
        refused = served.ctl("preset", verb, "late night", "--travel", "soon")
        assert refused.returncode != 0 and advice in refused.stderr
    served.ctl("preset", "delete", "late night")
    assert served.ctl("preset", "list").stdout == ""


def test_snapshot_and_recording_are_files_that_open(served: Served, tmp_path: Path) -> None:
    assert served.ctl("snapshot", str(tmp_path / "a.png")).returncode == 0
    assert cv2.imread(str(tmp_path / "a.png")).shape == (64, 128, 3)
    path = Path(served.ctl("record", "start").stdout.partition(": ")[0])
    assert path.parent == served.home / "Videos" / "Driftcam"
    served.until(lambda: "recording" in served.ctl("status").stdout)
    served.until(lambda: served.state()["recording"]["frames"] >= 3)
    assert served.ctl("record", "stop").returncode == 0
    assert len(read_clip(path)) >= 3


def test_the_engine_is_started_again_and_the_log_says_so(served: Served) -> None:
    served.ctl("restart-engine")
    served.until(lambda: json.loads(served.get("/api/engine"))["restarts"] >= 1)
    served.until(lambda: served.state()["engine"] == "ready")
    assert "starting it again" in served.ctl("logs").stdout


def test_sessions_and_top(served: Served) -> None:
    assert re.match(r"live +[\d.]+ fps", served.ctl("sessions").stdout)
    seen = in_process("top", "--url", served.url, "--once").stdout
    for words in ("engine", "live", "stages", "frame"):
        assert words in seen


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.until(lambda: served.state()["engine"] == "ready")
    families = {family.name: family for family in text_string_to_metric_families(served.get("/metrics"))}
    for name in ("in", "out", "dropped", "gated", "repeated"):
        assert families[f"driftcam_frames_{name}"].type == "counter"
    for name in ("glass_to_glass", "stage", "event_loop_lag"):
        assert families[f"driftcam_{name}_seconds"].type == "histogram"
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    live = ("session", "live")
    assert values["driftcam_frames_out_total", live] >= values["driftcam_glass_to_glass_seconds_count", live] > 0
    assert values["driftcam_frames_in_total", live] > 0
    assert values[("driftcam_engine_state", ("state", "ready"))] == 1
    for name in ("process_resident_memory_bytes", "driftcam_engine_process_resident_memory_bytes"):
        assert 1e6 < values[(name,)] < 1e10
    assert values["driftcam_queue_depth", ("queue", "engine"), live] <= 3
    stage = ("stage", "frame")
    up_to = [values["driftcam_engine_stage_seconds_bucket", ("le", le), live, stage] for le in ("0.001", "+Inf")]
    assert up_to[1] == up_to[0] + 1 == values["driftcam_engine_stage_seconds_count", live, stage]


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.until(lambda: served.state()["delivered"] > 0)
        path = tmp_path / ".config" / "driftcam" / "config.toml"

        def reload(text: str) -> None:
            path.write_text(text)
            served.process.send_signal(signal.SIGHUP)

        reload(CONFIG.replace("0.5", "0.75").replace("128x64", "64x64") + "[bus]\nenabled = false")
        served.until(lambda: served.state()["parameters"]["strength"] == 0.75)
        served.until(lambda: served.state()["parameters"]["width"] == 64)
        served.until(lambda: "takes effect with the next start: bus.enabled" in served.log)
        reload(CONFIG.replace("0.5", "7"))
        served.until(lambda: "line 8: live.parameters.strength: 7 cannot be used" in served.log)
        reload(CONFIG.replace('source = "test"', 'source = "test'))
        served.until(lambda: "line 5, column" in served.log)
        assert served.state()["parameters"]["strength"] == 0.75
        delivered = served.state()["delivered"]
        served.until(lambda: served.state()["delivered"] > delivered)
        reload(CONFIG.replace('source = "test"', 'source = "clip:/none.mp4"'))
        served.until(lambda: any("/none.mp4" in line for line in served.state()["notices"]))
        reload(CONFIG)
        delivered = served.state()["delivered"]
        served.until(lambda: served.state()["delivered"] > delivered)


def test_beyond_this_machine_there_is_a_token(tmp_path: Path) -> None:
    with serving(tmp_path, CONFIG + "[server]\ntoken = true") as served:
        token_file = tmp_path / ".local" / "state" / "driftcam" / "token"
        served.until(lambda: served.get("/healthz"))
        assert token_file.stat().st_mode & 0o777 == 0o600
        token = token_file.read_text().strip()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            served.get("/api/state")
        assert served.get("/api/state", {"Authorization": f"Bearer {token}"})
        assert "token" in served.ctl("status").stderr
        assert "engine" in served.ctl("--token-file", str(token_file), "status").stdout
        assert token not in served.log


def test_ctl_finds_a_daemon_beyond_loopback_by_its_configuration(tmp_path: Path) -> None:
    """HTTPS with a certificate of its own, the token from its file: nothing has to be said."""
    port = free_port()
    listen = f"0.0.0.0:{port}"
    with serving(tmp_path, CONFIG + f"[server]\nlisten = '{listen}'", "--listen", listen) as served:
        served.url = f"https://127.0.0.1:{port}"
        said: list[str] = []

        def there() -> bool:
            said[:] = [driftcam(served.environ, "ctl", "status").stdout]
            return "engine     ready" in said[0]

        served.until(there)


def test_a_daemon_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    environ = home_of(tmp_path) | {"DRIFTCAM_SERVER__LISTEN": f"127.0.0.1:{free_port()}"}
    for arguments in (["ctl", "status"], ["top", "--once"]):
        said = driftcam(environ, *arguments)
        assert said.returncode == 2
        assert re.fullmatch(r"driftcam: no daemon answers at \S+; start it: driftcam serve, .*\n", said.stderr)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[live]\nsource = 'webcm'", "line 2: live.source: 'webcm' cannot be used"),
        ("[server]\ntls_cert = '/none.pem'\ntls_key = '/none.pem'", "server.tls_cert: '/none.pem' cannot be used"),
    ],
)
def test_a_daemon_that_cannot_start_says_why(tmp_path: Path, text: str, words: str) -> None:
    assert words in cannot_start(tmp_path, text)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        assert "choose another address or port" in cannot_start(tmp_path, f"[server]\nlisten = '{listen}'")


def cannot_start(folder: Path, text: str) -> str:
    """What is said then."""
    (folder / "config.toml").write_text(f"{text}\n[engine]\nimplementation = '{standin.NAME}'\n")
    said = driftcam(home_of(folder), "serve", "--config", str(folder / "config.toml"))
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    return said.stderr


def test_config_check_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    assert main(["config", "check", "--config", str(path)]) == 0
    assert main(["config", "show", "--config", str(path), "--set", "server.viewers=3"]) == 0
    shown = capsys.readouterr().out
    assert "viewers = 3" in shown
    path.write_text(shown.partition("\n")[2])
    assert main(["config", "check", "--config", str(path)]) == 0, "what is shown is a configuration"
    path.write_text("[engine]\nstart = 0\nanswer = 'x'")
    assert main(["config", "check", "--config", str(path)]) == 2
    assert capsys.readouterr().err.count(f"driftcam: {path}: line ") == 2
