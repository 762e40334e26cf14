"""The text of a key: ``vnr_live_<id>_<secret>_<checksum>``. Pure, but for the draw of a new one.

The id finds the key and may be shown. The secret has 256 random bits, so one fast hash protects it:
there is nothing to guess. The checksum tells a mistyped key from a wrong one without a look at any
key, and lets scanners find keys that leaked.
"""

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

_PREFIX = "vnr_live_"
_ID_BYTES, _SECRET_BYTES = 5, 32
_CHECKSUM_LENGTH = 6
_KEY = re.compile(
    r"vnr_live_(?P<id>[a-z2-7]{8})_(?P<secret>[A-Za-z0-9_-]{43})_(?P<checksum>[0-9A-Za-z]{6})"
)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NO_PEPPER = b"veneer"


@dataclass(frozen=True, slots=True)
class KeyText:
    """A well-formed key."""

    id: str
    """Eight letters and digits; not secret."""
    secret: str

    def __str__(self) -> str:
        return _with_checksum(f"{_PREFIX}{self.id}_{self.secret}")

    def digest(self, pepper: str | None) -> str:
        """Return what is stored in the place of the secret: HMAC-SHA256, as 64 hex digits.

        ``pepper`` is a secret of the server; without it a stolen database and a key tell whether
        they belong together, and no more.
        """
        mixed = pepper.encode() if pepper else _NO_PEPPER
        return hmac.new(mixed, f"{self.id}_{self.secret}".encode(), hashlib.sha256).hexdigest()


def draw() -> KeyText:
    """Return a new random key."""
    key_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
    return KeyText(key_id, secrets.token_urlsafe(_SECRET_BYTES))


def parse(text: str) -> KeyText | None:
    """Return the key that ``text`` is; None when it is none, or mistyped."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    key = KeyText(match["id"], match["secret"])
    return key if hmac.compare_digest(str(key), text) else None


def _with_checksum(body: str) -> str:
    """Return ``body`` and its CRC-32 in base 62, as GitHub's tokens have it.

    Source: https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    """
    left, digits = zlib.crc32(body.encode()), ""
    while left:
        left, digit = divmod(left, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return f"{body}_{digits.rjust(_CHECKSUM_LENGTH, '0')}"
