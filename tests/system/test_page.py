"""The page in a real browser, over a real run with the real engine; its camera is one of our clips."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest
import pytest_asyncio

from driftcam.daemon.engine.state import Timeouts
from driftcam.engines.api import TABLE, Parameters, declare
from driftcam.engines.api.fields import EMBEDDED, Number
from tests.daemon.conftest import Running, start_run
from tests.system.chromium import CHROMIUM, CLIP, DESK, PHONE, axe_source, chromium, fake_camera, pixels, until

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.asyncio(loop_scope="module"),
]
module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")
START = Parameters(steps=1)
STYLE = START.styles[0][0]
EXPECTED = ("422", "410", "409")  # refusals are answers here; the browser logs them as errors


@module_fixture
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # presets, the token and recordings go there
        patch.delenv("XDG_STATE_HOME", raising=False)
        run = start_run("test", "page", engine=None, size=(128, 96), parameters=START, timeouts=Timeouts())
        await run.until(lambda run: run.progress.done > 0, timeout=120)
        yield run
        await run.end()


@module_fixture
async def browser(tmp_path_factory: pytest.TempPathFactory):
    async with chromium(fake_camera(tmp_path_factory.mktemp("camera") / "clip.mjpeg")) as browser:
        yield browser


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, run: Running):
    """The open page; nothing may go wrong on it unseen, and nothing may be asked of anybody else."""
    async with aiohttp.ClientSession() as session:
        changes = {name: getattr(START, name) for name in ("styles", "strength", "freedom", "seed", "style_vector")}
        async with session.patch(f"{run.address}api/parameters", json=changes) as response:
            assert response.status == 200
    page = await browser.new_page(viewport=DESK)
    page.set_default_timeout(20_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: request.url.startswith((run.address, "data:", "blob:")) or troubles.append(request.url),
    )
    await page.goto(run.address)
    await page.wait_for_selector("#styles button")
    await until(page, "document.querySelector('#fps').textContent > 0")
    yield page
    await page.close()
    assert [trouble for trouble in troubles if not any(status in trouble for status in EXPECTED)] == []


async def until_parameters(page, field: str, expected: str) -> None:
    """Wait until the daemon's parameter, as JSON, is `expected`."""
    state = "(await (await fetch('/api/state')).json())"
    await until(page, f"async () => JSON.stringify({state}.parameters.{field}) === '{expected}'")


async def plays(page, selector: str = "#result") -> None:
    await until(page, f"document.querySelector('{selector}').videoWidth > 0")
    seen = f"document.querySelector('{selector}').getVideoPlaybackQuality().totalVideoFrames"
    first = await page.evaluate(seen)
    await until(page, f"{seen} > {first} + 5")


async def choose(page, name: str, value: str) -> None:
    await page.locator(f"label:has(> input[name={name}][value={value}])").click()


async def test_the_result_comes_over_webrtc_and_the_source_beside_it(page) -> None:
    await plays(page)
    assert await page.evaluate("document.querySelector('#stage').dataset.way") == "webrtc"
    await until(page, "document.querySelector('#source-still').naturalWidth === 128")
    assert "ms" in await page.locator("#latency").inner_text()
    assert "live" in await page.locator("#status").inner_text()


async def test_the_camera_goes_up_and_comes_back_in_the_style_that_is_clicked(page, run: Running) -> None:
    await choose(page, "source", "camera")
    await plays(page, "#source")
    await plays(page)
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            async with session.get(f"{run.address}api/peers") as response:
                peers = await response.json()
            if peers and peers[0]["role"] == "peers" and peers[0].get("in", {}).get("fps", 0) > 3:
                break
            await asyncio.sleep(0.1)
    assert peers[0]["state"] == "connected" and peers[0]["in"]["width"] == 640

    async def colour(style: str) -> np.ndarray:
        await page.locator(f"button[data-style={style}]").click()
        pressed = "[...document.querySelectorAll('#styles [aria-pressed=true]')].map((each) => each.dataset.style)"
        for other in await page.evaluate(pressed):
            if other != style:
                await page.locator(f"button[data-style={other}]").click()
        await until_parameters(page, "styles", f'[["{style}",1]]')
        await page.wait_for_timeout(1500)
        return (await pixels(page)).mean((0, 1))

    red, blue = await colour("inferno"), await colour("great-wave")
    assert red[0] - red[2] > 30 and red[0] - red[2] > blue[0] - blue[2] + 30
    source = (await pixels(page, "#source")).mean((0, 1))
    assert np.abs(source - red).max() > 20
    await choose(page, "source", "watch")
    await plays(page)
    await until(page, "document.querySelector('#source').hidden")


