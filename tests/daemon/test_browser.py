"""Sessions as streams for peers, media across origins, certificates, and the way for a phone."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import av
import cv2
import numpy as np
import pytest
import pytest_asyncio
import segno
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509

from driftcam.daemon.addresses import reachable
from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.config.config import WebRtc
from driftcam.daemon.http import certificate as certificates
from driftcam.daemon.http import thumbnails
from driftcam.daemon.http.certificate import self_signed
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.daemon.http.share import qr_code
from driftcam.daemon.http.tls import tls_context
from driftcam.daemon.session.recordings import Recordings
from driftcam.engines.api import ParameterError
from driftcam.engines.api.styles import STYLE_NAMES
from driftcam.webrtc.http import SDP, operations
from driftcam.webrtc.operation import Refused
from driftcam.webrtc.page import FOLDER as PAGE
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings
from tests.daemon.http_daemon import START, Daemon, daemon_in, until

TOKEN = "a-token-that-nobody-guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FOREIGN = {"Origin": "https://player.example"}
OUTSIDE = Security(token=TOKEN, local=False, requests_per_second=10_000)
pytestmark = pytest.mark.asyncio(loop_scope="module")
CAMERA = np.full((72, 128, 3), 40, np.uint8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    async with daemon_in(tmp_path_factory.mktemp("browser")) as daemon:
        yield daemon


async def test_a_peer_gives_frames_and_sees_the_results(daemon: Daemon) -> None:
    streams, seen = PeerStreams(daemon.core.sessions), []
    place = await streams.join("live", publishes=True)
    end = place.listen(lambda image, captured: seen.append((image, captured)))
    captured = time.monotonic_ns()
    assert place.offer(np.full((64, 128, 3), 40, np.uint8), captured)
    await until(lambda: captured in [at for _, at in seen])  # not what another camera left behind
    image = next(image for image, at in seen if at == captured)
    assert image.shape == (64, 128, 3) and abs(int(image[0, 0, 0]) - 215) < 3
    end()
    await place.leave()
    assert daemon.session.ingest.free and not any(sink.name == "browser" for sink in daemon.session.sinks)


async def test_a_recording_carries_the_microphone_of_the_peer(daemon: Daemon, tmp_path: Path) -> None:
    streams, recordings = PeerStreams(daemon.core.sessions), Recordings(tmp_path, "voice")
    place = await streams.join("live", publishes=True)
    place.offer(CAMERA, time.monotonic_ns())
    tone = np.sin(np.arange(4800) * 0.2).astype(np.float32) * np.ones((2, 1), np.float32)
    place.hear(tone, time.monotonic_ns())
    await recordings.start(daemon.session)
    for _ in range(15):
        now = time.monotonic_ns()
        place.offer(CAMERA, now)
        place.hear(tone, now)
        await asyncio.sleep(0.1)
    path = (await recordings.stop(daemon.session))["path"]
    await place.leave()
    assert daemon.session.sound is None
    with av.open(path) as container:
        loud = max(np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0))
    assert loud > 0.5


async def test_a_camera_takes_the_place_of_the_sessions_source_and_gives_it_back(daemon: Daemon) -> None:
    streams = PeerStreams(daemon.core.sessions)
    async with daemon.frames():
        place = await streams.join("live", publishes=True)
        place.offer(np.full((64, 128, 3), 40, np.uint8), time.monotonic_ns())
        await asyncio.sleep(0.3)
        done = daemon.session.delivered
        await asyncio.sleep(0.5)
        assert daemon.session.delivered == done  # the pattern is left out
        await place.leave()
        await until(lambda: daemon.session.delivered > done + 3)


async def test_the_newest_camera_counts_and_a_program_on_the_bus_is_not_pushed_aside(daemon: Daemon) -> None:
    streams = PeerStreams(daemon.core.sessions)
    first = await streams.join("live", publishes=True)
    assert first.offer(CAMERA, time.monotonic_ns())
    failed = await streams.join("live", publishes=True)
    await failed.leave()  # its negotiation came to nothing
    assert first.offer(CAMERA, time.monotonic_ns())
    second = await streams.join("live", publishes=True)
    assert second.offer(CAMERA, time.monotonic_ns()) and not first.offer(CAMERA, time.monotonic_ns())
    third = await streams.join("live", publishes=True)
    assert third.offer(CAMERA, time.monotonic_ns()) and not second.offer(CAMERA, time.monotonic_ns())
    await third.leave()
    assert second.offer(CAMERA, time.monotonic_ns()) and not first.offer(CAMERA, time.monotonic_ns())
    with pytest.raises(ParameterError, match="a camera gives it frames"):
        daemon.session.ingest.claim("OBS")
    await first.leave()
    assert second.offer(CAMERA, time.monotonic_ns())
    await second.leave()
    with daemon.session.ingest.claim("OBS"), pytest.raises(Refused, match="OBS gives it frames") as refused:
        await streams.join("live", publishes=True)
    assert refused.value.status == 409 and daemon.session.ingest.free


async def test_a_new_name_opens_a_session_that_ends_with_its_last_peer(daemon: Daemon) -> None:
    streams = PeerStreams(daemon.core.sessions, lambda: START)
    with pytest.raises(Refused, match="publish to it first"):
        await streams.join("studio", publishes=False)
    camera = await streams.join("studio", publishes=True)
    viewer = await streams.join("studio", publishes=False)
    await camera.leave()
    assert daemon.core.sessions.get("studio") is not None
    await viewer.leave()
    assert daemon.core.sessions.get("studio") is None


async def test_the_models_picture_takes_the_shape_of_the_camera(daemon: Daemon) -> None:
    streams = PeerStreams(daemon.core.sessions, lambda: START)
    place = await streams.join("portrait", publishes=True)
    session = daemon.core.sessions.get("portrait")
    assert session is not None
    await session.opened()
    place.offer(np.zeros((640, 320, 3), np.uint8), time.monotonic_ns())
    await until(lambda: session.control.parameters.width < session.control.parameters.height)
    await place.leave()


async def test_media_is_open_to_pages_of_other_origins_that_have_the_token_and_nothing_else_is(daemon: Daemon) -> None:
    peers = Peers(PeerStreams(daemon.core.sessions), Settings())

    def server(security: Security) -> TestServer:
        return TestServer(HttpServer(daemon.context, security, operations(peers)).app)

    async with TestClient(server(OUTSIDE)) as client:
        for path in ("/whip/live", "/whep/live", "/whep/live/some-peer"):
            assert (await client.options(path, headers=FOREIGN)).status == 204
            assert (await client.options(path, headers={"Host": "evil.example"})).status == 403
        for headers, status in [(FOREIGN, 403), (FOREIGN | BEARER, 400), ({}, 401), (BEARER, 400)]:
            response = await client.post("/whip/live", data="v=0", headers={**headers, "Content-Type": SDP})
            assert response.status == status, headers
        assert (await client.get("/api/state", headers=FOREIGN | BEARER)).status == 403
        assert (await client.post("/api/peers/live", data="v=0", headers=FOREIGN | BEARER)).status == 403
        await client.post("/api/login", headers=BEARER)
        response = await client.post("/whip/live", data="v=0", headers={**FOREIGN, "Content-Type": SDP})
        assert response.status == 403  # a cookie does not open it: any page could make the browser send that
    async with TestClient(server(Security())) as client:  # without a token, on this machine only
        response = await client.post("/whep/live", data="v=0", headers={**FOREIGN, "Content-Type": SDP})
        assert response.status == 403
    await peers.close()


async def test_thumbnails_are_painted_in_a_session_of_their_own_that_ends(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "IDLE_TIMEOUT", 0.5)
    async with daemon.client() as client:
        assert (await client.get("/api/styles/none/thumbnail")).status == 404
        async with daemon.frames():
            before = daemon.session.control.parameters
            for style in ("dusk", "weave"):
                response = await client.get(f"/api/styles/{style}/thumbnail")
                assert response.status == 200, await response.text()
                image = cv2.imdecode(np.frombuffer(await response.read(), np.uint8), cv2.IMREAD_COLOR)
                assert image.shape[:2] == (before.height, before.width), "no larger than the picture itself"
            assert daemon.session.control.parameters == before
        await until(lambda: daemon.core.sessions.get("thumbnails") is None)


async def test_a_thumbnail_is_as_sharp_as_a_dense_display_and_no_larger(daemon: Daemon) -> None:
    async with daemon.client() as client, daemon.frames():
        await daemon.session.control.change({"width": 640, "height": 480})
        response = await client.get("/api/styles/dusk/thumbnail")
        assert response.status == 200, await response.text()
        image = cv2.imdecode(np.frombuffer(await response.read(), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (128, 192, 3)  # the model's sides are multiples of 32


async def test_the_page_is_light_and_its_gallery_sharp_on_a_dense_display() -> None:
    files = [path for path in PAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    pictures = [path for path in files if path.suffix == ".jpg"]
    assert len(pictures) == len(STYLE_NAMES)
    assert sum(path.stat().st_size for path in set(files) - set(pictures)) < 300_000
    for path in pictures:
        height, width = cv2.imread(str(path)).shape[:2]
        assert width >= 2 * 96 and (height, width) == (width * 3 // 4, width), path.name
        assert path.stat().st_size < 20_000, path.name


async def test_the_way_for_a_phone_is_told(daemon: Daemon) -> None:
    async with daemon.client() as client:
        answer = await (await client.get("/api/share")).json()
        assert answer["addresses"] == [] and "--listen 0.0.0.0" in answer["hint"]
    async with daemon.client(OUTSIDE) as client:
        assert (await client.get("/api/share")).status == 401
        answer = await (await client.get("/api/share", headers=BEARER)).json()
        assert all(each["qr"].startswith("<svg") and TOKEN not in each["address"] for each in answer["addresses"])
    text = f"https://192.168.1.2:8900/#token={TOKEN}"
    rows = np.array([list(row) for row in segno.make(text, error="m").matrix_iter(scale=8, border=4)], np.uint8)
    assert cv2.QRCodeDetector().detectAndDecode(255 - 255 * rows)[0] == text
    assert "<svg" in qr_code(text)


async def test_a_daemon_that_listens_to_all_names_addresses_that_can_be_opened() -> None:
    assert reachable("https://192.168.1.2:8900/") == ["https://192.168.1.2:8900/"]
    assert reachable("https://0.0.0.0:8900/")[0] == "https://localhost:8900/"
    assert not any("0.0.0.0" in page for page in reachable("https://0.0.0.0:8900/"))


async def test_a_certificate_is_made_once_kept_and_renewed_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tls"
    certificate, key, fingerprint = self_signed(folder, ["studio.example"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert self_signed(folder)[2] == fingerprint and len(fingerprint) == 95
    known = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "studio.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert known.not_valid_after_utc - known.not_valid_before_utc < datetime.timedelta(days=825)
    monkeypatch.setattr(certificates, "RENEW", datetime.timedelta(days=900))
    assert self_signed(folder)[2] != fingerprint
    key.write_text("damaged")
    certificate.write_text("damaged")
    assert isinstance(tls_context(*self_signed(folder)[:2]), ssl.SSLContext)
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"server\.tls"):
        self_signed(tmp_path / "file" / "tls")


async def test_https_with_our_own_certificate_carries_the_page(daemon: Daemon, tmp_path: Path) -> None:
    certificate, key, _ = self_signed(tmp_path)
    server = HttpServer(daemon.context, Security(token=TOKEN, tls=tls_context(certificate, key)))
    address = await server.start("127.0.0.1", 0)
    assert address.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with aiohttp.ClientSession() as session, session.get(address, ssl=trusting) as response:
        assert response.status == 200
    await server.close()


async def test_what_is_configured_about_webrtc_is_checked_and_the_field_is_named() -> None:
    settings = WebRtc(ice_servers=[{"urls": ["stun:stun.example"]}], codecs=["VP8"], peers=3).settings()
    assert settings.codecs == ("VP8",) and settings.ice_servers[0].urls == ("stun:stun.example",)
    for wrong, field in [
        ({"ice_servers": [{"urls": ["http://x"]}]}, "ice_servers.urls"),
        ({"ice_servers": [{"urls": ["turn:turn.example"]}]}, "ice_servers.username"),
        ({"start_bitrate": 10**9}, "bitrates.start"),
        ({"peers": 0}, "peers"),
    ]:
        with pytest.raises(ValueError, match=field):
            WebRtc(**wrong)
