"""Unusual bytes in arguments, standard input and output lead to a result or a clear message, never to a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.service import Service
from tests.cli.test_inference import classified

EMOJI = "good \N{GRINNING FACE}"


@pytest.fixture
def reading(service: Service) -> Service:
    service.routes["POST /v1/classify"] = classified
    return service


def run(*arguments: str | bytes, content: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a separate process, which decodes its arguments as a shell passes them."""
    command = [sys.executable, "-m", "app.cli", *arguments]
    done = subprocess.run(command, input=content, capture_output=True, env={**os.environ, **environment}, timeout=120)
    assert b"Traceback" not in done.stderr + done.stdout
    return done


def test_an_argument_that_is_not_utf_8_is_named(reading: Service) -> None:
    done = run("classify", "-m", "m", b"sch\xf6n")
    assert done.returncode == 1 and rb"'sch\xf6n' is not UTF-8" in done.stderr and not reading.requests


def test_a_file_may_have_any_name(reading: Service, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/sch\xf6n.txt"
    with open(path, "wb") as file:
        file.write(b"a fine day\n")
    assert run("classify", "-m", "m", "--file", path).returncode == 0
    reading.routes["POST /v1/files"] = (200, {"id": "file-1"})
    done = run("files", "upload", path)
    assert done.returncode == 0 and rb"sch\udcf6n.txt" in done.stdout


def test_output_escapes_what_its_encoding_lacks(reading: Service) -> None:
    done = run("classify", "-m", "m", EMOJI, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and rb"good \U0001f600" in done.stdout


def test_json_stays_json_in_every_encoding(service: Service) -> None:
    service.routes["POST /v1/completions"] = (200, {"choices": [{"text": EMOJI}]})
    done = run("generate", "-m", "m", "--json", "x", PYTHONIOENCODING="ascii")
    assert rb"\ud83d\ude00" in done.stdout


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("command", ["classify", "generate"])
def test_a_byte_order_mark_is_not_part_of_the_text(service: Service, command: str, mark: bytes) -> None:
    service.routes |= {"POST /v1/classify": classified, "POST /v1/completions": (200, {})}
    assert run(command, "-m", "m", "--json", content=mark + b"good film\n").returncode == 0
    body = service.requests[0].json
    assert (body["input"] if command == "classify" else body["prompt"]) in (["good film"], "good film\n")


def test_utf_16_is_read_by_its_mark(reading: Service) -> None:
    assert run("classify", "-m", "m", content="schön\nrain\n".encode("utf-16")).returncode == 0
    assert reading.requests[0].json["input"] == ["schön", "rain"]


@pytest.mark.parametrize("command", ["classify", "generate"])
def test_standard_input_that_is_not_utf_8_is_refused_with_its_line(reading: Service, command: str) -> None:
    done = run(command, "-m", "m", content=b"a fine day\nsch\xf6n\n")
    assert done.returncode == 1 and b"standard input: line 2 is not utf-8" in done.stderr


def test_closed_streams_are_no_errors(reading: Service) -> None:
    for streams in ("<&-", ">&-", "2>&-", ">/dev/full"):
        script = f'"$0" -m app.cli classify -m m {"" if streams == "<&-" else "x"} {streams}'
        done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, timeout=120)
        assert b"Traceback" not in done.stderr + done.stdout, streams
        assert b"Exception ignored" not in done.stderr, streams
        full = b"ostinato: cannot write the output: No space left on device\n"
        assert (done.stderr == full) == (streams == ">/dev/full")
