"""A web server that has one adapter, over TLS, and the settings that allow it as a source."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from support import builders, faulty
from veneer_adapters.artifact.files import FILES


class Site:
    """A web server with one adapter, ``x``, that can be told to fail."""

    def __init__(self, adapter: Path) -> None:
        self._files = {name: (adapter / name).read_bytes() for name in FILES}
        self.down = False

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        folder, _, name = path.rpartition("/")
        if self.down:
            writer.write(faulty.head(503, length=0))
        elif folder == "/adapters/x" and name in self._files:
            body = self._files[name]
            writer.write(faulty.head(200, length=len(body)) + body)
        else:
            writer.write(faulty.head(404, length=0))


@dataclass
class Web:
    """A site, what it saw, and the settings that allow it."""

    site: Site
    seen: faulty.Faulty
    settings: dict[str, Any]


@asynccontextmanager
async def website(folder: Path) -> AsyncIterator[Web]:
    """Serve the adapter ``x``, made in ``folder``, on loopback."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    site = Site(builders.write(folder / "made", seed=1))
    async with faulty.serve(site.answer, tls) as seen:
        place = f"localhost:{seen.port}"
        settings = {
            "https_hosts": [place],
            "private_hosts": ["localhost"],
            "ca_file": folder / "ca.pem",
            "pull": [f"https://{place}/adapters/{{name}}"],
            "timeout_s": 20.0,
        }
        yield Web(site, seen, settings)
