"""The console's files: caching, compression, size, and the rules for its scripts."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import httpx

from app.api.native.console import console
from tests.serving import Api

FOLDER = Path(__file__).parents[3] / "app" / "console"
SCRIPTS = [path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts]
MOST_BYTES = 250_000


def test_the_page_and_its_assets_are_cached_by_their_content(api: Api) -> None:
    with api.client() as client:
        page = client.get("/")
        assert page.status_code == 200 and page.headers["cache-control"] == "no-cache"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
        assets = re.findall(r'(?:src|href)="(/console/[^"]+)"', page.text)
        assert len(assets) > 3
        for path in assets:
            reply = client.get(path)
            assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"], path
            assert reply.headers["content-encoding"] == "gzip" and reply.headers["vary"] == "accept-encoding"
            assert client.get(path, headers={"if-none-match": reply.headers["etag"]}).status_code == 304
        [script] = re.findall(r'<script[^>]* src="([^"]+)"', page.text)
        plain = client.get(script, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.content == (FOLDER / "main.js").read_bytes()


def test_files_of_another_release_and_paths_outside_are_not_served(api: Api) -> None:
    digest = console().digest
    for path in (
        f"/console/{'0' * 16}/main.js",
        f"/console/{digest}/nothing.js",
        f"/console/{digest}/../native/console.py",
    ):
        with api.client() as client:
            reply = client.send(client.build_request("GET", api.url + path))
            assert reply.status_code == 404 and reply.json()["error"]["code"], path


def test_the_console_is_small() -> None:
    assert sum(len(file.packed) for file in console().files.values()) < MOST_BYTES
    assert all(gzip.decompress(file.packed) == file.plain for file in console().files.values())


def test_scripts_make_no_markup_from_text_and_load_nothing_from_elsewhere() -> None:
    assert len(SCRIPTS) > 20
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path
        assert text.count("\n") <= 300, path


def test_every_vendored_library_is_in_the_notice() -> None:
    notice = (FOLDER / "vendor" / "NOTICE.md").read_text(encoding="utf-8")
    assert [
        path.name for path in (FOLDER / "vendor").iterdir() if path.name not in notice and path.name != "NOTICE.md"
    ] == []


def test_nothing_is_read_before_somebody_looks(api: Api) -> None:
    console.cache_clear()
    httpx.get(f"{api.url}/livez")
    assert console.cache_info().currsize == 0