async def test_the_screen_goes_up_as_a_camera_does(page) -> None:
    await choose(page, "source", "screen")
    await plays(page, "#source")
    await plays(page)
    await until(page, "async () => (await (await fetch('/api/peers')).json()).some((peer) => peer.in?.fps > 1)")
    await choose(page, "source", "watch")
    await until(page, "document.querySelector('#source').hidden")


async def test_a_second_camera_takes_over_and_the_first_page_is_told(page, browser, run: Running) -> None:
    await choose(page, "source", "camera")
    await plays(page)
    other = await browser.new_page(viewport=PHONE)
    await other.goto(run.address)
    await choose(other, "source", "camera")
    await page.locator(".message[data-field=source]").filter(has_text="took over").wait_for()
    await other.close()
    await plays(page)


async def test_what_keeps_the_camera_away_is_explained(browser, run: Running) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    )
    await page.goto(run.address)
    await choose(page, "source", "camera")
    await page.locator(".message[data-field=source]").filter(has_text="did not allow the camera").wait_for()
    assert await page.locator("input[name=source][value=watch]").is_checked()
    await context.close()


async def test_pictures_come_over_http_where_webrtc_does_not_get_through(browser, run: Running) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.add_init_script("delete window.RTCPeerConnection")
    await page.goto(run.address)
    await until(page, "document.querySelector('#result-still').naturalWidth === 128")
    await context.close()


async def test_the_wipe_shows_the_source_left_of_it(page) -> None:
    await choose(page, "view", "wipe")
    wipe = page.locator("#wipe")
    await wipe.focus()
    for _ in range(10):
        await page.keyboard.press("ArrowRight")
    clip = await page.evaluate("getComputedStyle(document.querySelector('#source-layer')).clipPath")
    assert clip == "inset(0px 40% 0px 0px)"
    boxes = await page.evaluate(
        "['#source-layer', '#stage'].map((s) => document.querySelector(s).getBoundingClientRect().toJSON())"
    )
    assert boxes[0]["width"] <= boxes[1]["width"] + 1 and abs(boxes[0]["width"] / boxes[0]["height"] - 128 / 96) < 0.02


async def test_flow_and_noise_are_shown_to_the_curious(page) -> None:
    await choose(page, "view", "insight")
    await until(page, "document.querySelector('#noise').naturalWidth > 4")
    await until(page, "document.querySelector('#flow').naturalWidth > 20")  # the test picture moves
    await choose(page, "view", "inset")
    await until(page, "document.querySelector('#source-still').naturalWidth === 128")


async def test_the_gallery_shows_the_styles_on_the_picture_of_the_moment(page, run: Running) -> None:
    await page.check("#live-thumbnails")
    painted = "document.querySelectorAll('#styles img[src^=blob]').length"
    await until(page, f"{painted} >= 3", timeout=60)
    await until(page, "document.querySelector('#styles img[src^=blob]').naturalWidth === 128")
    await page.uncheck("#live-thumbnails")
    await until(page, f"{painted} === 0")


async def test_a_clip_is_sent_as_a_camera_is(page, run: Running) -> None:
    async with page.expect_file_chooser() as chooser:
        await choose(page, "source", "clip")
    await (await chooser.value).set_files(CLIP)
    await plays(page, "#source")
    await plays(page)
    assert await page.locator("input[name=source][value=clip]").is_checked()
    assert await page.locator(".message[data-field=source]").inner_text() == ""


