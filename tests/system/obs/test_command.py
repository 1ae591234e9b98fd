"""`driftcam obs` with a real OBS, and what it says where there is none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftcam.daemon.obs import install
from driftcam.daemon.obs.find import read_websocket
from tests.obs_plugin.peer import Peer
from tests.system.obs.rig import DRIFTCAM, ROOT, Obs, poll
from tests.system.obs.scenes import add_colour, add_filter

pytestmark = pytest.mark.serial


@pytest.fixture
def peer(obs: Obs) -> Iterator[Peer]:
    peer = Peer(obs.home / "runtime" / "driftcam" / "bus.sock")
    yield peer
    peer.close()


def driftcam(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`driftcam obs …` as a user of `environment`."""
    command = [*DRIFTCAM, "obs", *arguments]
    return subprocess.run(
        command,
        env={"PYTHONPATH": os.environ["PYTHONPATH"], **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def stranger(home: Path, *, programs: Path | None = None) -> dict[str, str]:
    """A user who has nothing yet."""
    path = f"{programs}:/usr/bin:/bin" if programs else "/nowhere"
    return {"HOME": str(home), "PATH": path, "XDG_RUNTIME_DIR": str(home)}


def test_setup_status_and_uninstall_in_a_running_obs(obs: Obs, scene: str, peer: Peer) -> None:
    add_colour(obs, scene, "camera", (255, 0, 0))
    for word in ("now", "already"):
        done = driftcam(obs.environment, "setup", "--source", "camera", "--style", "swap", "--scene", "Painted")
        assert done.returncode == 0, done.stderr
        assert f"the filter is {word} on 'camera'" in done.stdout
    poll(lambda: obs.colour("camera")[:3] == (0, 0, 255), "the stylised camera")
    items = obs.remote.call("GetSceneItemList", sceneName="Painted")["sceneItems"]
    assert [item["sourceName"] for item in items] == ["Driftcam Output"]
    poll(lambda: "connected" in driftcam(obs.environment, "status").stdout, "the connection in the status")

    config = Path(obs.environment["XDG_CONFIG_HOME"]) / "obs-studio"
    kept = obs.home / "kept"
    os.rename(install.plugin_folder(config), kept)  # the running OBS stays as it is
    try:
        done = driftcam(obs.environment, "status")
        assert "plugin: not installed" in done.stdout
    finally:
        os.rename(kept, install.plugin_folder(config))

    done = driftcam(obs.environment, "uninstall", "--scene", "Painted")
    assert done.returncode == 0 and "removed the filter 'Driftcam' from 'camera'" in done.stdout
    assert not install.plugin_folder(config).exists()
    poll(lambda: obs.colour("camera")[:3] == (255, 0, 0), "the camera as it was")
    names = [entry["sceneName"] for entry in obs.remote.call("GetSceneList")["scenes"]]
    assert "Painted" not in names
    install.install(config, install.BUILT)


def test_the_virtual_camera_is_started_or_its_absence_told(obs: Obs, scene: str) -> None:
    done = driftcam(obs.environment, "setup", "--virtual-camera", "--scene", scene)
    assert done.returncode == 0, done.stderr
    if obs.remote.call("GetOutputList")["outputs"] and "is on" in done.stdout:
        obs.remote.call("StopVirtualCam")
    else:
        assert "install v4l2loopback" in done.stdout


def test_follow_applies_a_preset_per_scene_and_sends_numbers(obs: Obs, scene: str, peer: Peer) -> None:
    events: list[dict] = []
    obs.remote.listen(lambda name, data: events.append(data) if name == "CustomEvent" else None)
    add_colour(obs, scene, "camera", (255, 0, 0))
    add_filter(obs, "camera", style="swap")
    poll(lambda: obs.colour("camera")[:3] == (0, 0, 255), "the style of the settings")
    obs.remote.call("SetCurrentProgramScene", sceneName="Scene")
    command = [*DRIFTCAM, "obs", "follow", "--scene", f"{scene}=negative", "--stats", "0.1"]
    following = subprocess.Popen(
        command,
        env={**obs.environment, "PYTHONPATH": os.environ["PYTHONPATH"]},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        poll(lambda: events, "numbers")
        assert events[-1]["driftcam"]["streams"][0]["source"] == "camera"
        obs.remote.call("SetCurrentProgramScene", sceneName=scene)
        poll(lambda: obs.colour("camera")[:3] == (0, 255, 255), "the preset of the scene")
    finally:
        following.send_signal(signal.SIGINT)
        output, _ = following.communicate(timeout=20)
    assert following.returncode == 0
    assert f"{scene}: preset negative on camera" in output


def test_a_wrong_password_and_a_missing_source_are_told(obs: Obs, scene: str) -> None:
    file = obs.home / "password"
    file.write_text("wrong\n")
    done = driftcam(obs.environment, "status", "--password-file", str(file))
    assert done.returncode == 2 and "OBS refused the password" in done.stderr
    file.write_text(obs.password + "\n")
    assert driftcam(obs.environment, "status", "--password-file", str(file)).returncode == 0
    done = driftcam(obs.environment, "setup", "--source", "nobody", "--scene", scene)
    assert done.returncode == 2 and "there is no source 'nobody' in OBS" in done.stderr
    done = driftcam(obs.environment, "follow", "--scene", "no preset")
    assert done.returncode == 2 and "SCENE=PRESET" in done.stderr


def test_no_obs_a_flatpak_an_old_one_and_a_closed_one_are_told_apart(tmp_path: Path, plugins: Path) -> None:
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    done = driftcam(stranger(home), "setup")
    assert done.returncode == 2 and "OBS is not installed here" in done.stderr
    flatpak = home / ".local/share/flatpak/app/com.obsproject.Studio"
    flatpak.mkdir(parents=True)
    assert "installed as a Flatpak" in driftcam(stranger(home), "status").stderr
    old = programs / "obs"
    old.write_text("#!/bin/sh\necho 'OBS Studio - 27.2.4'\n")
    old.chmod(0o755)
    assert "this is OBS 27.2.4; the plugin needs 29.0" in driftcam(stranger(home, programs=programs), "setup").stderr
    old.unlink()
    password = tmp_path / "password"
    password.write_text("x")
    closed = driftcam(stranger(home, programs=programs), "setup", "--password-file", str(password), "--port", "9")
    assert closed.returncode == 2 and "nothing answers at 127.0.0.1:9" in closed.stderr
    assert (home / ".config/obs-studio/plugins/driftcam/bin/64bit/driftcam.so").is_file(), "installed all the same"
    assert "password is not known" in driftcam(stranger(home, programs=programs), "status").stderr
    assert "the plugin is removed" in driftcam(stranger(home, programs=programs), "uninstall").stdout


def test_a_release_archive_is_installed(tmp_path: Path, plugins: Path) -> None:
    archive = next(plugins.parent.glob("driftcam-obs-*.tar.gz"))
    with tarfile.open(archive) as contents:
        assert {"driftcam/bin/64bit/driftcam.so", "driftcam/LICENSE", "driftcam/data/driftcam.effect"} <= set(
            contents.getnames()
        )
    assert install.install(tmp_path, archive)
    assert not install.install(tmp_path, archive), "the second time there is nothing to do"
    (install.plugin_folder(tmp_path) / "data" / "driftcam.effect").write_text("damaged")
    assert install.install(tmp_path, archive)
    with pytest.raises(Exception, match="no release archive"):
        install.install(tmp_path, Path(__file__))
    with pytest.raises(Exception, match="make obs-plugin"):
        install.install(tmp_path, tmp_path)


def test_the_websockets_settings_of_old_and_new_obs_are_read(tmp_path: Path) -> None:
    assert read_websocket(tmp_path) is None
    (tmp_path / "global.ini").write_text(
        "\ufeff[General]\nA=%1\n[OBSWebSocket]\nServerEnabled=true\nServerPort=4460\nAuthRequired=true\nServerPassword=p%w\n"
    )
    old = read_websocket(tmp_path)
    assert old is not None and (old.enabled, old.port, old.password) == (True, 4460, "p%w")
    folder = tmp_path / "plugin_config" / "obs-websocket"
    folder.mkdir(parents=True)
    values = {"server_enabled": True, "server_port": 4461, "auth_required": False, "server_password": "unused"}
    (folder / "config.json").write_text(json.dumps(values))
    new = read_websocket(tmp_path)
    assert new is not None and (new.port, new.password) == (4461, "")


def test_without_a_makefile_the_commands_that_build_the_plugin_are_told() -> None:
    assert install.build_command(checkout=True) == "make obs-plugin"
    words = install.build_command(checkout=False).split()
    assert words[:2] == ["cmake", "-S"] and (Path(words[2]) / "CMakeLists.txt").is_file()
    assert words[5] == f"-DCMAKE_INSTALL_PREFIX={install.BUILT.parent}"
