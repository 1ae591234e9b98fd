"""The OpenAPI 3.1 document, made from the table of operations that the server routes by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from driftcam.daemon.http.schemas import ref, schemas
from driftcam.webrtc.operation import Content, Operation

EVERYWHERE = "a value, a header or the token is not accepted, or there were too many requests"
FAILED = "the daemon cannot do it now: it is busy, or a disk is full"


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """For everything that is not a part of the page."""
    paths: dict[str, Any] = {}
    for operation in operations:
        if not operation.page:
            paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Driftcam",
            "version": _version(),
            "description": "Live video through diffusion: parameters, presets, recordings, state.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "driftcam"},
            },
        },
        "security": [{}, {"token": []}, {"cookie": []}],
    }


def _describe(operation: Operation) -> dict[str, Any]:
    error = _content(Content(EVERYWHERE, ref("Error")))
    answers = {str(status): _content(content) for status, content in operation.answers.items()}
    answers |= {"4XX": error, "5XX": _content(Content(FAILED, ref("Error")))}
    described: dict[str, Any] = {
        "summary": operation.about,
        "operationId": f"{operation.method.lower()}{re.sub(r'[^a-z0-9]+', '-', operation.path.lower())}".rstrip("-"),
        "responses": answers,
    }
    names = re.findall(r"{(\w+)}", operation.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 64}}
        for name in names
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    parameters += [
        {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
        for name, about in operation.headers.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, **_content(operation.body)}
    if operation.public:
        described["security"] = []
    return described


def _content(content: Content) -> dict[str, Any]:
    described: dict[str, Any] = {"description": content.about}
    if content.schema is not None:
        described["content"] = {content.media: {"schema": content.schema}}
    return described


def _version() -> str:
    try:
        return version("driftcam")
    except PackageNotFoundError:
        return "0"
