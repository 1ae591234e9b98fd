"""Where people run it: odd terminals, pipes, folders and users. Each command is a process of its own."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from driftcam.daemon.commands import progress
from driftcam.daemon.commands.doctor import PLAIN, table
from driftcam.daemon.config.config import Config
from driftcam.daemon.config.folders import config_file, home_folder
from driftcam.daemon.run import Options, Progress, run_async
from driftcam.daemon.service import units
from driftcam.daemon.sources.clip import ClipSource
from driftcam.daemon.terminal import INTERRUPTED, speaks
from driftcam.engines.api import Parameters
from driftcam.engines.api.findings import Finding
from tests.daemon import standin
from tests.daemon.conftest import ROOT, write_clip

COMMAND = [sys.executable, "-P", "-c", "import sys; from driftcam.daemon.cli import main; sys.exit(main())"]
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def driftcam(*words: str, before: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Through a shell, as people do; `before` the command stands there, behind it its redirections."""
    line = f'{before} exec "$@" {more.pop("behind", "")}'
    order = ["sh", "-c", line, "sh", *COMMAND, *words]
    return subprocess.run(order, capture_output=True, text=True, timeout=120, env={**ENVIRON, **more})


def test_who_reads_only_the_beginning_of_a_list_sees_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "styles"], stdout=write, stderr=subprocess.PIPE, text=True, env=ENVIRON)
    os.close(write)
    assert done.returncode == 141 and done.stderr == ""


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    done = driftcam("styles", behind=">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "driftcam: standard output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    assert driftcam("styles", behind=closed).returncode == 0
    assert driftcam("config", "check", "--config", "/none/at-all.toml", behind=closed).returncode in (0, 2)


def test_with_a_closed_stderr_its_words_do_not_go_into_the_file_that_is_written(tmp_path: Path) -> None:
    code = "from driftcam.daemon import terminal; import sys, os\n"
    code += "f = lambda: os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b'film') and "
    code += "(print('words', file=sys.stderr), 0)[1]\nsys.exit(terminal.run(f))"
    path = tmp_path / "film"
    order = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-P", "-c", code, str(path)]
    assert subprocess.run(order, env=ENVIRON, timeout=60).returncode == 0
    assert path.read_bytes() == b"film"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminals_without_the_letters_get_others(encoding: str) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert not speaks("✓", ascii_only) and speaks("yes", ascii_only)
    found = [Finding("thing", state, "as it is", "do so") for state in ("good", "absent", "bad")]
    plain = table(found, PLAIN, "->")
    plain.encode(encoding)
    assert [line[0] for line in plain.splitlines()[::2]] == ["+", "-", "!"]
    drawn = progress.bar(Progress(5, 10, 25.0), 1.0, "#.")
    drawn.encode(encoding)
    code = "import sys; from driftcam.daemon import terminal; sys.exit(terminal.run(lambda: print('✓ ü') or 0))"
    order = [sys.executable, "-P", "-c", code]
    done = subprocess.run(order, capture_output=True, timeout=60, env={**ENVIRON, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout.startswith(b"? ")


def test_following_the_log_ends_quietly_with_ctrl_c() -> None:
    class Log(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps([{"time": 1.0, "level": "INFO", "text": "a line"}]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Log) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # A suite that was started in the background has its processes ignore the signal.
        order = ["env", "--default-signal=INT", *COMMAND]
        order += ["ctl", "--url", f"http://127.0.0.1:{server.server_port}", "logs", "-f"]
        following = subprocess.Popen(order, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRON)
        assert following.stdout is not None
        assert "a line" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=30)
        server.shutdown()
    assert following.returncode in (0, INTERRUPTED) and said == ""


def test_a_working_folder_that_is_gone_is_said_and_left(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = driftcam("styles", before=f"cd {gone} && rmdir {gone} &&")
    assert done.returncode == 0 and "the working folder is gone" in done.stderr and "dusk" in done.stdout


def test_a_user_without_a_home_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number without an account, as containers have."""

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "DRIFTCAM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert home_folder() == Path("/nonexistent") and home_folder() in config_file().parents
    assert Config().server.token_file.is_absolute()
    from driftcam.engines.backends.folders import cache_folder

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().parent == Path("/nonexistent")


def test_kernels_are_compiled_where_they_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import caching

    from driftcam.engines import kernels

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(kernels, "problem", "")
    double = kernels.njit(nogil=True)(lambda x: 2 * x)
    assert double(21) == 42 and kernels.problem
    from driftcam.engines.doctor import facts

    assert facts.kernels().state == "bad" and "NUMBA_CACHE_DIR" in facts.kernels().advice


def test_every_kernel_is_one_of_those() -> None:
    straight = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "engines").rglob("*.py")
        if path.name != "kernels.py" and "from numba" in path.read_text()
    ]
    assert straight == []


def test_the_doctor_looks_at_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from driftcam.engines.doctor import facts

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert facts.cache().state == "good" and not (tmp_path / "new").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert facts.cache().state == "bad"


def test_the_working_folder_is_nobodys_library(tmp_path: Path) -> None:
    """A `token.py`, `engines/` or `driftcam/` there is not run."""
    for name in ("token.py", "json.py", "engines/__init__.py", "driftcam/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)")
    for words in (["styles"], ["engine", "list"]):
        assert driftcam(*words, before=f"cd {tmp_path} &&", XDG_CACHE_HOME=str(tmp_path)).returncode == 0
    assert not (tmp_path / "ran").exists()
    for path in (*(ROOT / "daemon").rglob("*.py"), *(ROOT / "engines").rglob("*.py")):
        text = path.read_text()
        assert text.count('"-m"') == text.count('"-P"'), f"{path}: python -m looks into the working folder, unless -P"


@pytest.mark.parametrize("name", ["take:2.mp4", "http:clip.mp4", "50%d.mp4", "a b?c=d.mp4"])
def test_a_clip_may_be_called_as_it_likes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, str(tmp_path / name)):
        source = ClipSource(path, lambda line: None)
        assert source.info.width > 0
        source.close()


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/opt/driftcam/bin/driftcam", "/opt/driftcam/bin/driftcam"),
        ("/opt/my tools/driftcam", '"/opt/my tools/driftcam"'),
        ("/opt/50%/driftcam", "/opt/50%%/driftcam"),
        ("/opt/a\"b'c/driftcam", '"/opt/a\\"b\'c/driftcam"'),
    ],
)
def test_a_unit_finds_its_program_wherever_it_is(path: str, word: str) -> None:
    assert units.quoted(Path(path)) == word


def test_a_size_may_be_a_number() -> None:
    assert Config.model_validate({"live": {"size": 384}}).live.size == "384"
    with pytest.raises(ValueError, match="size"):
        Config.model_validate({"live": {"size": True}})


async def test_a_live_run_of_so_many_frames_writes_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly the next ones come."""
    from driftcam.daemon import run

    offered = []

    class Counting:
        name = "counting"

        async def room(self) -> None: ...

        def offer(self, result: object) -> bool:
            offered.append(result)
            return True

        async def close(self) -> None: ...

    monkeypatch.setattr(run, "open_sink", lambda *a, **k: Counting())
    close_sinks = run._Run._close_sinks

    async def late(self) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(0.5)
        await close_sinks(self)

    monkeypatch.setattr(run._Run, "_close_sinks", late)
    options = Options("test", ("virtualcam",), Parameters(width=64, height=64), frames=1, engine=standin.NAME)
    report = await run_async(options)
    assert len(offered) == 1 and report.frames == 1