async def test_everything_can_be_done_with_the_keyboard(page) -> None:
    await page.locator("button[data-style=inferno]").focus()
    await page.keyboard.press("Space")
    await page.wait_for_selector("#blend label:nth-child(2)")
    await until_parameters(page, "styles", f'[["{STYLE}",0.5],["inferno",0.5]]')
    await page.locator("#blend input").first.focus()
    await page.keyboard.press("Home")
    await until(page, "parseInt(document.querySelector('#blend output').textContent) < 10")
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.dataset.parameter") == "strength":
            break
    await page.keyboard.press("Home")
    await until_parameters(page, "strength", "0")
    await page.locator("input[name=view]:checked").focus()
    await page.keyboard.press("ArrowLeft")
    await until(page, "document.querySelector('#stage').dataset.view === 'result'")


async def test_words_choose_styles_and_words_without_meaning_are_answered_beside_them(page) -> None:
    await page.fill("#prompt", "zzzz")
    await page.click("#use-prompt")
    message = page.locator(".message[data-field=prompt]")
    await message.filter(has_text="no word fits a style").wait_for()
    await page.fill("#prompt", "the great wave by hokusai")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("button[data-style=great-wave][aria-pressed=true]")
    assert await message.inner_text() == ""


async def test_a_bad_value_is_answered_beside_its_control_and_the_stream_goes_on(page, run: Running) -> None:
    await page.locator(".more summary").click()
    seed = page.locator("[data-parameter=seed]")
    await seed.fill("-5")
    await seed.press("Tab")
    await page.locator(".message[data-field=seed]").filter(has_text="seed: -5 cannot be used").wait_for()
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 3)


async def test_every_parameter_that_the_model_has_has_one_control_made_from_the_table(page) -> None:
    made = await page.evaluate(
        """() => [...document.querySelectorAll("[data-parameter]")].map((each) => [each.dataset.parameter, {
            label: each.closest("label").querySelector("span").textContent, hidden: Boolean(each.closest("[hidden]")),
            low: each.min, high: each.max, step: each.step, value: each.value,
            choices: [...(each.options ?? [])].map((option) => [option.value, option.textContent])}])"""
    )
    controls = dict(made)
    typed = {name: field for name, field in TABLE.items() if field.kind in ("number", "integer", "choice", "text")}
    assert len(made) == len(controls)
    assert controls.keys() == typed.keys()
    now = START.replace(width=128, height=96)
    for name, field in typed.items():
        control = controls[name]
        assert control["label"].removesuffix(f" ({field.unit})") == field.label
        assert control["hidden"] == (EMBEDDED not in field.models or name == "style_image_weight"), name
        if field.kind in ("number", "integer"):
            ends = [float(field.low), float(field.high), float(field.step)]
            assert [float(control[key]) for key in ("low", "high", "step")] == ends
            assert float(control["value"]) == pytest.approx(getattr(now, name), abs=field.step / 2)
        if field.kind == "choice":
            assert dict(control["choices"]) == field.choices
            assert control["value"] == getattr(now, name)


async def test_a_parameter_declared_elsewhere_gets_a_control_in_a_group_of_its_own(browser, run: Running) -> None:
    take_away = declare(Number("afterglow", "Afterglow", "Past pictures", "how much stays", default=0.25, unit="s"))
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(run.address)
        control = page.locator("fieldset", has_text="Past pictures").locator("[data-parameter=afterglow]")
        await control.wait_for()
        await until(page, "document.querySelector('[data-parameter=afterglow]').value === '0.25'")
        assert await page.locator("label", has_text="Afterglow").locator("output").inner_text() == "0.25 s"
    finally:
        await context.close()
        take_away()


async def test_a_change_made_elsewhere_is_shown(page, run: Running) -> None:
    async with aiohttp.ClientSession() as session:
        await session.patch(f"{run.address}api/parameters", json={"freedom": 0.85})
    await until(page, "document.querySelector('[data-parameter=freedom]').value === '0.85'")


