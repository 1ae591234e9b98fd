"""The page's files."""

from __future__ import annotations

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.engines.api.styles import STYLES
from driftcam.webrtc.operation import Operation, Refused
from driftcam.webrtc.page import FOLDER

STYLE_PICTURES = FOLDER / "styles"
KINDS = ("*.html", "*.svg", "css/*.css", "js/*.js")
FILES = {f"/{path.relative_to(FOLDER)}": path for kind in KINDS for path in FOLDER.glob(kind)}
FILES["/"] = FILES.pop("/index.html")


def has_picture(style: str) -> bool:
    """Whether there is a picture to show for a style."""
    return any(style == known for known, _ in STYLES) and (STYLE_PICTURES / f"{style}.jpg").is_file()


def operations(context: Context) -> list[Operation]:
    async def file(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(FILES[request.path])

    async def style_picture(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if not has_picture(name):
            raise Refused(404, "there is no such picture")
        return web.FileResponse(STYLE_PICTURES / f"{name}.jpg")

    return [
        *(Operation("GET", path, file, "a file of the page", public=True, page=True) for path in FILES),
        Operation("GET", "/styles/{name}.jpg", style_picture, "a style to look at", public=True, page=True),
    ]
