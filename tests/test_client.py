"""The HTTP client: URLs, and proxies from the environment."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.client import Client, ServiceError, base_url, is_loopback, name_of
from tests.cli.service import Service


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://host/prefix/v1/", "http://host/prefix"),
        ("localhost:9000", "http://localhost:9000"),
        (" https://host/ ", "https://host"),
        ("[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_a_url_is_understood_as_people_write_it(url: str, root: str) -> None:
    assert base_url(url) == root


def test_a_service_without_encryption_is_reached_with_http() -> None:
    with Service() as service, Client(service.url.replace("http:", "https:")) as client:
        with pytest.raises(ServiceError) as caught:
            client.get("/v1/models")
        assert caught.value.message == f"{client.url} answers without encryption; use {service.url} (OSTINATO_URL)"


@pytest.mark.parametrize("key", ["secret-of-ann ", " secret-of-ann", "secret-of-ann\n", "secr\u00e9t-of-ann"])
def test_a_key_that_no_header_can_contain_is_not_shown(key: str) -> None:
    with pytest.raises(ServiceError, match="copy the key again") as caught:
        Client("http://127.0.0.1:8000", key)
    assert "of-ann" not in caught.value.message


@pytest.mark.parametrize("url", ["", "http://", "ftp://host", "http://host:port", "http://sch\udcf6n"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match="OSTINATO_URL is not a valid URL"):
        Client(url)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.8.0.1", True), ("[::1]", True), ("0.0.0.0", True), ("a.localhost", True),
     ("10.0.0.1", False), ("localhost.example.org", False), ("[2001:db8::1]", False)],
)  # fmt: skip
def test_loopback_addresses_are_known(host: str, local: bool) -> None:
    assert is_loopback(f"http://{host}:8000") is local


PROXIES = [
    {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
    {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"},
    {"http_proxy": "not a proxy"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::bad"},
]


@pytest.mark.parametrize("environment", PROXIES)
def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Service({"GET /version": (200, {"version": "1"})}) as service, Client(service.url) as client:
        assert client.get("/version") == {"version": "1"}


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "not a proxy", "gopher://127.0.0.1"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with pytest.raises(ServiceError, match=r"proxy|reach"):
        Client("http://ostinato.invalid").get("/version")


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening, so connections are refused
        port = closed.getsockname()[1]
        monkeypatch.setenv(variable, f"http://user:secret@127.0.0.1:{port}")
        with pytest.raises(ServiceError) as caught, Client("http://10.1.2.3:8000") as client:
            client.get("/version")
    message = caught.value.message
    assert f"through the proxy 127.0.0.1:{port}" in message and "set NO_PROXY=10.1.2.3" in message
    assert "secret" not in message and "ostinato up" not in message


def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Service() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        for status in (407, 502):
            proxy.routes["GET http://ostinato.invalid/version"] = (status, b"<html>no</html>")
            with pytest.raises(ServiceError, match=f"answered {status} .* through the proxy 127.0.0.1"):
                Client("http://ostinato.invalid").get("/version")
        proxy.routes["GET http://ostinato.invalid/version"] = (502, {"error": {"message": "the engine is lost"}})
        with pytest.raises(ServiceError, match=r"^the engine is lost$"):
            Client("http://ostinato.invalid").get("/version")


@pytest.mark.parametrize(
    ("path", "name"),
    [("/dev/fd/63", "pipe"), ("/dev/stdin", "standard input"), ("/dev/fd/0", "standard input"), ("a/63", "63")],
)
def test_a_pipe_has_a_name(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ServiceError, match="OSTINATO_API_KEY"):
        Client("http://127.0.0.1", key)


@pytest.mark.parametrize("name", ["a?limit=1", "a#b", "a b", "50%", "a\tb", "ü"])
def test_a_name_stays_a_part_of_the_path(name: str) -> None:
    with Service() as service, Client(service.url) as client:
        with pytest.raises(ServiceError):
            client.get(f"/v1/models/{name}")
        (request,) = service.requests
        assert unquote(request.path) == f"/v1/models/{name}" and not request.query


def test_a_name_cannot_lead_to_another_route() -> None:
    with Service() as service, Client(service.url) as client:
        with pytest.raises(ServiceError, match="is not a valid id or name"):
            client.call("DELETE", "/v1/files/../models/reviews")
        assert not service.requests
