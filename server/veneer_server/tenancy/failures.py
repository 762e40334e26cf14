"""How many wrong keys each client address has sent lately.

Keys that the server drew have 256 random bits, so nobody guesses one however often they try. A key
that an operator made up may be short. So an address with too many wrong keys gets no answer about
such a key any more, until its bucket has filled again.
"""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from cachetools import LRUCache

from veneer_server.tenancy.errors import RateLimited
from veneer_server.tenancy.quotas.buckets import Bucket, filled, stand, take

MOST = 10_000
"""Addresses that are remembered; the one not seen for longest is forgotten first."""


class Failures:
    """A bucket for each address; each wrong key takes one from it."""

    def __init__(
        self, per_minute: int, clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000
    ) -> None:
        self._per_minute = per_minute
        self._clock_us = clock_us
        self._buckets: LRUCache[str, Bucket] = LRUCache(MOST)

    def require_few(self, address: str) -> None:
        """Return when the address may have a further key looked at.

        Raises:
            RateLimited: it has sent too many wrong ones.
        """
        standing = stand(self._filled(address), self._per_minute, 1)
        if standing.wait_us:
            raise RateLimited(
                "Too many wrong API keys came from your address. Please try again later.",
                retry_after_s=standing.wait_us / 1e6,
            )

    def count(self, address: str) -> None:
        """Note a wrong key."""
        self._buckets[_network(address)] = take(self._filled(address), self._per_minute, 1)

    def _filled(self, address: str) -> Bucket:
        return filled(self._buckets.get(_network(address)), self._per_minute, self._clock_us())


def _network(address: str) -> str:
    """Return what one client has: an address, or all addresses of its IPv6 network."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else address
