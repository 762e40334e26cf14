"""Which requests of a browser are let in, and what the browser may do with an answer. Pure.

Rule 1: as long as there is no key, everybody who reaches the console is the operator. So it answers
        only under a name of this machine: a page of the web that made its own name point here
        (DNS rebinding) has another one.
Rule 2: what changes something comes from a page of the console itself, never from another site.
Rule 3: another site may lead people here, but cannot embed or fetch what is here.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: with that, browsers send the origin of our own forms as null.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What every answer of the console tells the browser."""
_SAFE = ("GET", "HEAD")


class NotLetIn(Exception):
    """The request comes from a place that may not ask for this; the message says why."""


def let_in(method: str, headers: Mapping[str, str], *, is_keyless: bool) -> None:
    """Return when a request with these ``headers``, in lower case, may be answered.

    Raises:
        NotLetIn: by one of the rules above.
    """
    host = headers.get("host", "")
    if is_keyless and not is_local(host):
        raise NotLetIn(
            "This server has no key, so its console answers only under 127.0.0.1 or localhost."
            " To use it under another name, make a key first: veneer keys create."
        )
    site = headers.get("sec-fetch-site")
    if method not in _SAFE:
        if not _is_own(site, headers.get("origin"), host):
            raise NotLetIn(
                "This request does not come from a page of the console. In a script, use the API:"
                " each action shows the same as curl."
            )
    elif site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
        raise NotLetIn("Pages of other sites may lead here, but not read what is here.")


def is_local(host: str) -> bool:
    """Return whether a Host header names this machine itself."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own(site: str | None, origin: str | None, host: str) -> bool:
    # Every browser of today sends Sec-Fetch-Site; no page can write it.
    if site is not None:
        return site == "same-origin"
    return origin is not None and host != "" and urlsplit(origin).netloc == host
