"""Which addresses may be connected to: only public ones, checked when they are used.

The caller connects to an address that this file returned, never to the name of the host. So it does
not matter if the name gets another address between the check and the connection.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from veneer_adapters.errors import SourceNotAllowed, quoted
from veneer_adapters.sources.fetching import TryAgain

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to the addresses of the host."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""Source: https://www.iana.org/assignments/ipv6-address-space"""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_SPECIAL = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),
)
"""Not the public internet, whatever this Python's ``ipaddress`` says: protocol assignments of IETF,
relays of 6to4 (RFC 7526), documentation (RFC 9637). Source: IANA's special-purpose registries."""


def is_public(text: str) -> bool:
    """Return whether the address, or the IPv4 address inside it, is on the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _GLOBAL_UNICAST and _is_global(address)
        address = inner
    return _is_global(address) and not address.is_multicast


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not any(address in network for network in _SPECIAL)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system knows for ``host``.

    Raises:
        TryAgain: it knows none at the moment.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TryAgain(f"The host {quoted(host)} cannot be found.") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Vetting:
    """Finds the addresses of hosts, and refuses those that may not be connected to.

    The operator allows private addresses for ``private_hosts``.
    """

    def __init__(self, *, private_hosts: Collection[str] = (), resolve: Resolve = resolve) -> None:
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return every address of ``host``; connecting to any of them is allowed.

        Raises:
            SourceNotAllowed: one of them is not public, so none may be used.
            TryAgain: there is no address at the moment.
        """
        found = await self._resolve(host, port)
        if host not in self._private_hosts and not all(map(is_public, found)):
            raise SourceNotAllowed(f"The host {quoted(host)} has an address that is not public.")
        if not found:
            raise TryAgain(f"The host {quoted(host)} cannot be found.")
        return found
