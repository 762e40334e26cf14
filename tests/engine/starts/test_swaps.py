"""Two revisions of one name take turns under load: no answer is a mixture, nothing is left.

``SWAP_SECONDS`` is how long, one minute unless told otherwise; ``.ci/run`` says two.
"""

import asyncio
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.places import DEMO
from support.serving import POLL_S, Served, start_process
from support.swapping import Family, Pointer, Told

SECONDS = float(os.environ.get("SWAP_SECONDS", "60"))
NAME, BASE = "swapped", "smollm2-135m-instruct"
CONTENT = {1: "pirate", 2: "haiku"}
STREAMS = 6
PROMPTS = {
    "What should I pack for a week in the mountains?": 40,
    "Tell me about the sea.": 24,
    "Why is bread so good?": 16,
    "Say something about winter mornings.": 32,
}
"""Each with its number of tokens, so that streams begin and end at all times."""
PAUSE_S = 0.7
"""Between two moves; with the move itself about a second."""
LOOK_S = 0.5
"""Between two looks at memory."""

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300 + SECONDS),
    pytest.mark.asyncio(loop_scope="module"),
]

Golden = dict[tuple[int, str], str]
"""Revision (0: the base) and prompt -> the answer it gives when it is alone."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in fp32, whose greedy answers are exact."""
    folder = tmp_path_factory.mktemp("swaps")
    environ = {"VENEER_MODEL__DTYPE": "float32", "VENEER_LIMITS__MAX_SEQS": "8"}
    with start_process(folder, environ=environ, kv_cache_gib=1) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        yield client


def source(served: Served, number: int) -> str:
    """Return a folder with the content of revision ``number``, too deep to be watched."""
    folder = served.adapters / ".incoming" / CONTENT[number]
    if not folder.exists():
        shutil.copytree(DEMO / CONTENT[number], folder)
    return str(folder)


