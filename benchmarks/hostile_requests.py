"""Creates and sends hostile requests: some have wrong values ("structured"), others have damaged bytes ("raw")."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from benchmarks import hostile_values as values

STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})", re.MULTILINE)
CODE = re.compile(rb"^x-error-code: *([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
MEDIA_TYPES = ("application/json", "text/plain", "application/json; charset=utf-16", "", "multipart/form-data", "*/*")
ENCODINGS = ("", "identity", "gzip", "zstd", "br", "gzip, gzip", "chunked")
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b"%00",
    b"%",
    b"..",
    b"//",
    b"?",
    b"#",
    b"\xff",
    b"\xc3\x28",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Connection: close, close\r\n",
    b"Host: other.example\r\n",
    b"X: " + b"y" * 70_000 + b"\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"-1\r\n",
    b"5;a=b\r\n",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.0",
    b"GET ",
    b"CONNECT ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"X: y\r\n" * 101,
)
# Errors that the documentation lists for every route: the time limit has passed, or the version is still being loaded.
EXPECTED = frozenset(("deadline_exceeded", "loading"))
ANSWER_SECONDS = 60.0  # time limit for the answer to a complete request
SILENCE_SECONDS = 1.0  # how long to wait for an answer to a damaged request


@dataclass(frozen=True)
class Ending:
    """How a request ended: the reply statuses, and the first error code. `hung`: a complete request had no answer."""

    statuses: tuple[int, ...]
    code: str = ""
    hung: bool = False


class Requests:
    """Draws requests to the operations of an OpenAPI document. `existing` maps parameters to values that exist."""

    def __init__(
        self,
        document: dict[str, Any],
        seed: int,
        secret: str,
        existing: dict[str, list[str]],
        kept: Collection[str] = (),
    ) -> None:
        """`kept` lists beginnings of paths. No DELETE request is drawn for a path with such a beginning."""
        self.draw, self.secret, self.existing = random.Random(seed), secret, existing
        self.operations = [
            (method.upper(), path, described)
            for path, methods in document["paths"].items()
            for method, described in methods.items()
            if method != "delete" or not path.startswith(tuple(kept) or "-")
        ]

    def structured(self) -> bytes:
        """Return a well-formed HTTP request with values that may be wrong."""
        draw = self.draw
        method, path, described = draw.choice(self.operations)
        headers: dict[str, str] = {"x-request-timeout-ms": "3000"}
        target = self._target(path, described.get("parameters", ()), headers)
        media, body = self._body(described)
        if media:
            headers["content-type"] = media if draw.random() < 0.95 else draw.choice(MEDIA_TYPES)
        if draw.random() < 0.03:
            headers["content-encoding"] = draw.choice(ENCODINGS)
        if draw.random() < 0.03:
            method = draw.choice(
                ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "\u00e9")
            )
            if method == "DELETE":
                target = "/v1/files/file-000000000000000000000000"
        return self._assembled(method, target, headers, body)

    def raw(self) -> bytes:
        """Return one or two requests with damaged bytes."""
        whole = self.structured()
        if self.draw.random() < 0.1:
            whole += self.structured()
        if self.draw.random() < 0.02:
            return self.draw.randbytes(self.draw.choice((1, 10, 100, 5000)))
        head, separator, body = whole.partition(b"\r\n\r\n")
        if self.draw.random() < 0.8:
            return values.damaged(head, self.draw, TOKENS) + separator + body
        return head + separator + values.damaged(body, self.draw, TOKENS)

    def _target(self, path: str, parameters: Iterable[dict[str, Any]], headers: dict[str, str]) -> str:
        """Fill in the parameters of a path, and draw the query. Adds the parameters that are headers to `headers`."""
        query = []
        for parameter in parameters:
            name, where, shown = (
                parameter["name"],
                parameter["in"],
                quote(self._parameter(parameter), "", errors="replace"),
            )
            if where == "path":
                path = path.replace(f"{{{name}}}", shown)
            elif self.draw.random() < 0.5 and name not in ("dry_run", "stream"):
                if where == "query":
                    query.append(f"{quote(name)}={shown}")
                else:
                    headers[name] = shown
        return path + ("?" + "&".join(query) if query else "")

    def _assembled(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", "host: localhost", "connection: close"]
        lines += [f"authorization: Bearer {self.secret}"] if self.draw.random() < 0.98 else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.draw.random() < 0.1 and body:
            sizes = [self.draw.choice((1, 3, 100, 5000)) for _ in range(20)]
            ends = [*itertools.accumulate(sizes), len(body)]
            pieces = [body[start:end] for start, end in itertools.pairwise((0, *ends)) if body[start:end]]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            lines.append("transfer-encoding: chunked")
        elif body or method in ("POST", "PUT"):
            lines.append(f"content-length: {len(body)}")
        return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body

    def _parameter(self, parameter: dict[str, Any]) -> str:
        draw, existing = self.draw, self.existing.get(parameter["name"])
        if existing and draw.random() < 0.6:
            return draw.choice(existing)
        schema = parameter.get("schema", {})
        examples = [
            *schema.get("examples", ()),
            *schema.get("enum", ()),
            *([parameter["example"]] if "example" in parameter else ()),
        ]
        if examples and draw.random() < 0.3:
            return str(draw.choice(examples))
        return str(values.value(draw, depth=3))[:3000]

    def _body(self, described: dict[str, Any]) -> tuple[str, bytes]:
        content = described.get("requestBody", {}).get("content", {})
        if not content:
            return ("", b"") if self.draw.random() < 0.95 else ("application/json", b"{}")
        media, entry = self.draw.choice(sorted(content.items()))
        if media != "application/json":
            return self._form(entry)
        examples = [example["value"] for example in entry.get("examples", {}).values()] or [{}]
        whole = self._named(self.draw.choice(examples))
        return media, values.encoded(values.changed(whole, self.draw, self.draw.choice((0, 1, 1, 2, 5))), self.draw)

    def _named(self, whole: Any) -> Any:
        """Replace the file ids in an example with existing ids, and the hosts with a host that does not exist."""
        text = re.sub(r"https?://[\w.-]+", "https://hooks.invalid", json.dumps(whole))
        for file in re.findall(r"file-[0-9a-f]{24}", text):
            text = text.replace(file, self.draw.choice(self.existing.get("file_id") or [file]))
        return json.loads(text)

    def _form(self, entry: dict[str, Any]) -> tuple[str, bytes]:
        draw, boundary = self.draw, draw_boundary(self.draw)
        parts = []
        for name, schema in entry["schema"].get("properties", {}).items():
            for _ in range(draw.choice((0, 1, 1, 1, 1, 2))):
                shown = self._parameter({"name": name, "schema": schema})
                if draw.random() < 0.5 and schema.get("examples"):
                    shown = str(schema["examples"][0])
                file = (
                    f'; filename="{draw.choice(("a.csv", "a.jsonl", "a.tar", "", "../a", "a.csv.gz", "x" * 300))}"'
                    if schema.get("format") == "binary"
                    else ""
                )
                content = self._content() if file else shown.encode("utf-8", "surrogatepass")
                parts.append(
                    f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content
                )
        body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
        if draw.random() < 0.2:
            body = values.damaged(body, draw, TOKENS)
        return f"multipart/form-data; boundary={boundary}", body

    def _content(self) -> bytes:
        rows = b"text,label\n" + b"".join(b"some text %d,%d\n" % (n, n % 2) for n in range(20))
        choices = (
            rows,
            b'{"text": "a", "label": "b"}\n' * 9,
            b"PK\x03\x04" + b"\0" * 90,
            b"PAR1" + b"\0" * 40 + b"PAR1",
            b"\x1f\x8b\x08" + b"\0" * 30,
            b"",
            b"\xff\xfea\0",
        )
        return values.damaged(self.draw.choice(choices), self.draw)


def draw_boundary(draw: random.Random) -> str:
    return draw.choice(("boundary", "b", "-", "x" * 70, "x" * 300, '"q"', "a b"))


async def send(host: str, port: int, request: bytes, complete: bool) -> Ending:
    """Send a request over a new connection. If it is `complete`, wait for its answer; otherwise, wait only briefly."""
    reader, writer = await asyncio.open_connection(host, port)
    reply = bytearray()
    try:
        writer.write(request)
        while piece := await asyncio.wait_for(reader.read(65_536), ANSWER_SECONDS if complete else SILENCE_SECONDS):
            reply = reply + piece if len(reply) < 4096 else reply  # only the beginning is of interest
    except TimeoutError:
        if complete:
            return Ending(_statuses(reply), hung=True)
    except ConnectionError:
        pass
    finally:
        writer.close()
    code = CODE.search(reply)
    return Ending(_statuses(reply), code[1].decode("latin-1") if code else "")


@dataclass
class Tally:
    """The number of replies with each status and code, and the requests whose replies are not `expected`."""

    replies: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[Ending, bytes]] = field(default_factory=list)

    def add(self, request: bytes, ending: Ending, expected: Collection[str]) -> None:
        self.replies.update(str(status) for status in ending.statuses or ("none",))
        failed = any(status >= 500 for status in ending.statuses)
        if failed:
            self.replies[ending.code] += 1
        if ending.hung or (failed and ending.code not in expected):
            self.findings.append((ending, request))


async def send_all(url: str, requests: Requests, count: int, *, at_once: int, expected: Collection[str]) -> Tally:
    """Send `count` requests, half of which are damaged, over at most `at_once` connections at a time."""
    host, _, port = url.removeprefix("http://").partition(":")
    tally, numbers = Tally(), iter(range(count))

    async def work() -> None:
        for number in numbers:
            complete = number % 2 == 0
            request = requests.structured() if complete else requests.raw()
            tally.add(request, await send(host, int(port), request, complete), expected)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return tally


def _statuses(reply: bytearray) -> tuple[int, ...]:
    return tuple(int(status) for status in STATUS.findall(reply))
