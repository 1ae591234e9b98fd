"""Real Chromium with a camera that shows one of our clips."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
CLIP = Path(__file__).parents[2] / "scripts" / "clips" / "bigbuckbunny.mp4"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 860}
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


def fake_camera(path: Path, frames: int = 60, size: tuple[int, int] = (640, 480)) -> Path:
    """The clip's first frames as Motion JPEG, which Chromium repeats."""
    with av.open(str(CLIP)) as container, path.open("wb") as out:
        for number, frame in enumerate(container.decode(video=0)):
            if number == frames:
                break
            image = cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2BGR)
            out.write(cv2.imencode(".jpg", cv2.resize(image, size))[1].tobytes())
    return path


@contextlib.asynccontextmanager
async def chromium(camera: Path | None = None) -> AsyncIterator:
    """A browser; `camera` is a Motion JPEG file."""
    flags = [*FLAGS, *([f"--use-file-for-fake-video-capture={camera}"] if camera else [])]
    async with playwright.async_playwright() as player:
        browser = await player.chromium.launch(
            executable_path=str(CHROMIUM), args=flags, ignore_default_args=["--headless", "--headless=old"]
        )
        try:
            yield browser
        finally:
            await browser.close()


async def until(page, expression: str, timeout: float = 20) -> None:
    """Wait until JavaScript says so. Playwright's own way polls with `eval`, which the page's policy forbids."""
    try:
        async with asyncio.timeout(timeout):
            while not await page.evaluate(expression):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"in vain: {expression}") from None


async def pixels(page, selector: str = "#result") -> np.ndarray:
    """RGB (48, 64, 3) of what a video element shows."""
    data = await page.evaluate(
        """(selector) => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
            const context = canvas.getContext("2d");
            context.drawImage(document.querySelector(selector), 0, 0, 64, 48);
            return [...context.getImageData(0, 0, 64, 48).data];
        }""",
        selector,
    )
    return np.asarray(data, np.uint8).reshape(48, 64, 4)[..., :3]


def axe_source(folder: Path) -> str:
    """The accessibility checker's script, from npm; skips the test without it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, which the accessibility check comes from")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm could not give axe-core: {error}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()
