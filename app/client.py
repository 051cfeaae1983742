"""The service as seen from outside: a small HTTP client for the command line and the demo.

Knows addresses, keys and the shapes of replies and errors; knows nothing of terminals.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from app.errors import OstinatoError
from app.settings import Settings

TIMEOUT = httpx.Timeout(600.0, connect=5.0)


class ServiceError(OstinatoError):
    """The service refused, failed or could not be reached; the message is meant for people."""

    code = "service_error"


class Client:
    """One connection pool to one service. Every method raises ServiceError with a plain message."""

    def __init__(self, url: str, key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT, transport=transport)
        except (httpx.InvalidURL, ValueError) as error:
            raise ServiceError(f"OSTINATO_URL is no address: {error}") from None
        self.url = url.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.url, settings.api_key)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The decoded JSON reply of one request."""
        response = self._send(self._http.build_request(method, path, **options))
        response.read()
        self._check(response)
        try:
            return response.json()
        except ValueError:
            raise ServiceError(f"{self.url} answered {path} with something that is no JSON; is it Ostinato?") from None

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self.call("POST", path, headers=headers, **({} if body is None else {"json": body}))

    def pages(self, path: str, limit: int = 100, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a paged list."""
        after: str | None = None
        while True:
            page = self.get(path, limit=limit, after=after, **params)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = page["data"][-1]["id"]

    def upload(self, path: Path, purpose: str = "fine-tune") -> dict[str, Any]:
        """Store a local file for the service's use; the file object."""
        try:
            with path.open("rb") as stream:
                reply = self.call("POST", "/v1/files", data={"purpose": purpose}, files={"file": (path.name, stream)})
        except OSError as error:
            raise ServiceError(f"cannot read {path}: {error.strerror or error}") from None
        return dict(reply)

    def create_job(self, body: dict[str, Any]) -> dict[str, Any]:
        """Queue a training; sent again after a lost reply, it is the same job."""
        return dict(self.post("/v1/fine_tuning/jobs", body, headers={"Idempotency-Key": uuid.uuid4().hex}))

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a server-sent stream, up to its `[DONE]`; an error within it is raised."""
        response = self._send(self._http.build_request("POST", path, json=body), stream=True)
        try:
            if response.is_error:
                response.read()
                self._check(response)
            yield from _events(response.iter_lines())
        except httpx.HTTPError as error:
            raise ServiceError(f"the reply from {self.url} broke off: {_reason(error)}") from None
        finally:
            response.close()

    def download(self, path: str) -> Iterator[bytes]:
        response = self._send(self._http.build_request("GET", path), stream=True)
        try:
            if response.is_error:
                response.read()
                self._check(response)
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise ServiceError(f"the reply from {self.url} broke off: {_reason(error)}") from None
        finally:
            response.close()

    def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        try:
            return self._http.send(request, stream=stream)
        except httpx.TimeoutException:
            raise ServiceError(f"{self.url} did not answer in time") from None
        except httpx.HTTPError as error:
            raise ServiceError(
                f"cannot reach {self.url} ({_reason(error)}); start the service with `ostinato up`, "
                "or set OSTINATO_URL to where it runs"
            ) from None

    def _check(self, response: httpx.Response) -> None:
        if response.is_error:
            raise _error(response)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if event.get("error"):
            raise ServiceError(_message(event["error"]))
        yield event


def _missing(checks: dict[str, str]) -> str:
    """What /readyz says where the service is not ready."""
    found = "; ".join(f"{what}: {state}" for what, state in checks.items() if state != "ok")
    return f"the service is not ready: {found}"


def _message(error: object) -> str:
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _error(response: httpx.Response) -> ServiceError:
    try:
        said = response.json()
        error = said["error"] if "error" in said else _missing(said["checks"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ServiceError(f"{response.request.url} answered {response.status_code} {response.reason_phrase}")
    fields = error if isinstance(error, dict) else {}
    message = _message(error)
    if response.status_code == 401:
        message += " (set OSTINATO_API_KEY to the secret of a key)"
    failure = ServiceError(message, code=str(fields.get("code") or "service_error"), param=fields.get("param"))
    failure.status = response.status_code
    return failure
