"""Pages for people, and headers for pages of other origins."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import Served, serve_echo
from veneer_server.settings import Settings


async def get(url: str, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.get(path, headers=headers)


async def test_the_first_page_says_what_this_is_and_links_the_rest(echo: Served) -> None:
    page = await get(echo.url, "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert f"OPENAI_BASE_URL={echo.url}/v1" in page.text
    links = re.findall('href="([^"]+)"', page.text)
    assert "docs" in links
    for link in links:
        assert (await get(echo.url, f"/{link}")).status_code == 200, link


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_anywhere(echo: Served, path: str) -> None:
    page = (await get(echo.url, path)).text
    assert not re.findall(r"<(?:script|link|img|iframe)\b|@import|url\(", page)


async def test_a_host_header_cannot_write_into_the_page(echo: Served) -> None:
    page = await get(echo.url, "/", host="a<b>c")
    assert "<b>" not in page.text


ACTIONS = ("load", "unload", "rollback", "cancel", "pause", "resume", "compact")
"""Ends of paths to which nothing is sent."""


async def test_the_document_describes_every_route_and_its_body(echo: Served) -> None:
    document = (await get(echo.url, "/openapi.json")).json()
    document_checked(document)
    assert document["openapi"].startswith("3.1")
    assert "#/$defs/" not in str(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], path
            assert {"4XX", "5XX"} <= operation["responses"].keys(), path
            has_body = "requestBody" in operation
            is_action = path.rpartition("/")[2] in ACTIONS
            assert has_body == (method in ("post", "put", "patch") and not is_action), path
    page = (await get(echo.url, "/docs")).text
    for path in document["paths"]:
        assert path in page


def document_checked(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            parts = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert parts == set(re.findall(r"{(\w+)}", path)), path


@pytest.mark.parametrize(
    ("host", "pages", "shown"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", None, False),  # noqa: S104
        ("0.0.0.0", True, True),  # noqa: S104
    ],
)
def test_beyond_loopback_there_are_no_pages_unless_they_are_asked_for(
    host: str, pages: bool | None, shown: bool
) -> None:
    server = {"host": host, "pages": pages, "api_key": "secret"}
    assert Settings.load(environ={}, flags={"server": server}).server.shows_pages() is shown


async def test_without_pages_there_is_nothing_to_read(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, server={"pages": False}) as served:
        for path in ("/", "/docs", "/openapi.json"):
            assert (await get(served.url, path)).status_code == 404


async def test_a_page_of_an_allowed_origin_may_read_our_headers(tmp_path: Path) -> None:
    origin = "https://app.example"
    async with serve_echo(tmp_path, server={"cors_origins": [origin]}) as served:
        found = await get(served.url, "/v1/models", origin=origin)
    exposed = found.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-veneer-adapter", "retry-after"} <= {*exposed}
