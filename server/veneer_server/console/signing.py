"""Signing in with a key, and out."""

from fastapi.responses import RedirectResponse, Response

from veneer_server.console.forms import read_form, text_of
from veneer_server.console.frame import SECTIONS, Visit, configured_key, cookie_name, cookie_of
from veneer_server.console.sessions import LASTS_S
from veneer_server.tenancy.authenticating import identify
from veneer_server.tenancy.errors import Unauthorized
from veneer_server.tenancy.principals import Principal


async def ask(visit: Visit) -> Response:
    """Return the page that asks for a key."""
    return visit.show("sign_in.html", told=None)


async def sign_in(visit: Visit) -> Response:
    """Begin a session with the key that was filled in, and go to the first page it may see.

    The session that this browser had before ends, whoever it was of.

    Raises:
        RateLimited: too many wrong keys came from this address.
        InvalidRequest: nothing was filled in.
    """
    request, server = visit.request, visit.server
    given = text_of(await read_form(request), "key")
    key = configured_key(server)
    address = request.client.host if request.client else ""
    try:
        who = identify(given, address, key, server.keyring, server.failures)
    except Unauthorized as error:
        return visit.show("sign_in.html", 401, told=str(error))
    visit.sessions.end(cookie_of(request) or "")
    response = RedirectResponse(f"{visit.root}/{_first_page(who)}", 303)
    response.set_cookie(
        cookie_name(request),
        visit.sessions.begin(who),
        max_age=LASTS_S,
        path=visit.root,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session, and ask for a key."""
    visit.sessions.end(cookie_of(visit.request) or "")
    response = RedirectResponse(f"{visit.root}/sign-in", 303)
    response.delete_cookie(cookie_name(visit.request), path=visit.root)
    return response


def _first_page(who: Principal) -> str:
    return next((path for path, _, scope in SECTIONS if who.may(scope)), "")
