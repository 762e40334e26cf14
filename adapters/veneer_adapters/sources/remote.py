"""All the remote sources that adapters may come from, made from plain values."""

from collections.abc import Collection
from pathlib import Path

from veneer_adapters.sources.fetching import Fetcher, Fetching
from veneer_adapters.sources.https import HttpsFetcher
from veneer_adapters.sources.objectstore import ObjectStoreFetcher
from veneer_adapters.sources.vetting import Vetting


def remote_sources(
    *,
    hub_orgs: Collection[str] = (),
    https_hosts: Collection[str] = (),
    private_hosts: Collection[str] = (),
    buckets: Collection[str] = (),
    timeout_s: float = 60.0,
    max_bytes: int = 4 << 30,
    ca_file: Path | None = None,
) -> Fetching:
    """Return what fetches from the places named here, and from nowhere else.

    Raises:
        SourceNotAllowed: a host or bucket is malformed.
        OSError: ``ca_file`` cannot be read.
    """
    fetchers: list[Fetcher] = []
    if hub_orgs:
        # A late import: it takes a third of a second, and most servers do not use the Hub.
        from veneer_adapters.sources.hub import HubFetcher

        fetchers.append(HubFetcher(hub_orgs))
    if https_hosts:
        vetting = Vetting(private_hosts=private_hosts)
        fetchers.append(HttpsFetcher(https_hosts, vetting=vetting, ca_file=ca_file))
    if buckets:
        fetchers.append(ObjectStoreFetcher(buckets, timeout_s=timeout_s))
    return Fetching(fetchers, timeout_s=timeout_s, max_bytes=max_bytes)
