"""SEC-13: webhooks reach no address of the internal network, whatever the URL, the name server or a redirect says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from app.settings import Settings
from app.webhooks.events import EVENT_TYPES
from tests.security.attacks import code
from tests.serving import Api
from tests.webhooks.receiver import Receiver

ENDPOINTS = "/v1/webhook_endpoints"
URLS = (
    "https://127.0.0.1/x", "http://127.0.0.1:{port}/x", "https://127.1/x", "https://2130706433/x", "https://0x7f.1/x",
    "https://0177.0.0.1/x", "https://localhost/x", "http://localhost:{port}/x", "https://a.localhost/x",
    "https://0.0.0.0/x", "https://0/x", "https://[::1]/x", "http://[::1]:{port}/x", "https://[::]/x",
    "https://[::ffff:127.0.0.1]/x", "https://[64:ff9b::7f00:1]/x", "https://[2002:7f00:1::]/x", "https://[fe80::1]/x",
    "https://[fd00:ec2::254]/x", "https://[ff02::1]/x", "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1/x", "https://172.16.0.1/x", "https://192.168.0.1/x", "https://100.64.0.1/x",
    "https://224.0.0.1/x", "https://255.255.255.255/x", "http://example.com/x", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/x", "https://example.com@127.0.0.1/x", "https://127.0.0.1#@example.com/",
    "https://127.0.0.1\\@example.com/", "https://example.com\r\nhost: a/",
)  # fmt: skip


def body(url: str) -> dict[str, Any]:
    return {"name": "attack", "url": url, "event_types": list(EVENT_TYPES)}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Replaces the answers of the name server: name -> the addresses in the first answer, in the second one, …"""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host not in answers:
            return real(host, port, *arguments, **options)
        addresses = answers[host].pop(0)
        return [entry for address in addresses for entry in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


def test_internal_addresses_are_refused_in_every_notation(client: httpx.Client, receiver: Receiver) -> None:
    endpoint = client.post(ENDPOINTS, json=body("https://example.com/x")).json()
    for url in URLS:
        sent = url.format(port=receiver.port)
        for reply in (
            client.post(ENDPOINTS, json=body(sent)),
            client.post(f"{ENDPOINTS}/{endpoint['id']}", json={"url": sent}),
        ):
            assert reply.status_code == 400 and reply.json()["error"]["param"] == "url", (sent, reply.text)
    assert receiver.received == []
    assert [each["url"] for each in client.get(ENDPOINTS).json()["data"]] == ["https://example.com/x"]


def test_names_of_internal_addresses_are_refused(
    client: httpx.Client, receiver: Receiver, name_server: dict[str, list[list[str]]]
) -> None:
    url = f"https://attack.example:{receiver.port}/x"
    endpoint = client.post(ENDPOINTS, json=body(url)).json()
    for addresses in (["127.0.0.1"], ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"]):
        name_server["attack.example"] = [addresses]
        reply = client.post(f"{ENDPOINTS}/{endpoint['id']}/test", json={"event_type": EVENT_TYPES[0]})
        assert code(reply) == "webhook_not_answered" and "loopback" in reply.text
        assert not any(address in reply.text for address in addresses)
    assert receiver.received == []


class TestWithASetting:
    """A setting allows the network of the receiver."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, webhook_networks="127.0.0.1")

    def test_a_rebound_name_does_not_change_the_address(
        self, client: httpx.Client, receiver: Receiver, name_server: dict[str, list[list[str]]]
    ) -> None:
        """The name is resolved only once, so a second answer with another address has no effect."""
        with Receiver() as internal:
            name_server["attack.example"] = [["127.0.0.1"], ["127.0.0.2"]]
            endpoint = client.post(ENDPOINTS, json=body(f"http://attack.example:{receiver.port}/x")).json()
            test = f"{ENDPOINTS}/{endpoint['id']}/test"
            reply = client.post(test, json={"event_type": EVENT_TYPES[0]})
            assert reply.json()["status_code"] == 200 and len(receiver.received) == 1
            assert name_server["attack.example"] == [["127.0.0.2"]]
            reply = client.post(test, json={"event_type": EVENT_TYPES[0]})  # each request checks the address anew
            assert code(reply) == "webhook_not_answered" and "loopback" in reply.text
            assert internal.received == [] and len(receiver.received) == 1

    def test_a_redirect_to_an_internal_address_is_not_followed(self, client: httpx.Client) -> None:
        with Receiver() as internal:

            def redirect(handler: Any) -> None:
                handler.send_response(307)
                handler.send_header("location", internal.url)
                handler.send_header("content-length", "0")
                handler.end_headers()

            with Receiver(answer=redirect) as receiver:
                endpoint = client.post(ENDPOINTS, json=body(receiver.url)).json()
                reply = client.post(f"{ENDPOINTS}/{endpoint['id']}/test", json={"event_type": EVENT_TYPES[0]})
                assert reply.json()["status_code"] == 307
            assert internal.received == []

    def test_the_setting_allows_only_its_networks(self, client: httpx.Client) -> None:
        for address in ("127.0.0.2", "[::1]", "10.0.0.1"):
            assert code(client.post(ENDPOINTS, json=body(f"http://{address}/x"))) == "webhook_address_refused"
