"""Files of the dashboard: what is in the package, and nothing else, whatever an address says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

INDEX: Final = "index.html"
BASE: Final = '<base href="/">'
"""What stands in pages for where the application is mounted."""

KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

EMPTY_INDEX: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><base href="/"><title>Flowcraft</title></head>
<body><h1>Flowcraft</h1><p>The API is at <a href="api/v1/openapi.json">api/v1</a>.</p></body></html>
"""
"""What is shown where the package has no dashboard."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the dashboard.

    Attributes:
        content: Its bytes.
        kind: Its media type.
        tag: Tells its content from another one.
    """

    content: bytes
    kind: str
    tag: str


@cache
def assets() -> Mapping[str, Asset]:
    """All files of the dashboard, by their paths: nothing but these can be asked for."""
    found: dict[str, Asset] = {INDEX: _asset(EMPTY_INDEX, INDEX)}
    root = files("flowcraft.web") / "static"
    if root.is_dir():
        found.update(_below(root, ""))
    return found


def _below(directory: Traversable, above: str) -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for each in directory.iterdir():
        name = f"{above}{each.name}"
        if each.is_dir():
            found.update(_below(each, f"{name}/"))
        elif _suffix(name) in KINDS:
            found[name] = _asset(each.read_bytes(), name)
    return found


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2].lower()


def _asset(content: bytes, name: str) -> Asset:
    return Asset(content, KINDS[_suffix(name)], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def page(base: str) -> Response:
    """The page that is the dashboard.

    Args:
        base: Where the application is mounted.
    """
    content = assets()[INDEX].content.replace(BASE.encode(), f'<base href="{base}">'.encode())
    headers = {"Cache-Control": "no-cache"}
    return Response(content, headers=headers, media_type=KINDS[".html"])


def file(request: Request, name: str) -> Response | None:
    """A file of the dashboard; ``None`` if there is none of this name."""
    asset = assets().get(name)
    if asset is None:
        return None
    headers = {"Cache-Control": "no-cache", "ETag": asset.tag}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.kind)
