"""The documentation pages and the OpenAPI document behind them."""

from __future__ import annotations

import re

import httpx

from tests.serving import Api

ALWAYS_LIVE = ("/livez", "/v2/health/live")  # routes that cannot fail


def test_documentation_loads_nothing_from_other_sites(api: Api) -> None:
    with api.client() as client:
        for page in ("/docs", "/redoc"):
            html = client.get(page).text
            sources = re.findall(r'(?:src|href)="([^"]+)"', html)
            assert sources and not [s for s in sources if not s.startswith("/")]
            for source in sources:
                assert client.get(source).status_code == 200, source


def test_every_route_is_described(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    names = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary") and operation.get("description"), where
            assert any(s.startswith("2") for s in operation["responses"]), where
            assert "HTTPValidationError" not in str(operation["responses"]), where
            names.append(operation["operationId"])
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert media.get("examples") or media.get("example") or "form" in str(operation["requestBody"]), where
    assert len(names) == len(set(names))


def test_every_reply_has_a_type_and_every_route_lists_an_error(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi.json", timeout=60).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert path in ALWAYS_LIVE or any(s[0] in "45" for s in operation["responses"]), where
            for status, reply in operation["responses"].items():
                for media, content in reply.get("content", {}).items():
                    assert {"$ref", "type", "anyOf", "oneOf"} & content["schema"].keys(), f"{where} {status} {media}"


def test_a_route_that_only_streams_lists_no_json_reply(api: Api) -> None:
    paths = httpx.get(f"{api.url}/openapi.json", timeout=60).json()["paths"]
    streams = [path for path in paths if path.endswith("/generate_stream")]
    assert len(streams) == 3
    for path in streams:
        assert list(paths[path]["post"]["responses"]["200"]["content"]) == ["text/event-stream"], path


def test_schema_references_of_the_document_exist(api: Api) -> None:
    text = httpx.get(f"{api.url}/openapi.json", timeout=60).text
    names = set(httpx.get(f"{api.url}/openapi.json", timeout=60).json()["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= names


def test_redoc_asks_no_other_site_for_a_picture(api: Api) -> None:
    with api.client() as client:
        script = client.get("/redoc/redoc.standalone.js").text
    assert "cdn.redoc.ly" not in script and 'src:"data:,"' in script
