"""One HTTP connection: uvicorn's, with bounds on each request's arrival and on each write.

With this parser uvicorn has no such bounds. It also answers as plain text what is not HTTP, and it
loses the body of a request that offers to speak another protocol.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from veneer_server.api.errors import ApiFault, HeadTooSlow, MalformedRequest, TooManyConnections
from veneer_server.api.http.arrival import BodyClock
from veneer_server.api.http.crowd import PROBES, choose_idlest
from veneer_server.api.http.exchanges import Exchange, refusal
from veneer_server.api.http.heads import Meter, to_path
from veneer_server.api.http.pacing import Pacer
from veneer_server.api.http.writing import CLIENT_TIMEOUT, TimedTransport
from veneer_server.settings import LimitSettings

_OFFER = (b"upgrade", b"http2-settings")


class Connection(HttpToolsProtocol):
    """Passes each request on whose head is well formed, small and in time, as its body must be.

    For any other the application gets a scope whose state has the fault as ``refusal``, so that
    it writes the answer; what else the client sends is forgotten, and the connection ends.
    """

    def __init__(self, limits: Callable[[], LimitSettings], pacer: Pacer, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._pacer = pacer
        self._limits = limits
        self._meter = Meter(limits)
        self._begun = self._in_head = self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_clock = BodyClock(limits, self._lets_body_wait, self._refuse)
        self._answering: RequestResponseCycle | None = None
        self._idle_since_s = 0.0
        self._is_extra = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request as long as for any further one."""
        timed: Any = TimedTransport(
            transport, lambda: self._limits().write_timeout_s, self._on_client_timeout, self._pacer
        )
        super().connection_made(timed)
        self._idle_since_s = self.loop.time()
        self._is_extra = self._are_too_many()
        self._watch()
        if self._is_extra:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is being answered, also when further requests wait behind it."""
        self._stop_head_timer()
        self._body_clock.stop()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _on_client_timeout(self) -> None:
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            cycle.scope["state"]["code"] = CLIENT_TIMEOUT
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the client was refused."""
        if self._refused:
            return
        try:
            self._feed(data)
            self._meter.check()
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ApiFault) else _not_http(error))
        except ApiFault as fault:
            self._refuse(fault)
        else:
            self._watch()

    def _feed(self, data: bytes) -> None:
        self._meter.fed(len(data))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + data[offer.args[0] :])

    def _are_too_many(self) -> bool:
        return len(self.connections) > self._limits().max_connections

    def _make_room(self) -> None:
        others = (one for one in self.connections if isinstance(one, Connection))
        if (idlest := choose_idlest(one for one in others if one is not self)) is not None:
            idlest.transport.close()

    def idle_since_s(self) -> float | None:
        """Return since when the client has asked for nothing, on the loop's clock."""
        return self._idle_since_s if self._is_idle() and not self._begun else None

    def _lets_body_wait(self) -> bool:
        return self.flow.read_paused or self.cycle is not self._answering

    def _head_without_offer(self) -> bytes:
        # The parser believes that the client now speaks the other protocol. HTTP lets a server
        # ignore the offer instead, and Java's client, which always makes it, counts on that.
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % field for field in self.headers if field[0] not in _OFFER]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin with the head of a request."""
        super().on_message_begin()
        self._meter.restart()
        self._begun = self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        super().on_url(url)
        self._meter.part(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that follows the body is no header of the request."""
        self._meter.part(len(name) + len(value) + 4, fields=1)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        self.url = to_path(self.parser.get_http_version(), self.url, self.headers)
        is_extra = self._is_extra and self._are_too_many()
        if is_extra and self.url.partition(b"?")[0].decode("latin-1") not in PROBES:
            raise TooManyConnections("The server is overloaded: too many connections are open.")
        super().on_headers_complete()
        self.cycle.__class__ = Exchange  # uvicorn has no place to name another
        self.cycle.keep_alive = self.cycle.keep_alive and not is_extra
        self._in_head = False
        self._stop_head_timer()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._meter.part(0)
        self._body_clock.part(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; the next one may follow."""
        self._meter.restart()
        self._body_clock.stop()
        if not self._in_head:
            super().on_message_complete()
        self._begun = self._in_head = False

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one."""
        super().on_response_complete()
        self._idle_since_s = self.loop.time()
        self._watch()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _watch(self) -> None:
        """Let the clock run that fits: for a head or a body that has begun, or for an idle client.

        While a request is answered no clock runs, because the client may wait for the answer.
        """
        # A request that arrived whole has ended as a message, and its answer has not begun yet.
        if self._begun or not self._is_idle():
            self._unset_keepalive_if_required()
        if self._begun and not self._in_head and not self._refused:
            self._body_clock.run()
        if self._refused or not self._is_idle():
            return
        if self._in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits().header_timeout_s, self._on_slow)
        elif not self._begun and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _is_idle(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_slow(self) -> None:
        allowed_s = self._limits().header_timeout_s
        self._refuse(HeadTooSlow(f"The headers did not arrive within {allowed_s:g} seconds."))

    def _refuse(self, fault: ApiFault) -> None:
        self._refused = True
        self._stop_head_timer()
        self._body_clock.stop()
        self._unset_keepalive_if_required()
        if self._begun and not self._in_head and not self._give_up_body():
            self.transport.abort()
            return
        self.cycle = refusal(self, fault, has_head=self._begun)
        if self._is_answering():
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _give_up_body(self) -> bool:
        """End the request whose body is broken; return whether there is room for an answer."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return self.cycle is self._answering and not self.cycle.response_started

    def _is_answering(self) -> bool:
        cycle = self._answering
        return cycle is not None and not (cycle.response_complete or cycle.disconnected)


def _not_http(error: httptools.HttpParserError) -> MalformedRequest:
    if isinstance(error, httptools.HttpParserCallbackError):
        return MalformedRequest("The target of the request is not a valid URL.")
    return MalformedRequest(f"The request is not valid HTTP: {error}.")
