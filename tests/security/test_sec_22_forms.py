"""SEC-22: hostile multipart forms and ranges end with an error after little work, and leave nothing on the disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.api.http.forms import FIELDS, DiskParser
from app.settings import Settings
from tests.serving import Api

CALLBACKS = ("on_part_begin", "on_header_field", "on_header_value", "on_header_end")  # of the parser
KIND = "multipart/form-data; boundary="
PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\nx\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
FORMS = {
    "a boundary of a kilobyte": (KIND + "b" * 1000, b"--" + b"b" * 1000 + b"\r\n"),
    "endless dashes": (KIND + "b", b"-" * 2**20),
    "line feeds": (KIND + "b", b"\r\n" * 2**19),
    "no boundary": ("multipart/form-data", FILE + b"x\r\n--b--"),
    "an empty boundary": (KIND, b"--\r\n"),
    "many parts": (KIND + "b", PART % b"a" * 100_000 + b"--b--"),
    "many named parts": (KIND + "b", b"".join(PART % (b"n%d" % n) for n in range(1000)) + b"--b--"),
    "a field of a megabyte": (KIND + "b", (PART % b"purpose").replace(b"x", b"x" * 2**20) + b"--b--"),
    "two files": (KIND + "b", (FILE + b"x\r\n") * 2 + b"--b--"),
    "a file without an end": (KIND + "b", FILE + b"x" * 2**20),
    "a header without an end": (KIND + "b", b"--b\r\nContent-Disposition: " + b"a" * 2**20),
    "many headers of a part": (KIND + "b", b"--b\r\n" + b"A: b\r\n" * 100_000 + b"\r\n"),
    "many parameters": (KIND + "b" + ";a=b" * 5000, FILE + b"x\r\n--b--"),
    "quotes": (KIND + '"' + "\\" * 5000, FILE + b"x\r\n--b--"),
}


def files_in(folder: str) -> set[Path]:
    return {path for path in Path(folder).rglob("*") if path.is_file() and "ostinato.db" not in path.name}


def count(monkeypatch: pytest.MonkeyPatch, calls: Counter[str], name: str) -> None:
    original = getattr(DiskParser, name)

    def counted(parser: DiskParser, *arguments: Any) -> None:
        calls[name] += 1
        original(parser, *arguments)

    monkeypatch.setattr(DiskParser, name, counted)


@pytest.mark.parametrize("path", ["/v1/files", "/v1/registry/models/mood/versions"])
def test_forms(api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    calls: Counter[str] = Counter()
    for name in CALLBACKS:
        count(monkeypatch, calls, name)
    before = files_in(settings.data_dir)
    with api.client() as client:
        for name, (kind, body) in FORMS.items():
            calls.clear()
            reply = client.post(path, content=body, headers={"content-type": kind})
            assert 400 <= reply.status_code < 500, (name, reply.status_code, reply.text[:200])
            assert all(calls[callback] <= FIELDS + 1 for callback in CALLBACKS), (name, calls)
        assert client.get("/livez").status_code == 200
    assert files_in(settings.data_dir) - before == set()


def test_ranges_are_not_supported_and_cost_nothing(api: Api) -> None:
    content = b"a,b\n" + b"1,2\n" * 10_000
    with api.client() as client:
        file = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a.csv", content)}).json()["id"]
        for path in (f"/v1/files/{file}/content", "/docs/swagger-ui.css", "/"):
            whole = client.get(path)
            assert whole.status_code == 200 and (whole.content == content or not path.startswith("/v1"))
            for ranges in ("bytes=0-1", "bytes=" + "0-," * 5000, ",".join(f"{n}-" for n in range(3000)), "x=1"):
                reply = client.get(path, headers={"range": ranges})
                assert (reply.status_code, reply.content) == (200, whole.content), (path, ranges[:20])
