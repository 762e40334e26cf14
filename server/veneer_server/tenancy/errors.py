"""What can be wrong with keys, and with what somebody wants to do with one."""


class TenancyError(Exception):
    """Base of the errors about keys and what they allow."""


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
