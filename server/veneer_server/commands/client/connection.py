"""An HTTP connection to one server.

It repeats requests that are safe to repeat, and turns every error into a plain sentence.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import stamina

from veneer_server.commands.client.failures import (
    BadArgument,
    CannotConnect,
    NoAnswer,
    NotVeneer,
    Refused,
)
from veneer_server.commands.client.targets import without_v1

_CONNECT_S, _ANSWER_S = 5.0, 120.0
"""Seconds to wait for a connection and for an answer. An answer may wait for a load, which takes up
to adapters.load_timeout_s (30 s by default)."""
_ATTEMPTS, _GIVE_UP_S = 4, 10.0

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_CONNECTION_LOST = (*_NOTHING_SENT, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Connection:
    """A connection to the server at ``url``; it is a context manager that closes it."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        connect_s: float = _CONNECT_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self.url = without_v1(url)
        self._answer_s = answer_s
        if key is not None and not (key.isascii() and key.isprintable()):
            raise BadArgument("The key must have only printable ASCII characters.")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            target = httpx.URL(self.url)
            if target.scheme not in ("http", "https") or not target.host or target.userinfo:
                raise httpx.InvalidURL("not the address of a server")
        except httpx.InvalidURL as error:
            raise BadArgument("Write --url as http://HOST:PORT or https://HOST.") from error
        self._http = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(answer_s, connect=connect_s),
            # A proxy cannot reach the loopback address of this machine.
            mounts={f"all://{target.netloc.decode()}": None} if _is_loopback(target.host) else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the document at ``path``."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, repeat: bool = True) -> Any:
        """Send ``body`` to ``path``; return the answer.

        The server acts once, even if the connection breaks and the request is repeated. Without
        ``repeat`` it is sent again only while nothing of it can have arrived.
        """
        headers = {"idempotency-key": str(uuid.uuid4())} if repeat else None
        repeat_on = _CONNECTION_LOST if repeat else _NOTHING_SENT
        return self._send("POST", path, body=body or {}, headers=headers, repeat_on=repeat_on)

    def upload(self, path: str, files: Sequence[Path], fields: Mapping[str, str]) -> Any:
        """Send files with ``fields`` as a form; return the answer.

        It is sent again only while nothing of it can have arrived.
        """
        with ExitStack() as stack:
            try:
                opened = [(file.name, stack.enter_context(file.open("rb"))) for file in files]
            except OSError as error:
                name = Path(error.filename).name
                raise BadArgument(f"{name} cannot be read: {error.strerror}.") from error
            form = {"data": fields, "files": [("file", each) for each in opened]}
            return self._send("POST", path, form=form, repeat_on=_NOTHING_SENT)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Set members of the document at ``path``; a repeated request changes nothing more."""
        return self._send("PATCH", path, body=body)

    def put(self, path: str, body: Mapping[str, Any], if_version: int | None = None) -> Any:
        """Replace the document at ``path``; with ``if_version`` only if it has this version."""
        if if_version is None:
            return self._send("PUT", path, body=body)
        headers = {"if-match": f'"{if_version}"'}
        # If the first try arrived, a second one would fail at the version that the first made.
        return self._send("PUT", path, body=body, headers=headers, repeat_on=_NOTHING_SENT)

    def delete(self, path: str) -> None:
        """Remove what is at ``path``."""
        # If the first try arrived, a second one would get the answer that nothing is there.
        self._send("DELETE", path, repeat_on=_NOTHING_SENT)

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, Any] | None = None,
        repeat_on: tuple[type[Exception], ...] = _CONNECTION_LOST,
    ) -> Any:
        url = f"{self.url}{path}"
        try:
            for attempt in stamina.retry_context(
                on=repeat_on, attempts=_ATTEMPTS, timeout=_GIVE_UP_S, wait_jitter=0.1
            ):
                with attempt:
                    answer = self._http.request(
                        method, url, json=body, params=params, headers=headers, **(form or {})
                    )
        except httpx.ConnectTimeout as error:
            raise CannotConnect(self.url, "it does not take the connection") from error
        except httpx.TimeoutException as error:
            raise NoAnswer(self.url, self._answer_s) from error
        except httpx.HTTPError as error:
            raise CannotConnect(self.url, _why(error)) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Any:
        if answer.is_success and not answer.content:
            return None
        try:
            document = json.loads(answer.content)
        except ValueError as error:
            why = f"it answered {answer.status_code} without JSON"
            raise NotVeneer(self.url, why) from error
        if answer.is_success:
            return document
        fault = document.get("error") if isinstance(document, dict) else None
        if not isinstance(fault, dict) or not isinstance(fault.get("message"), str):
            raise NotVeneer(self.url, f"it answered {answer.status_code} without saying why")
        raise Refused(
            fault["message"],
            code=fault.get("code"),
            param=fault.get("param"),
            retry_after=answer.headers.get("retry-after"),
        )


def _why(error: Exception) -> str:
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)).rstrip(".") or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
