"""Which adapter a page or a form is about. What a key may not see does not exist for it."""

from collections.abc import Mapping
from urllib.parse import quote

from veneer_server.console.forms import text_of
from veneer_server.console.frame import Visit, is_keyless
from veneer_server.console.variants.equals import Terminal


def name_in_path(visit: Visit) -> str:
    """Return the name in the path.

    Raises:
        AdapterNotFound: there is no such adapter for who asks.
    """
    name: str = visit.request.path_params["name"]
    visit.server.adapters.require(name, visit.who.sees)
    return name


def own_name(visit: Visit, form: Mapping[str, str]) -> str:
    """Return the name that a form has, of an adapter that who sent it may change.

    Raises:
        AdapterNotFound: there is no such adapter for who asks.
        NotOwned: they may only look at it.
        InvalidRequest: the form has no name.
    """
    name = text_of(form, "name")
    visit.server.adapters.require(name, visit.who.sees)
    visit.who.require_owner(name)
    return name


def page_of(visit: Visit, name: str, done: str) -> str:
    """Return the address of the page of ``name``, which says that something is ``done``."""
    return f"{visit.root}/variants/{quote(name)}?done={done}"


def terminal(visit: Visit) -> Terminal:
    """Return who writes the same for a terminal."""
    url = visit.request.url
    return Terminal(f"{url.scheme}://{url.netloc}", with_key=not is_keyless(visit.server))
