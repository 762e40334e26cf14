"""Which texts can be secrets: what a mounted file adds to one, and what no client could send."""

import re

from pydantic import SecretStr

_SENDABLE = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What a header carries unchanged. Source: RFC 9110, section 5.5."""


def without_newline(secret: SecretStr) -> SecretStr:
    """Return ``secret`` without newlines at its end, as a file or ``echo`` adds them."""
    return SecretStr(secret.get_secret_value().rstrip("\r\n"))


def require_sendable(key: SecretStr) -> None:
    """Return when a client can send ``key`` in a header.

    Raises:
        ValueError: the sentence says why not.
    """
    text = key.get_secret_value()
    if not text.strip():
        raise ValueError("is empty; leave it out or give a real key")
    if not _SENDABLE.fullmatch(text):
        raise ValueError(
            "cannot be sent by a client: a key has ASCII letters, digits and signs only, and no"
            " blank at its ends"
        )
