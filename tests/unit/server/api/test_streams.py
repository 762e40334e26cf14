"""An answer that is interrupted ends what it holds, and says what it must."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing

import orjson
import pytest
from starlette.types import Message, Scope

from veneer_server.api.errors import ShuttingDown
from veneer_server.api.http.exchanges import WRITER
from veneer_server.api.streams import ClientGone, EventStream, run_until_gone
from veneer_server.engine.base import EngineLost, Frames, Take
from veneer_server.serving.requests import Served, Stream
from veneer_server.telemetry.observation import Observation

SCOPE: Scope = {"type": "http", "path": "/v1/chat/completions", "state": {"request_id": "req_1"}}
DONE = b"data: [DONE]\n\n"


class Client:
    """The other end of the connection."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Event()
        self.got: list[Message] = []
        self.got_event = asyncio.Event()

    async def receive(self) -> Message:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.got.append(message)
        if message.get("body"):
            self.got_event.set()

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)


class Source:
    """Frames that come when the test says so, and an account of how they ended."""

    def __init__(self, *frames: bytes, then: Exception | None = None, gated: bool = False) -> None:
        self._frames = frames
        self._then = then
        self.gate = asyncio.Event()
        if not gated:
            self.gate.set()
        self.ended: list[str] = []

    async def _generate(self) -> AsyncGenerator[bytes]:
        try:
            for frame in self._frames:
                yield frame
                await self.gate.wait()
            if self._then is not None:
                raise self._then
        finally:
            self.ended.append("generation")

    async def stream(self, divert: Callable[[Take | None], None] = lambda take: None) -> Stream:
        """Return the stream as ``RequestService`` builds it: the lease ends last."""
        owned = AsyncExitStack()
        owned.callback(self.ended.append, "lease")
        frames: Frames = await owned.enter_async_context(aclosing(self._generate()))
        first = await anext(frames, None)
        seen = Observation(0.0, float, first=float, next_=float)
        return Stream(Served("pirate", None, seen), first, frames, owned, divert)


@pytest.fixture
def client() -> Client:
    return Client()


async def send(
    source: Source,
    client: Client,
    *,
    deadline: asyncio.Event | None = None,
    convert: Callable[[bytes], bytes] = bytes,
) -> None:
    stream = await source.stream()
    response = EventStream(stream, convert, deadline or asyncio.Event(), {"x-veneer-adapter": "a"})
    async with asyncio.timeout(5):
        await response(SCOPE, client.receive, client.send)