async def test_a_picture_is_taken_as_style(page, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "style.png"), np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8))
    await page.set_input_files("#picture", tmp_path / "style.png")
    await until_parameters(page, "style_picture", "true")
    await page.click("#remove-picture")
    await until_parameters(page, "style_picture", "false")
    (tmp_path / "note.txt").write_text("not a picture")
    await page.set_input_files("#picture", tmp_path / "note.txt")
    await page.locator(".message[data-field=style_image]").filter(has_text="not a picture").wait_for()


async def test_looks_are_kept_and_used_again(page) -> None:
    await page.fill("#preset-name", "calm one")
    await page.keyboard.press("Enter")
    button = page.locator("#presets button", has_text="calm one")
    await button.wait_for()
    await page.locator("[data-parameter=strength]").fill("0.4")
    await until_parameters(page, "strength", "0.4")
    await button.click()
    await until_parameters(page, "strength", f"{START.strength:g}")
    await page.fill("#preset-travel", "61")
    await button.click()
    await page.locator(".message[data-field=travel], .message[data-field=preset]").filter(has_text="travel").wait_for()
    await page.locator("[data-parameter=strength]").fill("0.4")
    await until_parameters(page, "strength", "0.4")
    await page.fill("#preset-travel", "0.5")
    async with page.expect_request(lambda request: request.method == "POST") as asked:
        await button.click()
    assert (await asked.value).url.endswith("?travel=0.5&session=live")
    await until_parameters(page, "strength", f"{START.strength:g}")
    await until_parameters(page, "travel", "0")
    await page.get_by_label("Delete the preset calm one").click()
    await until(page, "!document.querySelector('#presets li')")


async def test_changes_are_undone_by_button_and_key(page) -> None:
    await page.fill("[data-parameter=strength]", "0.35")
    await until_parameters(page, "strength", "0.35")
    await page.click("#undo")
    await until_parameters(page, "strength", str(START.strength))
    await page.keyboard.press("Control+Shift+Z")
    await until_parameters(page, "strength", "0.35")
    await page.focus("#prompt")
    await page.keyboard.press("Control+Z")  # it is the field's own
    await page.focus("[data-parameter=freedom]")
    await page.keyboard.press("Control+Z")
    await until_parameters(page, "strength", str(START.strength))


async def test_a_look_is_held_on_to_as_a_picture_and_let_go(page, run: Running) -> None:
    await page.click("#keep-look")
    await until(page, "document.querySelector('#anchors img')?.naturalWidth > 0")
    assert await page.locator("#anchors li").count() == 1
    async with aiohttp.ClientSession() as session:  # one that came from elsewhere is shown by its colours
        async with session.get(f"{run.address}api/state") as response:
            (anchor,) = (await response.json())["parameters"]["anchors"]
        await session.patch(f"{run.address}api/parameters", json={"anchors": [anchor, [0.25, *anchor[1:]]]})
    await until(page, "document.querySelectorAll('#anchors li').length === 2")
    assert await page.locator("#anchors img").count() == 1
    for left in (1, 0):
        await page.focus("#anchors li:last-child button")
        await page.keyboard.press("Enter")
        await until(page, f"document.querySelectorAll('#anchors li').length === {left}")
    await until_parameters(page, "anchors", "[]")


async def test_a_value_follows_a_tempo_until_it_is_let_go(page, axe: str) -> None:
    settings = "(await (await fetch('/api/modulation')).json())"
    await page.select_option("#modulated", "strength")
    await page.click("#modulate")
    shown = page.locator("#modulators li")
    await shown.wait_for()
    await shown.get_by_label("Depth of what moves strength").fill("0.3")
    await shown.get_by_label("Follows of what moves strength").select_option("square")
    await page.fill("#tempo", "90")
    await page.keyboard.press("Tab")
    await page.click("#beat")
    expected = '{"bpm":90,"modulators":{"strength":{"follows":"square","depth":0.3,"beats":4,"on":true}}}'
    await until(page, f"async () => JSON.stringify({settings}) === '{expected}'")
    await until(page, "Number(document.querySelector('#modulators output').textContent) > 0")
    await until_parameters(page, "strength", f"{START.strength:g}")
    await page.fill("#tempo", "900")
    await page.keyboard.press("Tab")
    await page.locator(".message[data-field=modulators]", has_text="from 20 to 180").wait_for()
    await page.evaluate(axe)
    assert [each["id"] for each in await page.evaluate("async () => (await axe.run()).violations")] == []
    await shown.get_by_label("Follows of what moves strength").select_option("loudness")
    await until(page, "document.querySelector('#modulators .how label').hidden")  # sound has no length
    await shown.get_by_label("End what moves strength").click()
    await until(page, "!document.querySelector('#modulators li')")


