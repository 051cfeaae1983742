"""A small HTTP client for the service, used by the command line and the demo."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import tempfile
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from app.errors import OstinatoError
from app.settings import Settings

PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # not escaped in paths; an unescaped ? or #, for example, would end the path
PROXY_STATUSES = (407, 502, 503, 504)  # replies of proxies that refuse a request or cannot reach the service
PLAIN_HTTP = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # OpenSSL's errors if the reply is not encrypted
TIMEOUT = httpx.Timeout(600.0, connect=5.0)


class ServiceError(OstinatoError):
    """The service rejected a request, failed, or could not be reached."""

    code = "service_error"


class Client:
    """A connection pool to one service. Every request raises ServiceError if it fails."""

    def __init__(self, url: str, key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        if not (key.isascii() and key.isprintable()):
            raise ServiceError("OSTINATO_API_KEY contains characters that are not valid in a key; copy the key again")
        if key != key.strip():  # httpx would refuse the header with an error that contains the key
            raise ServiceError("OSTINATO_API_KEY begins or ends with a space; copy the key again")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.url = base_url(url)
        trusting = not is_loopback(self.url)  # no proxy for loopback addresses, which a proxy could not reach
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=trusting
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            raise ServiceError(
                f"the proxy in the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) cannot be used: "
                f"{_reason(error)}; set NO_PROXY={httpx.URL(self.url).host} to connect without it"
            ) from None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Create a client for the service at `settings.service_url`, with the key `settings.api_key`."""
        return cls(settings.service_url, settings.api_key)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Send one request and return the decoded JSON reply. `options` are passed to httpx."""
        response = self._send(self._request(method, path, **options))
        response.read()
        self._check(response)
        try:
            return response.json()
        except ValueError:
            raise ServiceError(
                f"the reply from {self.url}{path} is not valid JSON; check that OSTINATO_URL is the URL of a service"
            ) from None

    def get(self, path: str, **params: Any) -> Any:
        """Send a GET request and return the decoded JSON reply. Parameters that are None are omitted."""
        return self.call("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send a POST request and return the decoded JSON reply. `body` is sent as JSON unless it is None."""
        return self.call("POST", path, headers=headers, **({} if body is None else {"json": body}))

    def pages(self, path: str, limit: int = 100, **params: Any) -> Iterator[dict[str, Any]]:
        """Iterate over all items of a paginated list, requesting `limit` items per page."""
        after: str | None = None
        while True:
            page = self.get(path, limit=limit, after=after, **params)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = page["data"][-1]["id"]

    def upload(self, path: Path, purpose: str = "fine-tune", seconds: int | None = None) -> dict[str, Any]:
        """Upload a local file and return its file object. With `seconds`, the service deletes the file at that age."""
        name, form = name_of(path), {"purpose": purpose}
        if seconds is not None:
            form |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(seconds)}
        try:
            with _seekable(path) as stream:
                reply = self.call("POST", "/v1/files", data=form, files={"file": (name, stream)})
        except OSError as error:
            raise ServiceError(f"cannot read {path}: {error.strerror or error}") from None
        return dict(reply)

    def create_job(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a training job. The idempotency key ensures that a retried request does not create a second job."""
        return dict(self.post("/v1/fine_tuning/jobs", body, headers={"Idempotency-Key": uuid.uuid4().hex}))

    def estimate_job(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the estimate for a training job with this body, without creating the job."""
        return dict(self.call("POST", "/v1/fine_tuning/jobs", params={"dry_run": "true"}, json=body))

    def create_evaluation(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create an evaluation. The idempotency key prevents a retried request from creating a second evaluation."""
        return dict(self.post("/v1/evaluations", body, headers={"Idempotency-Key": uuid.uuid4().hex}))

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a POST request and iterate over the events up to `[DONE]`. Raises ServiceError for an error event."""
        response = self._send(self._request("POST", path, json=body), stream=True)
        try:
            if response.is_error:
                response.read()
                self._check(response)
            yield from _events(response.iter_lines())
        except httpx.HTTPError as error:
            raise ServiceError(f"the reply from {self.url} was interrupted: {_reason(error)}") from None
        finally:
            response.close()

    def download(self, path: str) -> Iterator[bytes]:
        """Send a GET request and iterate over the chunks of the reply's body."""
        response = self._send(self._request("GET", path), stream=True)
        try:
            if response.is_error:
                response.read()
                self._check(response)
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise ServiceError(f"the reply from {self.url} was interrupted: {_reason(error)}") from None
        finally:
            response.close()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Request:
        parts = path.split("/")[1:]
        if "" in parts and path != "/":
            raise ServiceError("an id or a name is empty")
        for part in parts:
            if part in (".", ".."):
                raise ServiceError(f"{part!a} is not a valid id or name")
        try:
            return self._http.build_request(method, quote(path, safe=PATH_CHARACTERS), **options)
        except UnicodeEncodeError as error:
            part = error.object[max(0, error.start - 20) : error.end + 20]
            raise ServiceError(f"{part!a} is not UTF-8 text, so it cannot be sent") from None
        except (httpx.InvalidURL, ValueError) as error:
            raise ServiceError(f"the request for {path!a} cannot be sent: {_reason(error)}") from None

    def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        try:
            return self._http.send(request, stream=stream)
        except httpx.TimeoutException:
            raise ServiceError(f"{self.url} did not answer in time{self._through_proxy()}") from None
        except httpx.HTTPError as error:
            if any(sign in str(error) for sign in PLAIN_HTTP):
                plain = self.url.replace("https://", "http://", 1)
                raise ServiceError(f"{self.url} answers without encryption; use {plain} (OSTINATO_URL)") from None
            advice = self._through_proxy() or (
                "; start the service with `ostinato up`, or set OSTINATO_URL to its address"
            )
            raise ServiceError(f"cannot reach {self.url} ({_reason(error)}){advice}") from None

    def _check(self, response: httpx.Response) -> None:
        if not response.is_error:
            return
        error = _error(response)
        if error.code == "not_json" and response.status_code in PROXY_STATUSES:
            raise ServiceError(error.message + self._through_proxy()) from None
        raise error

    def _through_proxy(self) -> str:
        """Return a suffix for error messages that names the proxy in use, or an empty string if there is none."""
        url = httpx.URL(self.url)
        proxies = {} if is_loopback(self.url) else urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(url.host):
            return ""
        shown = proxy.rpartition("@")[2].rpartition("://")[2]  # without the password
        return (
            f" through the proxy {shown} (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY); set NO_PROXY={url.host} to connect "
            "without it"
        )


def name_of(path: Path) -> str:
    """Return a file's name for messages and uploads: "pipe" for file descriptors, such as a shell's /dev/fd/63."""
    if path.as_posix() in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        return "standard input"
    if path.parent.as_posix() in ("/dev/fd", "/proc/self/fd"):
        return "pipe"
    return os.fsencode(path.name).decode("utf-8", "replace")


def base_url(url: str) -> str:
    """Add a missing scheme to a service URL, and remove a trailing `/v1`. Raises ServiceError for an invalid URL."""
    text = url.strip()
    text = (text if "://" in text else f"http://{text}").rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parsed = httpx.URL(text)
        valid = parsed.scheme in ("http", "https") and bool(parsed.host)
    except (httpx.InvalidURL, ValueError):
        valid = False
    if not valid:
        raise ServiceError(f"OSTINATO_URL is not a valid URL: {url!a}; it must look like http://127.0.0.1:8000")
    return text


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine: localhost, or a loopback or unspecified address."""
    host = httpx.URL(url).host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """Open a file for uploading. A pipe is first copied to a temporary file to determine its size."""
    with path.open("rb") as stream:
        if stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy)
            copy.seek(0)
            yield copy


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise ServiceError(f"the reply contains an event that is not valid JSON: {data[:80]!a}") from None
        if event.get("error"):
            raise ServiceError(_message(event["error"]))
        yield event


def _not_ready(checks: dict[str, str]) -> str:
    """Return a message that lists the failed `/readyz` checks."""
    failed = "; ".join(f"{check}: {state}" for check, state in checks.items() if state != "ok")
    return f"the service is not ready: {failed}"


def _message(error: object) -> str:
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _error(response: httpx.Response) -> ServiceError:
    """Convert a failed response to an error. The response may be in any of the service's dialects."""
    try:
        body = response.json()
        error = body["error"] if "error" in body else _not_ready(body["checks"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
        return ServiceError(text, code="not_json")
    fields = error if isinstance(error, dict) else {}
    message = _message(error)
    if response.status_code == 401:
        message += " (set OSTINATO_API_KEY to the secret of a key)"
    failure = ServiceError(message, code=str(fields.get("code") or "service_error"), param=fields.get("param"))
    failure.status = response.status_code
    return failure