async def call(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    found = await client.request(method, f"/v1/adapters{path}", json=body)
    assert found.is_success, found.text
    return found.json()


async def stream(client: httpx.AsyncClient, model: str, prompt: str) -> Told:
    """Return one streamed greedy answer; a stream that breaks or tells an error fails the test."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": PROMPTS[prompt],
        "temperature": 0,
        "stream": True,
    }
    sent_s = time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        begun_s = time.monotonic()
        header = answer.headers.get("x-veneer-adapter", "")
        lines = [line async for line in answer.aiter_lines() if line]
    assert answer.status_code == 200, lines
    assert lines.pop() == "data: [DONE]", lines[-3:]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    return Told(prompt, header, text, sent_s, begun_s, time.monotonic())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def golden(served: Served, client: httpx.AsyncClient) -> Golden:
    """Publish both revisions; return what each answers alone, which tells them apart."""
    await call(client, "POST", "", {"name": NAME, "source": source(served, 1)})
    await call(client, "POST", f"/{NAME}/revisions", {"source": source(served, 2)})
    models = {0: BASE, 1: f"{NAME}@1", 2: f"{NAME}@2"}
    told = {
        (number, prompt): (await stream(client, model, prompt)).text
        for number, model in models.items()
        for prompt in PROMPTS
    }
    for prompt in PROMPTS:
        assert len({told[number, prompt] for number in models}) == len(models), prompt
    return told


async def used_slots(client: httpx.AsyncClient) -> dict[str, int]:
    """Return how many slots are used, by level, and how many adapters are resident."""
    page = (await client.get("/metrics")).text
    slots = re.findall(r'^veneer_adapter_slots\{level="(\w+)",state="used"\} (\S+)$', page, re.M)
    resident = re.findall(r"^veneer_adapter_resident\{.*\} (\S+)$", page, re.M)
    found = {level: int(float(count)) for level, count in slots}
    return {**found, "resident": sum(int(float(count)) for count in resident)}


async def until_used(client: httpx.AsyncClient, slots: int) -> None:
    """Return when exactly ``slots`` slots of each level are used."""
    async with asyncio.timeout(20):
        while set((await used_slots(client)).values()) != {slots}:
            await asyncio.sleep(POLL_S)


class Swapping:
    """Moves ``live`` from one revision to the other and back, in each way there is."""

    def __init__(self, served: Served, client: httpx.AsyncClient) -> None:
        self.client = client
        self.pointer = Pointer()
        self._sources = {number: source(served, number) for number in CONTENT}
        self._ways = itertools.cycle([self._put, self._roll_back, self._put, self._publish])

    async def begin(self) -> None:
        """Point to revision 1, with something before it to roll back to."""
        for number in (2, 1):
            await self._put(number)
        self.pointer.moved(1, time.monotonic(), time.monotonic())

    async def swap(self) -> None:
        """Move to the revision that is not live now."""
        other = 3 - self.pointer.revisions[-1]
        sent_s = time.monotonic()
        await next(self._ways)(other)
        self.pointer.moved(other, sent_s, time.monotonic())

    async def _put(self, number: int) -> None:
        alias = await call(self.client, "PUT", f"/{NAME}/aliases/live", {"revision": number})
        assert alias["targets"] == [{"revision": number, "weight": 1}]

    async def _roll_back(self, number: int) -> None:
        alias = await call(self.client, "POST", f"/{NAME}/aliases/live/rollback")
        assert alias["targets"] == [{"revision": number, "weight": 1}]

    async def _publish(self, number: int) -> None:
        body = {"source": self._sources[number]}
        revision = await call(self.client, "POST", f"/{NAME}/revisions", body)
        assert revision["number"] == number, "the same content is the same revision"


class Load:
    """Six closed-loop streams while ``live`` moves, for ``SECONDS``."""

    def __init__(self, swapping: Swapping, look: Callable[[], object]) -> None:
        self.told: list[Told] = []
        self._swapping = swapping
        self._look = look
        self._ends_s = time.monotonic() + SECONDS

    async def run(self, url: str) -> list[Told]:
        """Return what the streams were told; ends at the first error."""
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for lane in range(STREAMS):
                tasks.create_task(self._ask(client, lane))
            tasks.create_task(self._repeat(self._swapping.swap, PAUSE_S))
            tasks.create_task(self._repeat(self._watch, LOOK_S))
        return self.told

    async def _ask(self, client: httpx.AsyncClient, lane: int) -> None:
        prompts = itertools.islice(itertools.cycle(PROMPTS), lane, None)
        while not self._over:
            self.told.append(await stream(client, NAME, next(prompts)))

    async def _watch(self) -> None:
        self._look()

    async def _repeat(self, act: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while not self._over:
            await act()
            await asyncio.sleep(pause_s)

    @property
    def _over(self) -> bool:
        return time.monotonic() > self._ends_s


async def test_six_streams_get_whole_answers_of_one_revision_while_live_goes_back_and_forth(
    served: Served, client: httpx.AsyncClient, golden: Golden
) -> None:
    assert served.process is not None
    family = Family(served.process.pid)
    swapping = Swapping(served, client)
    await swapping.begin()
    await call(client, "POST", f"/{NAME}/unload")
    await until_used(client, 0)
    before, pids = family.holds(), family.pids()

    told = await Load(swapping, family.look).run(served.url)

    wrong = [t for t in told if t.text != golden[t.revision, t.prompt]]
    assert not wrong, [(t.header, whose(golden, t)) for t in wrong]
    pointer = swapping.pointer
    stale = [t for t in told if t.revision not in pointer.between(t.sent_s, t.begun_s)]
    assert not stale
    # The load was what it should be: both answered, and moves happened under running streams.
    assert {t.revision for t in told} == {1, 2}
    outlived = [t for t in told if t.revision not in pointer.between(t.ended_s, t.ended_s)]
    assert outlived
    async with asyncio.timeout(20):
        while family.pids() != pids:  # what read the last file ends by itself
            await asyncio.sleep(POLL_S)
    family.require_flat("gateway", once_mib=1, each_minute_mib=0.5)
    # Once: two adapters, which is less than one of every ten that were loaded meanwhile.
    family.require_flat("engine", once_mib=6, each_minute_mib=1)
    # What is live is loaded, now at the latest; what was live before is gone from every slot.
    await stream(client, NAME, next(iter(PROMPTS)))
    await until_used(client, 1)
    assert [card["name"] for card in (await call(client, "GET", ""))["data"]] == [NAME]
    await call(client, "POST", f"/{NAME}/unload")
    await until_used(client, 0)
    after = family.holds()
    assert after["shm_bytes"] == before["shm_bytes"]
    # SQLite may have opened a few more connections for good; every tenth stream would be more.
    assert after["fds"] <= before["fds"] + 8
    print(len(told), "streams", len(pointer.revisions), "moves", before, after)


def whose(golden: Golden, told: Told) -> list[int]:
    """Return which revisions would have answered so: the one whose weights leaked."""
    return [n for (n, prompt), text in golden.items() if (prompt, text) == (told.prompt, told.text)]
