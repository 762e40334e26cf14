"""Around every page: who is let in, who they are, and what an error looks like."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from veneer_server.api.deps import Server
from veneer_server.api.errors import ApiError, answer, report, to_api_error
from veneer_server.console.advice import what_to_do
from veneer_server.console.doors import HEADERS, NotLetIn, let_in
from veneer_server.console.pages import render
from veneer_server.console.sessions import Sessions
from veneer_server.console.terminal import Terminal
from veneer_server.tenancy.authenticating import authenticate, require
from veneer_server.tenancy.errors import Unauthorized
from veneer_server.tenancy.principals import Principal, owner_of
from veneer_server.tenancy.scopes import Scope

SECTIONS = (
    ("", "Overview", Scope.METRICS),
    ("variants", "Variants", Scope.ADAPTERS_READ),
    ("compare", "Compare", Scope.INFER),
    ("rollouts", "Rollouts", Scope.ADAPTERS_READ),
    ("training", "Training", Scope.ADAPTERS_WRITE),
    ("batches", "Batches", Scope.INFER),
    ("keys", "Keys", Scope.KEYS_ADMIN),
    ("usage", "Usage", Scope.USAGE),
)
"""The parts of the console: address, name, and the scope that a key must have to see it."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page, by somebody who may make it."""

    request: Request
    server: Server
    sessions: Sessions
    principal: Principal | None
    """None on pages that ask for no key."""

    @property
    def who(self) -> Principal:
        """Who asks, on a page that asks for a key where there is one."""
        assert self.principal is not None  # noqa: S101 - the route has a scope
        return self.principal

    @property
    def has_figures(self) -> bool:
        """Whether they may see figures of everybody's traffic, as /metrics has them."""
        return self.who.may(Scope.METRICS)

    @property
    def root(self) -> str:
        """Where the console is, without a slash at the end."""
        return str(self.request.scope.get("root_path", ""))

    @property
    def is_part(self) -> bool:
        """Whether a script wants the changing part of a page only."""
        return self.request.headers.get("hx-request") == "true"

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page of ``template``, with what every page needs."""
        who = self.principal
        seen = [section for section in SECTIONS if who is not None and who.may(section[2])]
        frame = {
            "root": self.root,
            "sections": seen,
            "is_signed_in": cookie_of(self.request) is not None,
            "model": self.server.engine.model.id,
        }
        return render(template, {**frame, **values}, status)


Page = Callable[[Visit], Awaitable[Response]]


class Frame:
    """Makes routes of pages. One for each server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sessions = Sessions(server.keyring)

    def route(
        self, path: str, page: Page, scope: Scope | None = None, method: str = "GET"
    ) -> Route:
        """Return a route to ``page`` for those who may do ``scope``; with None, for everybody."""

        async def show(request: Request) -> Response:
            return _told(await self._show(request, page, scope))

        return Route(path, show, methods=[method])

    def script_route(self, path: str, page: Page, scope: Scope) -> Route:
        """Return a route to ``page`` for a script of the console: an error is JSON, as in the API.

        A script sends JSON, so only POST comes here.
        """

        async def send(request: Request) -> Response:
            visit = Visit(request, self._server, self._sessions, None)
            try:
                return _told(await page(self._admit(visit, scope)))
            except ClientDisconnect:
                raise
            except NotLetIn as error:
                return _told(await answer(request, HTTPException(403, str(error))))
            except Exception as error:
                return _told(await answer(request, error))

        return Route(path, send, methods=["POST"])

    def _admit(self, visit: Visit, scope: Scope | None) -> Visit:
        request = visit.request
        let_in(request.method, request.headers, is_keyless=is_keyless(self._server))
        if scope is None:
            return visit
        visit = replace(visit, principal=self._identify(request))
        require(visit.who, scope)
        return visit

    async def _show(self, request: Request, page: Page, scope: Scope | None) -> Response:
        visit = Visit(request, self._server, self._sessions, None)
        try:
            return await page(self._admit(visit, scope))
        except ClientDisconnect:
            raise
        except NotLetIn as error:
            return self._refuse(visit, ApiError(403, "", "not_let_in", str(error)))
        except Unauthorized:
            return _ask_for_key(visit)
        except Exception as error:
            api_error = to_api_error(error)
            report(error, api_error, request.scope["state"])
            return self._refuse(visit, api_error, getattr(error, "reason", None))

    def _identify(self, request: Request) -> Principal:
        key = configured_key(self._server)
        who = self._sessions.find(cookie_of(request) or "", owner_of(key or ""))
        if who is None:
            who = authenticate("", key, self._server.keyring)
        request.state.principal = who
        if who.key_id is not None:
            request.state.key, request.state.tenant = who.key_id, who.tenant
        return who

    def _refuse(self, visit: Visit, error: ApiError, reason: str | None = None) -> Response:
        visit.request.state.code = error.code
        known = getattr(visit.request.state, "principal", None)
        visit = replace(visit, principal=known)
        advice = what_to_do(reason or error.param)
        response = visit.show("error.html", error.status, error=error, advice=advice)
        if visit.is_part:  # an error is a page of its own, not a part of one
            response.headers["hx-refresh"] = "true"
        if error.retry_after_s is not None:
            response.headers["retry-after"] = str(error.retry_after_s)
        return response


def _told(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def configured_key(server: Server) -> str | None:
    """Return the key that the settings name, if they do."""
    found = server.settings.server.api_key
    return found.get_secret_value() if found else None


def is_keyless(server: Server) -> bool:
    """Return whether the server has no key at all, so that everybody is the operator."""
    return server.settings.server.api_key is None and server.keyring.is_empty


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie: browsers keep one jar for all ports of a host."""
    return f"veneer_session_{request.url.port or 0}"


def cookie_of(request: Request) -> str | None:
    """Return the session that the browser sent, or None."""
    return request.cookies.get(cookie_name(request))


def _ask_for_key(visit: Visit) -> Response:
    response = visit.show("sign_in.html", 401, told=None)
    if visit.is_part:  # the whole page must ask, not the part of it that a script wants
        response.headers["hx-refresh"] = "true"
    return response


def terminal(visit: Visit) -> Terminal:
    """Return who writes for a terminal what the page does."""
    url = visit.request.url
    return Terminal(f"{url.scheme}://{url.netloc}", with_key=not is_keyless(visit.server))
