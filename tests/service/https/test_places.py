"""Adapters from web servers: only what is allowed is connected to, with a proof of who it is."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.https.site import CONTENT, HOST, Open, Site, fetching, files, serve_files
from support import faulty
from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_adapters.errors import (
    SourceNotAllowed,
)
from veneer_adapters.sources.remote import remote_sources

pytestmark = pytest.mark.slow  # servers of its own, retries and deadlines


def redirecting(target: str) -> faulty.Answer:
    """Send whoever asks for the folder to ``target``; ``{here}`` is the port they came to."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        name = path.rpartition("/")[2]
        if path.startswith("/adapters/x/"):
            port = writer.get_extra_info("sockname")[1]
            where = target.replace("{here}", str(port)).replace("{name}", name)
            writer.write(faulty.head(302, length=0, Location=where))
        else:
            body = CONTENT[name]
            writer.write(faulty.head(200, length=len(body)) + body)

    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/elsewhere/{name}",
        "../y/{name}",
        "https://models.example:{here}/elsewhere/{name}",
        "https://other.example:{here}/elsewhere/{name}",
        "//MODELS.example:{here}/elsewhere/{name}",
    ],
)
async def test_redirects_among_allowed_hosts_are_followed(target: str, site: Open) -> None:
    hosts = (HOST, "other.example")
    async with site(redirecting(target), hosts=hosts, private=hosts) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


ESCAPES = [
    "https://evil.example:{port}/x",
    "https://127.0.0.1:{port}/x",
    "https://[::1]:{port}/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://0x7f.1:{port}/x",
    "https://2130706433:{port}/x",
    "https://models.example/x",
    "https://models.example:1/x",
    "https://models.example.evil.example:{port}/x",
    "https://models.example@127.0.0.1:{port}/x",
    "https://user@models.example:{here}/x",
    "https://models.example:{here}\\@127.0.0.1/x",
    "http://models.example:{here}/x",
    "ftp://models.example:{here}/x",
    "file:///etc/passwd",
    "//evil.example:{port}/x",
    "https://models.example:99999/x",
]


@pytest.mark.parametrize("target", ESCAPES)
async def test_a_redirect_to_anywhere_else_is_not_followed(
    target: str, site: Open, tls: ssl.SSLContext
) -> None:
    async with faulty.serve(faulty.canary, tls) as canary:
        aimed = target.replace("{port}", str(canary.port))
        async with site(redirecting(aimed)) as here:
            error = await here.refused()
            assert set(here.server.paths) == {f"/adapters/x/{CONFIG_FILE}"}
    assert isinstance(error, SourceNotAllowed)
    assert canary.connections == 0


async def test_a_redirect_to_an_allowed_host_is_vetted_again(site: Open) -> None:
    hosts = (HOST, "other.example")
    target = redirecting("https://other.example:{here}/elsewhere/{name}")
    async with site(target, hosts=hosts, private=(HOST,)) as here:
        assert isinstance(await here.refused(), SourceNotAllowed)
        assert here.server.connections == 1


LOCATIONS = [
    "https://127.0.0.1:{port}/x",
    "https://localhost:{port}/x",
    "https://[::1]:{port}/x",
    "https://0x7f.1:{port}/x",
    "https://2130706433:{port}/x",
    "https://169.254.169.254/latest/meta-data",
    "https://models.example:{port}\\@127.0.0.1/x",
    "http://ok\\@127.0.0.1:{port}/x",
    "https://models.example@127.0.0.1:{port}/x",
    "https://user:pass@models.example:{port}/x",
    "https://models.example/x",
    "https://models.example:{port}/../x",
    "https://models.example:{port}/%2e%2e/x",
    "https://models.example:{port}/x\x00",
    "https://models.example:{port}/x?y",
    "https://models.example:{port}/x#pin",
    "http://models.example:{port}/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
    "//127.0.0.1:{port}/x",
    "\\\\127.0.0.1\\share",
]


@pytest.mark.parametrize("location", LOCATIONS)
async def test_no_location_leads_to_a_place_that_is_not_allowed(location: str, site: Open) -> None:
    async with site(faulty.canary) as here:
        error = await here.refused(location.replace("{port}", str(here.server.port)))
        assert here.server.connections == 0
    assert isinstance(error, SourceNotAllowed)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["169.254.169.254"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
async def test_an_allowed_name_with_a_private_address_is_not_connected_to(
    addresses: list[str], site: Open
) -> None:
    async def private(host: str, port: int) -> Sequence[str]:
        return addresses

    async with site(faulty.canary, private=(), resolve=private) as here:
        assert isinstance(await here.refused(), SourceNotAllowed)
        assert here.server.connections == 0


async def test_the_address_that_was_vetted_is_the_one_that_is_connected_to(site: Open) -> None:
    answers = ["127.0.0.1", "127.0.0.1"]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        # Whoever asked more than once for a connection would be led astray.
        return [answers.pop(0) if answers else "127.0.0.2"]

    async with site(resolve=rebinding) as here:
        await here.fetch()
        assert here.server.connections == 2


async def test_a_host_with_several_addresses_is_reached_at_any_of_them(site: Open) -> None:
    async def several(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with site(resolve=several) as here:
        await here.fetch()
    assert files(here.into) == CONTENT


async def test_proxies_of_the_environment_are_not_used(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty.serve(faulty.canary) as proxy, site() as here:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await here.fetch()
    assert proxy.connections == 0


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE"])
async def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    variable: str | None,
    tls: ssl.SSLContext,
    ca_file: Path,
    into: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, str(ca_file))
    async with faulty.serve(serve_files, tls) as server:
        here = Site(server, fetching(server.port, None), into)
        error = await here.refused()
        assert server.paths == []
    assert "certificate" in str(error)


async def test_a_certificate_of_another_name_is_not_trusted(site: Open) -> None:
    wrong = ("wrong.example",)
    async with site(hosts=wrong, private=wrong) as here:
        error = await here.refused(here.folder.replace(HOST, "wrong.example"))
        assert here.server.paths == []
    assert "certificate" in str(error)


async def test_what_the_operator_configures_is_what_may_be_fetched(
    tls: ssl.SSLContext, ca_file: Path, into: Path
) -> None:
    async with faulty.serve(serve_files, tls) as server:
        host = f"localhost:{server.port}"
        allowed = remote_sources(https_hosts=[host], private_hosts=["localhost"], ca_file=ca_file)
        await allowed.fetch(f"https://{host}/adapters/x", into)
        assert files(into) == CONTENT
        connections = server.connections
        public = remote_sources(https_hosts=[host], ca_file=ca_file)
        with pytest.raises(SourceNotAllowed):
            await public.fetch(f"https://{host}/adapters/x", into)
        with pytest.raises(SourceNotAllowed):
            await remote_sources().fetch(f"https://{host}/adapters/x", into)
        assert server.connections == connections
    assert files(into) == {}