# Headless Chromium finds no MIDI ports without ALSA's sequencer: the page is given a controller made of JavaScript.
CONTROLLER = """() => {
  const input = { name: "faders", onmidimessage: null };
  const output = { name: "faders", sent: [], send(message) { this.sent.push([...message]); } };
  const ports = (port) => new Map(port ? [[port.name, port]] : []);
  const access = { inputs: ports(input), outputs: ports(output), onstatechange: null };
  window.controller = {
    sent: output.sent,
    move: (...bytes) => input.onmidimessage({ target: input, data: new Uint8Array(bytes) }),
    plug(there) {
      Object.assign(access, { inputs: ports(there && input), outputs: ports(there && output) });
      access.onstatechange();
    },
  };
  navigator.requestMIDIAccess = async () => access;
}"""


async def learn(page, target: str, *message: int) -> None:
    await page.select_option("#midi-target", target)
    await page.click("#midi-learn")
    await page.evaluate(f"controller.move({', '.join(map(str, message))})")
    await page.locator("#midi-status", has_text="now.").wait_for()


async def test_a_controller_learns_what_it_is_for_and_follows_what_others_change(page, axe: str) -> None:
    await page.evaluate(CONTROLLER)
    await page.focus("#midi-connect")
    await page.keyboard.press("Enter")
    await page.locator("#midi-status", has_text="Listening to faders").wait_for()
    await learn(page, "strength", 0xB0, 7, 100)
    await until_parameters(page, "strength", f"{START.strength:g}")  # learning changes nothing
    await learn(page, "noise", 0xB2, 8, 0)
    await learn(page, "bypass", 0x99, 36, 100)
    assert await page.locator("#midi-learned li").all_inner_texts() == [
        "faders, control 7: Strength\n×",
        "faders, control 8 of channel 3: Texture\n×",
        "faders, note 36 of channel 10: bypass\n×",
    ]
    await page.evaluate(axe)
    assert [each["id"] for each in await page.evaluate("async () => (await axe.run()).violations")] == []

    await page.evaluate("controller.sent.length = 0; controller.move(0xb0, 7, 0)")
    await until_parameters(page, "strength", "0")
    await page.evaluate("controller.move(0xb0, 7, 127)")
    await until_parameters(page, "strength", "1")
    await page.evaluate("controller.move(0xb2, 8, 70)")
    await until_parameters(page, "noise", '"fixed"')
    await page.evaluate("controller.move(0xb2, 8, 10); controller.move(0xb0, 9, 10)")  # the last is for nothing
    await until_parameters(page, "noise", '"warped"')
    bypassed = "(await (await fetch('/api/state')).json()).bypass"
    for on in ("true", "false"):
        await page.evaluate("controller.move(0x99, 36, 100); controller.move(0x89, 36, 0)")
        await until(page, f"async () => {bypassed} === {on}")
    echoes = await page.evaluate("controller.sent.filter(([status, number]) => status === 0xb0 && number === 7)")
    assert echoes == []  # what came from the fader does not go back to it

    await page.evaluate("fetch('/api/parameters', { method: 'PATCH', body: '{\"strength\": 0.5}' })")
    await until(page, "controller.sent.some((message) => message.join() === '176,7,64')")
    await page.evaluate("controller.plug(false)")
    await page.locator("#midi-status", has_text="No controller").wait_for()
    await page.evaluate("controller.sent.length = 0; controller.plug(true)")
    await until(page, "controller.sent.some((message) => message.join() === '176,7,64')")  # it is told anew
    await page.get_by_label("Forget faders, control 7").click()
    await page.evaluate("controller.move(0xb0, 7, 127); controller.move(0xb2, 8, 70)")
    await until_parameters(page, "noise", '"fixed"')
    await until_parameters(page, "strength", "0.5")


