"""The page from beyond this machine: HTTPS with our own certificate, the token, and viewers of another origin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import web

from driftcam.daemon.addresses import lan_addresses
from driftcam.daemon.browser import PeerStreams
from driftcam.daemon.http.certificate import self_signed
from driftcam.daemon.http.server import HttpServer, Security
from driftcam.daemon.http.tls import tls_context
from driftcam.webrtc.http import operations
from driftcam.webrtc.peers import Peers
from driftcam.webrtc.settings import Settings
from tests.daemon.http_daemon import Daemon, daemon_in
from tests.system.chromium import CHROMIUM, PHONE, chromium, fake_camera, until

TOKEN = "a-token-that-nobody-guesses"
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.skipif(not lan_addresses(), reason="this machine has no address but its own"),
    pytest.mark.asyncio(loop_scope="module"),
]
module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")


@dataclass
class Outside:
    daemon: Daemon
    peers: Peers
    address: str


@module_fixture
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outside]:
    """A daemon with the stand-in engine (negatives), reached by this machine's address in the network."""
    async with daemon_in(tmp_path_factory.mktemp("outside")) as daemon:
        certificate, key, _ = self_signed(tmp_path_factory.mktemp("tls"))
        peers = Peers(PeerStreams(daemon.core.sessions), Settings())
        security = Security(TOKEN, local=False, requests_per_second=1000, tls=tls_context(certificate, key))
        server = HttpServer(daemon.context, security, operations(peers))
        address = await server.start(lan_addresses()[0], 0)
        async with daemon.frames():
            yield Outside(daemon, peers, address)
        await peers.close()
        await server.close()


@module_fixture
async def browser(tmp_path_factory: pytest.TempPathFactory):
    async with chromium(fake_camera(tmp_path_factory.mktemp("camera") / "clip.mjpeg")) as browser:
        yield browser


async def test_the_token_is_asked_for_refused_and_accepted_and_then_the_camera_works(browser, outside: Outside) -> None:
    context = await browser.new_context(ignore_https_errors=True, viewport=PHONE)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    await page.goto(outside.address)
    await page.locator("#login").wait_for()
    await page.keyboard.press("Escape")
    assert await page.locator("#login").is_visible()
    assert await page.evaluate(
        "document.querySelector('#login').scrollWidth <= document.querySelector('#login').clientWidth"
    )
    await page.fill("#token", "not the token")
    await page.keyboard.press("Enter")
    await page.locator("#login-message").filter(has_text="not the right one").wait_for()
    await page.fill("#token", TOKEN)
    await page.keyboard.press("Enter")
    await until(page, "!document.querySelector('#login').open && document.querySelector('#result').videoWidth > 0")
    await page.locator("label:has(> input[value=camera])").click()
    await until(page, "document.querySelector('#source').videoWidth > 0")
    await until(page, "document.querySelector('#result').getVideoPlaybackQuality().totalVideoFrames > 20")
    await page.reload()  # the cookie stays
    await until(page, "document.querySelector('#result').videoWidth > 0")
    await context.close()


async def test_a_camera_whose_connection_ends_comes_back(browser, outside: Outside) -> None:
    context = await browser.new_context(ignore_https_errors=True, viewport=PHONE)
    page = await context.new_page()
    await page.goto(f"{outside.address}#token={TOKEN}")
    await page.locator("label:has(> input[value=camera])").click()
    await until(page, "document.querySelector('#result').getVideoPlaybackQuality().totalVideoFrames > 10")
    await outside.peers.close()
    assert await outside.peers.status() == []
    async with asyncio.timeout(20):
        while not any(
            peer["role"] == "peers" and peer.get("in", {}).get("fps", 0) > 3 for peer in await outside.peers.status()
        ):
            await asyncio.sleep(0.1)
    await until(page, "document.querySelector('#stage-text').textContent.trim() === ''")
    assert await page.locator("input[value=camera]").is_checked()
    await context.close()


async def test_the_qr_code_logs_a_phone_in(browser, outside: Outside) -> None:
    context = await browser.new_context(ignore_https_errors=True, viewport=PHONE)
    page = await context.new_page()
    await page.goto(f"{outside.address}#token={TOKEN}")
    await until(page, "document.querySelector('#result').videoWidth > 0")
    assert TOKEN not in page.url
    await page.click("#share-open")
    await until(page, "document.querySelector('#share-body img.qr')?.naturalWidth > 0")
    await context.close()


PLAYER = """<!doctype html><title>player</title><video autoplay muted playsinline></video><script>
async function play(url, token) {
  const pc = new RTCPeerConnection();
  pc.ontrack = ({ track }) => { document.querySelector("video").srcObject = new MediaStream([track]); };
  pc.addTransceiver("video", { direction: "recvonly" });
  await pc.setLocalDescription();
  const headers = { "Content-Type": "application/sdp", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(url, { method: "POST", body: pc.localDescription.sdp, headers });
  if (response.status !== 201) return response.status;
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  const peer = new URL(response.headers.get("Location"), url);
  window.leave = () => fetch(peer, { method: "DELETE", headers: { Authorization: `Bearer ${token}` } });
  return 201;
}
</script>"""


async def test_players_of_another_origin_come_and_go_with_the_token(browser, outside: Outside) -> None:
    async def player(request: web.Request) -> web.Response:
        return web.Response(text=PLAYER, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", player)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context = await browser.new_context(ignore_https_errors=True)
    pages = [await context.new_page() for _ in range(2)]
    url = json.dumps(f"{outside.address}whep/live")
    for page in pages:
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    refused = await pages[0].evaluate(f"play({url}, null).catch((error) => String(error))")
    assert refused != 201
    for page in pages:
        assert await page.evaluate(f"play({url}, '{TOKEN}')") == 201
        await until(page, "document.querySelector('video').videoWidth > 0")
    assert (await pages[0].evaluate("leave().then((response) => response.status)")) == 200
    viewers = [peer for peer in await outside.peers.status() if peer["role"] == "whep"]
    assert len(viewers) == 1
    first = await pages[1].evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
    await until(pages[1], f"document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {first} + 10")
    await context.close()
    async with asyncio.timeout(12):
        while any(peer["role"] == "whep" for peer in await outside.peers.status()):
            await asyncio.sleep(0.1)
    await runner.cleanup()
