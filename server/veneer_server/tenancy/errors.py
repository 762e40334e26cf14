"""What can be wrong with keys, and with what somebody wants to do with one."""

from collections.abc import Mapping
from types import MappingProxyType


class TenancyError(Exception):
    """Base of the errors about keys and what they allow."""

    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer tells beside the message."""


class Unauthorized(TenancyError):
    """There is no key, or it is wrong, expired or revoked."""


class ScopeMissing(TenancyError):
    """The key is good, but not for this."""


class NotOwned(TenancyError):
    """Only who owns the name may publish under it or change what is there."""


class KeyNeeded(TenancyError):
    """Strangers reach the server, and nothing keeps them out."""


class KeyNotFound(TenancyError):
    """There is no key with this id."""


class NobodyLeft(TenancyError):
    """Nobody could make keys any more."""


class RateLimited(TenancyError):
    """A limit is reached: of requests per minute, or of requests at the same time."""

    def __init__(
        self, message: str, *, retry_after_s: float, headers: Mapping[str, str] | None = None
    ) -> None:
        """``headers`` tell how the limits stand."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers = headers or {}


class TokensLimited(RateLimited):
    """The limit of tokens per minute is reached."""


class QuotaExceeded(TenancyError):
    """To try again does not help: the limit must be raised, or something removed."""


class QuotasUnavailable(TenancyError):
    """Nobody knows what is left of a limit, because those who count cannot be reached."""
