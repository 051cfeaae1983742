"""The console: the web page at `/`, with its scripts and styles. The page uses the same API as other clients."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import CONSOLE
from app.errors import NotFound

router = APIRouter()
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "vary": "accept-encoding"}
PAGE = "index.html"
PLACE = b"{assets}"  # the page's placeholder for the path of the assets, which changes with their content
MEDIA = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "md": "text/markdown; charset=utf-8",
}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class ConsoleFile:
    """A console file in plain and compressed form. `etag` is derived from the file's content."""

    media: str
    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> ConsoleFile:
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(MEDIA[name.rpartition(".")[2]], content, gzip.compress(content, 9, mtime=0), tag)


@dataclass(frozen=True)
class WebConsole:
    """All console files, by path. `digest` identifies the content of the files, and is part of the assets' URLs."""

    digest: str
    files: Mapping[str, ConsoleFile]


@cache
def console() -> WebConsole:
    """Read and compress the console's files. The result is cached."""
    contents = dict(sorted(_read(files("app") / "console")))
    digest = hashlib.sha256(b"".join(name.encode() + contents[name] for name in contents)).hexdigest()[:16]
    contents[PAGE] = contents[PAGE].replace(PLACE, f"{CONSOLE}{digest}".encode())
    return WebConsole(digest, {name: ConsoleFile.of(name, content) for name, content in contents.items()})


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in MEDIA:
            yield prefix + entry.name, entry.read_bytes()


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Return the page. Browsers revalidate the page on every visit, and cache its assets permanently."""
    current = await asyncio.to_thread(console)
    return _reply(request, current.files[PAGE], "no-cache")


@router.get(CONSOLE + "{digest}/{path:path}", include_in_schema=False)
async def asset(request: Request, digest: str, path: str) -> Response:
    current = await asyncio.to_thread(console)
    if digest != current.digest or path not in current.files:
        raise NotFound("the console has no such file; reload the page", code="file_not_found")
    return _reply(request, current.files[path], FOREVER)


def _reply(request: Request, file: ConsoleFile, caching: str) -> Response:
    headers = {**HEADERS, "etag": file.etag, "cache-control": caching}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media)
    return Response(file.plain, headers=headers, media_type=file.media)