async def test_a_controller_loads_looks_and_what_it_is_for_is_kept(page) -> None:
    await page.fill("#preset-name", "opening")
    await page.keyboard.press("Enter")
    await page.locator("#presets button", has_text="opening").wait_for()
    await page.evaluate(CONTROLLER)
    await page.click("#midi-connect")
    await page.focus("#midi-target")
    await until(
        page, "[...document.querySelectorAll('#midi-target option')].some(({ value }) => value === 'preset opening')"
    )
    await learn(page, "preset opening", 0xC0, 5)
    await page.locator("[data-parameter=strength]").fill("0.4")
    await until_parameters(page, "strength", "0.4")
    await page.evaluate("controller.move(0xc0, 5)")
    await until_parameters(page, "strength", f"{START.strength:g}")
    await page.reload()
    await page.locator("#midi-learned li", has_text="program 5: preset opening").wait_for(state="attached")
    await page.get_by_label("Delete the preset opening").click()


async def test_a_browser_without_midi_says_so(page) -> None:
    await page.evaluate("Object.defineProperty(navigator, 'requestMIDIAccess', { value: undefined })")
    await page.click("#midi-connect")
    await page.locator(".message[data-field=midi]", has_text="has no MIDI").wait_for()


async def test_the_untouched_picture_is_shown_by_button_and_key(page) -> None:
    pressed = "document.querySelector('#bypass').getAttribute('aria-pressed')"
    bypass = "(await (await fetch('/api/state')).json()).bypass"
    await page.click("#bypass")
    await until(page, f"{pressed} === 'true'")
    await page.locator("#done", has_text="The untouched picture is shown").wait_for()
    await page.focus("#prompt")
    await page.keyboard.press("F8")
    await until(page, f"{pressed} === 'false'")
    await page.locator("#done", has_text="The stylised picture is shown").wait_for()
    await until(page, f"async () => {bypass} === false")


async def test_a_snapshot_is_downloaded_and_a_recording_is_kept(page) -> None:
    async with page.expect_download() as download:
        await page.click("#snapshot")
    path = await (await download.value).path()
    assert cv2.imread(str(path)).shape == (96, 128, 3)
    await page.click("#record")
    await page.locator("#record", has_text="Stop").wait_for()
    await page.wait_for_timeout(1000)
    await page.click("#record")
    done = await page.locator("#done").filter(has_text=".mp4").inner_text()
    await page.locator("#record", has_text="Record").wait_for()
    recording = cv2.VideoCapture(done[done.index("/") :] if not done.startswith("Driftcam") else done.split(" to ")[1])
    assert recording.read()[0]


async def test_a_phone_is_shown_the_way(page) -> None:
    await page.click("#share-open")
    await page.locator("#share-body").filter(has_text="listens to this machine only").wait_for()
    await page.keyboard.press("Escape")
    assert not await page.locator("#share").is_visible()


async def test_the_panel_says_where_the_time_goes(page) -> None:
    await page.locator("#panel summary").click()
    await until(page, "document.querySelector('#measures').textContent.includes('Mbit/s')")
    await until(page, "document.querySelector('#graph').getAttribute('aria-label').includes('about')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
async def test_it_fits_phone_and_desk_and_everybody_can_use_it(page, axe: str, viewport: dict, scheme: str) -> None:
    await page.set_viewport_size(viewport)
    await page.emulate_media(color_scheme=scheme)
    await plays(page)
    await page.locator(".more summary").click()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("DRIFTCAM_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{viewport['width']}-{scheme}.png", full_page=True)
    await page.evaluate(axe)
    found = await page.evaluate("async () => (await axe.run()).violations")
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
