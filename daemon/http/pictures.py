"""Results as pictures: MJPEG for browsers without WebRTC, and snapshots."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from driftcam.daemon.http.context import Context
from driftcam.daemon.http.preview import Side
from driftcam.daemon.http.query import query_choice
from driftcam.daemon.sinks.snapshot import encode_snapshot
from driftcam.webrtc.operation import SESSION, Content, Operation, Refused

BOUNDARY = "driftcam-frame"
WRITE_TIMEOUT = 10.0
FORMATS = {"png": "image/png", "jpg": "image/jpeg"}
SIDES = tuple(side.value for side in Side)


def operations(context: Context) -> list[Operation]:
    def stream_of(side: Side) -> Operation:
        async def stream(request: web.Request) -> web.StreamResponse:
            return await _stream(context, request, side)

        answer = Content("JPEGs without end, the newest whenever there is room", {}, "multipart/x-mixed-replace")
        return Operation(
            "GET",
            f"/{side}.mjpeg",
            stream,
            f"the {side}, live",
            {200: answer},
            query={"session": SESSION},
            streams=True,
        )

    async def snapshot(request: web.Request) -> web.StreamResponse:
        side = Side(query_choice(request, "side", SIDES, Side.RESULT))
        kind = query_choice(request, "format", FORMATS, "png")
        result = await context.newest(context.session(request), "snapshot")
        image = result.image if side is Side.RESULT else result.source.image
        data = await asyncio.to_thread(encode_snapshot, image, f".{kind}")
        return web.Response(body=data, content_type=FORMATS[kind])

    query = {"session": SESSION, "side": {"enum": list(SIDES)}, "format": {"enum": list(FORMATS)}}
    picture = Content("the newest picture", {"type": "string", "contentMediaType": "image/png"}, "image/*")
    return [
        *(stream_of(side) for side in Side),
        Operation("GET", "/api/snapshot", snapshot, "the newest picture as a file", {200: picture}, query=query),
    ]


async def _stream(context: Context, request: web.Request, side: Side) -> web.StreamResponse:
    preview = context.preview(context.session(request))
    response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
    with context.viewers.slot() as free:
        if not free:
            raise Refused(503, "too many pages are open", retry_after=5)
        await response.prepare(request)
        sequence = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            await response.write(f"--{BOUNDARY}\r\n".encode())
            while (result := await preview.after(sequence)) is not None:
                sequence = result.sequence
                data = await preview.jpeg(result, side)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                # The boundary behind the picture lets the browser show it now, not when the next one comes.
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await response.write(head + data + f"\r\n--{BOUNDARY}\r\n".encode())
    return response