async def test_a_whole_stream_arrives_in_order_and_is_closed(client: Client) -> None:
    source = Source(b"data: 1\n\n", b"data: 2\n\n", DONE)
    await send(source, client)
    assert client.text == b"data: 1\n\ndata: 2\n\n" + DONE
    assert client.got[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert source.ended == ["generation", "lease"]


async def test_a_stream_has_its_headers_and_no_length(client: Client) -> None:
    await send(Source(DONE), client)
    headers = dict(client.got[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-veneer-adapter"] == b"a"
    assert b"content-length" not in headers


class Wired(Client):
    """A client whose connection writes; ``free`` says whether it can."""

    def __init__(self, *, free: bool) -> None:
        super().__init__()
        self.free = free
        self.written: list[bytes] = []

    def is_free(self) -> bool:
        return self.free

    def write(self, body: bytes) -> None:
        self.written.append(body)
        self.got_event.set()

    async def send(self, message: Message) -> None:
        await super().send(message)
        if WRITER in message:
            message[WRITER](self)


async def test_events_are_written_at_once_to_a_client_that_reads() -> None:
    client = Wired(free=True)
    await send(Source(b"data: a\n\n", DONE), client, convert=bytes.upper)
    assert client.written == [b"DATA: A\n\n", b"DATA: [DONE]\n\n"]
    assert client.text == b""


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    client = Wired(free=False)
    await send(Source(b"data: a\n\n", DONE), client, convert=bytes.upper)
    assert client.text == b"DATA: A\n\nDATA: [DONE]\n\n"
    assert client.written == []


async def test_a_stream_takes_text_past_its_reader_from_its_beginning_to_its_end() -> None:
    client, source = Wired(free=True), Source(b"data: a\n\n", DONE, gated=True)
    given: list[Take | None] = []
    stream = await source.stream(given.append)
    response = EventStream(stream, bytes.upper, asyncio.Event(), {}, divert=stream.divert)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(response(SCOPE, client.receive, client.send))
        await client.got_event.wait()
        [take] = given
        assert take is not None
        assert take(b"data: b\n\n")
        client.free = False
        assert not take(b"data: c\n\n")
        source.gate.set()
    assert client.written == [b"DATA: A\n\n", b"DATA: B\n\n"]
    assert given[-1] is None


async def test_every_event_is_converted(client: Client) -> None:
    await send(Source(b"data: a\n\n", DONE), client, convert=bytes.upper)
    assert client.text == b"DATA: A\n\nDATA: [DONE]\n\n"


async def test_a_fault_is_the_last_event_and_nothing_says_done(client: Client) -> None:
    source = Source(b"data: 1\n\n", then=EngineLost("It died."))
    await send(source, client)
    first, last = client.text.removesuffix(b"\n\n").split(b"\n\n")
    assert first == b"data: 1"
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_lost"
    assert client.got[-1]["more_body"] is False
    assert source.ended == ["generation", "lease"]


async def test_a_client_that_hangs_up_ends_the_generation_before_the_lease(client: Client) -> None:
    source = Source(b"data: 1\n\n", DONE, gated=True)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(send(source, client))
        await client.got_event.wait()
        client.hung_up.set()
    assert source.ended == ["generation", "lease"]
    assert client.got[-1]["body"] == b"data: 1\n\n"


async def test_the_drain_deadline_ends_a_stream_with_an_error_event(client: Client) -> None:
    source, deadline = Source(b"data: 1\n\n", DONE, gated=True), asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(send(source, client, deadline=deadline))
        await client.got_event.wait()
        deadline.set()
    assert b"server_shutting_down" in client.text
    assert DONE not in client.text
    assert source.ended == ["generation", "lease"]


async def test_a_cancelled_answer_closes_its_stream(client: Client) -> None:
    source = Source(b"data: 1\n\n", DONE, gated=True)
    sending = asyncio.create_task(send(source, client))
    async with asyncio.timeout(5):
        await client.got_event.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert source.ended == ["generation", "lease"]


class Work:
    """A coroutine that runs until it is let go, and notices being cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "answer"


async def test_work_that_finishes_is_returned(client: Client) -> None:
    work = Work()
    work.release.set()
    async with asyncio.timeout(5):
        assert await run_until_gone(work(), client.receive, asyncio.Event()) == "answer"


async def test_an_error_of_the_work_is_raised(client: Client) -> None:
    async def fails() -> None:
        raise EngineLost("It died.")

    with pytest.raises(EngineLost):
        await run_until_gone(fails(), client.receive, asyncio.Event())


async def test_work_nobody_waits_for_is_cancelled(client: Client) -> None:
    work = Work()
    waiting = asyncio.create_task(run_until_gone(work(), client.receive, asyncio.Event()))
    async with asyncio.timeout(5):
        await work.begun.wait()
        client.hung_up.set()
        with pytest.raises(ClientGone):
            await waiting
    assert work.cancelled


async def test_work_that_takes_longer_than_the_drain_is_refused(client: Client) -> None:
    work, deadline = Work(), asyncio.Event()
    waiting = asyncio.create_task(run_until_gone(work(), client.receive, deadline))
    async with asyncio.timeout(5):
        await work.begun.wait()
        deadline.set()
        with pytest.raises(ShuttingDown):
            await waiting
    assert work.cancelled


async def test_an_answer_that_is_there_is_given_even_when_the_deadline_has_passed(
    client: Client,
) -> None:
    work, deadline = Work(), asyncio.Event()
    work.release.set()
    deadline.set()
    async with asyncio.timeout(5):
        assert await run_until_gone(work(), client.receive, deadline) == "answer"


async def test_a_stream_that_arrives_as_its_client_task_is_cancelled_is_closed(
    client: Client,
) -> None:
    source, arrived = Source(b"data: 1\n\n"), asyncio.Event()

    async def work() -> Stream:
        stream = await source.stream()
        arrived.set()
        return stream

    waiting = asyncio.create_task(run_until_gone(work(), client.receive, asyncio.Event()))
    async with asyncio.timeout(5):
        while not arrived.is_set():
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert source.ended == ["generation", "lease"]
