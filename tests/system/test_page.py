"""The page in a real browser, over a real run."""

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

from daemon.supervisor import Patience
from engines.api import Parameters
from tests.daemon.conftest import Running, start_run

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.asyncio(loop_scope="module"),
]
module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")
START = Parameters(steps=1)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


@module_fixture
async def run() -> AsyncIterator[Running]:
    run = start_run("test", "page", engine=None, size=(96, 64), parameters=START, patience=Patience())
    await run.until(lambda run: run.progress.done > 0, timeout=60)
    yield run
    await run.end()


@module_fixture
async def browser():
    async with playwright.async_playwright() as player:
        browser = await player.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, run: Running):
    """The open page; nothing may go wrong on it unseen."""
    async with aiohttp.ClientSession() as session:
        changes = {name: getattr(START, name) for name in ("styles", "strength", "freedom", "seed", "style_vector")}
        async with session.patch(f"{run.address}api/parameters", json=changes) as response:
            assert response.status == 200
    page = await browser.new_page(viewport=DESK)
    page.set_default_timeout(15_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    await page.goto(run.address)
    await page.wait_for_selector("#styles button")
    await until(page, "document.querySelector('#fps').textContent > 0")
    yield page
    await page.close()
    # A refused change is answered with status 422, which the browser logs.
    assert [trouble for trouble in troubles if "422" not in trouble] == []


async def until(page, expression: str) -> None:
    """Wait until JavaScript says so. Playwright's own way polls with `eval`, which the page's policy forbids."""
    async with asyncio.timeout(15):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.1)


async def until_parameters(page, field: str, expected: str) -> None:
    """Wait until the daemon's parameter, as JSON, is `expected`."""
    state = "(await (await fetch('/api/state')).json())"
    await until(page, f"async () => JSON.stringify({state}.parameters.{field}) === '{expected}'")


async def test_both_pictures_are_live(page) -> None:
    for side in ("result", "source"):
        await until(page, f"document.querySelector('#{side}').naturalWidth === 96")
        first = await page.locator(f"#{side}").screenshot()
        await page.wait_for_timeout(700)
        assert await page.locator(f"#{side}").screenshot() != first
    assert "ms" in await page.locator("#latency").inner_text()


async def test_everything_can_be_done_with_the_keyboard(page) -> None:
    await page.locator("button[data-style=inferno]").focus()
    await page.keyboard.press("Space")
    await page.wait_for_selector("#blend label:nth-child(2)")
    await until_parameters(page, "styles", '[["starry-night",0.5],["inferno",0.5]]')
    await page.locator("#blend input").first.focus()
    await page.keyboard.press("Home")
    await until(page, "document.querySelector('#blend output').textContent < 0.1")
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.dataset.parameter") == "strength":
            break
    await page.keyboard.press("Home")
    await until_parameters(page, "strength", "0")


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
    seed = page.locator("[data-parameter=seed]")
    await seed.fill("-5")
    await seed.press("Tab")
    await page.locator(".message[data-field=seed]").filter(has_text="seed: -5 cannot be used").wait_for()
    seen = run.progress.done
    await run.until(lambda run: run.progress.done > seen + 3)


async def test_a_change_made_elsewhere_is_shown(page, browser, run: Running) -> None:
    other = await browser.new_page(viewport=PHONE)
    await other.goto(run.address)
    await other.locator("[data-parameter=freedom]").fill("0.85")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
async def test_it_fits_phone_and_desk_in_light_and_dark(page, viewport: dict, scheme: str) -> None:
    await page.set_viewport_size(viewport)
    await page.emulate_media(color_scheme=scheme)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast = """() => {
      const luminance = (rgb) => {
        const [r, g, b] = rgb.match(/[0-9.]+/g).map((v) => (v / 255) ** 2.2);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const style = getComputedStyle(document.body);
      const [high, low] = [style.color, style.backgroundColor].map(luminance).sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    }"""
    assert await page.evaluate(contrast) > 7
    if folder := os.environ.get("DRIFTCAM_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{viewport['width']}-{scheme}.png", full_page=True)
