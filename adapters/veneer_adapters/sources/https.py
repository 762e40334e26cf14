"""Adapters on web servers: ``https://host/folder/`` with both files in the folder.

Only hosts that the operator names are asked, and only at vetted addresses. A redirect may lead only
to such a host. Proxy settings and the like in the environment are ignored.
"""

import base64
import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import (
    ChecksumMismatch,
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
    quoted,
)
from veneer_adapters.sources.fetching import Fetched, OnBytes, TryAgain
from veneer_adapters.sources.locations import parse_host, parse_location
from veneer_adapters.sources.pauses import asked_pause_s
from veneer_adapters.sources.vetting import Vetting
from veneer_adapters.sources.writing import receive

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404, 410})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "veneer"}


class HttpsFetcher:
    """Fetches from the web servers of ``hosts``, each of them ``host`` or ``host:port``."""

    schemes = frozenset({"https"})

    def __init__(
        self, hosts: Collection[str], *, vetting: Vetting, ca_file: Path | None = None
    ) -> None:
        """Trust the usual certificate authorities and those in ``ca_file``."""
        self._hosts = frozenset(parse_host(host) for host in hosts)
        self._vetting = vetting
        self._trust = httpx.create_ssl_context(trust_env=False)
        if ca_file is not None:
            self._trust.load_verify_locations(ca_file)

    def whom(self, location: str) -> str:
        """Return the host, with its port."""
        host, port = parse_host(parse_location(location).place)
        return f"{host}:{port}"

    async def fetch(self, location: str, into: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch both files of the folder at ``location``; see ``Fetcher``."""
        parsed = parse_location(location)
        if parsed.pin:
            raise SourceNotAllowed("The web address of an adapter must not have a part behind #.")
        folder = httpx.URL(f"{parsed}/")
        self._require_allowed(folder)
        transport = _Vetted(self._vetting, self._trust)
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, timeout=_TIMEOUT, headers=_HEADERS
        ) as client:
            done = 0
            for name in FILES:
                done = await self._fetch_file(client, folder.join(name), into, done, on_bytes)
        return Fetched(into, str(folder))

    async def _fetch_file(
        self, client: httpx.AsyncClient, url: httpx.URL, into: Path, done: int, on_bytes: OnBytes
    ) -> int:
        name = url.path.rpartition("/")[2]
        async with _translated(url.host), self._answer(client, url) as response:
            _require_file(response, name)
            size = _announced_bytes(response)
            total = done + size if size is not None and name == FILES[-1] else None
            on_bytes(done, total)
            arrived, hashed = 0, hashlib.sha256()

            def seen(chunk: bytes) -> None:
                nonlocal arrived
                arrived += len(chunk)
                hashed.update(chunk)
                on_bytes(done + arrived, total)

            await receive(_body(response), into / name, seen)
            _require_digest(response, name, hashed.digest())
        return done + arrived

    @asynccontextmanager
    async def _answer(
        self, client: httpx.AsyncClient, url: httpx.URL
    ) -> AsyncIterator[httpx.Response]:
        for _ in range(_MAX_REDIRECTS + 1):
            async with client.stream("GET", url) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                url = self._redirected(url, response.headers.get("location", ""))
        raise SourceUnavailable(f"The host {quoted(url.host)} redirects again and again.")

    def _redirected(self, url: httpx.URL, target: str) -> httpx.URL:
        try:
            joined = url.join(target)
        except httpx.InvalidURL as error:
            raise SourceNotAllowed("The source redirects to a malformed address.") from error
        self._require_allowed(joined)
        return joined

    def _require_allowed(self, url: httpx.URL) -> None:
        host = (url.host, url.port or 443)
        if url.scheme != "https" or url.userinfo or host not in self._hosts:
            shown = quoted(f"{url.host}:{url.port}" if url.port else url.host)
            raise SourceNotAllowed(f"Adapters may not come from the host {shown}.")


class _Vetted(httpx.AsyncBaseTransport):
    """Connects to a vetted address, but keeps the name for the certificate and for ``Host``."""

    def __init__(self, vetting: Vetting, trust: ssl.SSLContext) -> None:
        self._vetting = vetting
        # No connection is kept, because two hosts at one address must not share one.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=trust, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        *others, last = await self._vetting.addresses(request.url.host, request.url.port or 443)
        for address in others:
            try:
                return await self._inner.handle_async_request(_aimed(request, address))
            except httpx.ConnectError:
                continue
        return await self._inner.handle_async_request(_aimed(request, last))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _aimed(request: httpx.Request, address: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def _require_file(response: httpx.Response, name: str) -> None:
    status = response.status_code
    if status in _MISSING:
        raise MissingFile(f"The source has no {quoted(name)} there.")
    if status in _PASSING:
        pause_s = asked_pause_s(response.headers.get("retry-after", ""))
        raise TryAgain(f"The source answered with status {status}.", retry_after_s=pause_s)
    if status != httpx.codes.OK:
        raise SourceUnavailable(f"The source answered with status {status}.")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise SourceUnavailable("The source sends compressed content, which is not accepted.")


def _announced_bytes(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length")
    if length is not None:
        return int(length)
    if response.headers.get("transfer-encoding", "").lower() == "chunked":
        return None
    raise SourceUnavailable("The source does not say how long its files are.")


async def _body(response: httpx.Response) -> AsyncGenerator[bytes]:
    # Raw, so nothing is decompressed. HTTP itself (h11) checks that no byte is missing.
    async for chunk in response.aiter_raw(_CHUNK_BYTES):
        yield chunk


def _require_digest(response: httpx.Response, name: str, sha256: bytes) -> None:
    # RFC 9530: sha-256=:<base64>:
    for member in response.headers.get("repr-digest", "").split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm == "sha-256" and value != f":{base64.b64encode(sha256).decode()}:":
            raise ChecksumMismatch(f"{quoted(name)} does not match the checksum of the source.")


@asynccontextmanager
async def _translated(host: str) -> AsyncIterator[None]:
    try:
        yield
    except (httpx.TransportError, ssl.SSLError) as error:  # httpx lets those of a read through
        if _is_untrusted(error):
            raise SourceUnavailable(
                f"The certificate of the host {quoted(host)} is not trusted."
            ) from error
        raise TryAgain(f"The connection to the host {quoted(host)} failed.") from error


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
