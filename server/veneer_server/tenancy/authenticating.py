"""From the text that a client sent as its key to who they are. Pure."""

import hmac

from veneer_server.tenancy.errors import ScopeMissing, Unauthorized
from veneer_server.tenancy.failures import Failures
from veneer_server.tenancy.key_texts import parse
from veneer_server.tenancy.keyring import Keyring
from veneer_server.tenancy.principals import Principal, owner_of
from veneer_server.tenancy.scopes import Scope

_MISSING = (
    "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY' or as"
    " 'x-api-key: YOUR_KEY'."
)
_WRONG = "Incorrect API key provided."


_GUESSABLE = 24
"""A key of fewer characters may be guessed by somebody who may try for years."""


def identify(
    given: str, address: str, api_key: str | None, keyring: Keyring, failures: Failures
) -> Principal:
    """Return who sends ``given`` from ``address``; a wrong key counts as a failure of it.

    Raises:
        Unauthorized: as for ``authenticate``.
        RateLimited: the address has sent too many wrong keys; whether this one is right is not
            said, unless nobody could guess it.
    """
    if api_key is not None and len(api_key) < _GUESSABLE and parse(given) is None:
        failures.require_few(address)
    try:
        return authenticate(given, api_key, keyring)
    except Unauthorized:
        if given:
            failures.require_few(address)
            failures.count(address)
        raise


def authenticate(given: str, api_key: str | None, keyring: Keyring) -> Principal:
    """Return who sends ``given``. As long as there is no key at all, anybody is the operator.

    Raises:
        Unauthorized: the key is missing or no good; the message is one of two.
    """
    if api_key is not None and hmac.compare_digest(given.encode(), api_key.encode()):
        return Principal(owner=owner_of(given))
    found = keyring.find(given)
    if found is not None:
        return found.principal()
    if api_key is None and keyring.is_empty:
        return Principal(owner=owner_of(given))
    raise Unauthorized(_WRONG if given else _MISSING)


def require(principal: Principal, scope: Scope) -> None:
    """Return when ``principal`` may do what needs ``scope``.

    Raises:
        ScopeMissing: the message names the scope.
    """
    if not principal.may(scope):
        raise ScopeMissing(
            f"You have insufficient permissions for this operation. Missing scopes: {scope}."
        )
