"""Answers on their way to disk: counted once they are flushed, each of them once."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from support.filing import opened, upload
from support.keeping import Clock
from veneer_server.batches.answering import Answered
from veneer_server.batches.batches import Asked, Batches, Bounds
from veneer_server.batches.errors import BatchesUnavailable
from veneer_server.batches.folders import ERRORS, OUTPUT, Folders
from veneer_server.batches.pace import Live, Room
from veneer_server.batches.records import Batch, Progress, Status
from veneer_server.batches.runner import choose_next
from veneer_server.batches.working.finishing import finish
from veneer_server.batches.working.turns import Turns
from veneer_server.batches.working.writing import Writer, counts_of
from veneer_server.tenancy.principals import Principal

CHAT = "/v1/chat/completions"
BOUNDS = Bounds(max_lines=10, max_bytes=1000, unfinished=5)
ME = Principal(owner="me")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def batches(tmp_path: Path, clock: Clock) -> AsyncIterator[Batches]:
    async with opened(tmp_path / "catalog.db", tmp_path / "files", clock) as files:
        database = files._database
        folders = Folders(tmp_path / "files" / "batches")
        yield Batches(database, files, folders, BOUNDS, now=clock)


async def made(batches: Batches) -> Batch:
    file = await upload(batches.files, b"lines")
    asked = Asked(input_file=file.id, endpoint=CHAT, metadata=None, output_expires_s=None)
    return await batches.create(ME, asked)


def answer(status: int = 200) -> Answered:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return Answered(status, "req_1", {"usage": usage} if status == 200 else {"error": {}})


async def progress(batches: Batches, batch: Batch) -> Progress:
    found = await batches.look(batch.id)
    assert found is not None
    return found.progress


async def test_a_create_that_is_cancelled_at_any_moment_leaves_a_whole_batch_or_none(
    batches: Batches,
) -> None:
    file = await upload(batches.files, b"lines")
    asked = Asked(input_file=file.id, endpoint=CHAT, metadata=None, output_expires_s=None)
    batches.bounds = replace(BOUNDS, unfinished=1000)
    for turns in range(100):
        creating = asyncio.create_task(batches.create(ME, asked))
        for _ in range(turns):
            await asyncio.sleep(0)
        creating.cancel()
        await asyncio.wait((creating,))
    rows = {batch.id for batch in await batches.unfinished()}
    folders = set(batches.folders.older_than(-1))
    assert rows == folders
    assert rows


async def test_what_was_flushed_is_counted_and_what_was_not_is_cut_off(batches: Batches) -> None:
    batch = await made(batches)
    results = batches.folders.results(batch.id, batch.progress)
    writer = Writer(batches, batch.id, results, batch.progress)
    writer.answered("a", answer())
    writer.answered("b", answer(400))
    await writer.flush()
    counted = await progress(batches, batch)
    assert (counted.completed, counted.failed) == (1, 1)
    assert (counted.input_tokens, counted.output_tokens) == (3, 2)
    results.append(OUTPUT, [b'{"custom_id": "c"}\n'])  # flushed, and the server dies
    results.append(ERRORS, [b'{"custom_id'])
    results.close()
    again = batches.folders.results(batch.id, counted)
    assert again.done() == {"a", "b"}
    assert again.append(OUTPUT, [b'{"custom_id": "c"}\n']) == counted.output_bytes + 19
    again.close()


async def test_two_servers_never_write_the_same_answers(batches: Batches) -> None:
    batch = await made(batches)
    results = batches.folders.results(batch.id, batch.progress)
    with pytest.raises(BatchesUnavailable):
        batches.folders.results(batch.id, batch.progress)
    results.close()
    batches.folders.results(batch.id, batch.progress).close()


async def test_answers_that_are_gone_do_not_begin_anew(batches: Batches) -> None:
    batch = await made(batches)
    with pytest.raises(BatchesUnavailable):
        batches.folders.results(batch.id, Progress(output_bytes=1))


@pytest.mark.parametrize("fault", ["store.write:1:enospc", "store.fsync:1:error"])
async def test_answers_wait_for_a_disk_that_fails_and_are_written_once(
    batches: Batches, armed: Callable[[str], None], fault: str
) -> None:
    batch = await made(batches)
    results = batches.folders.results(batch.id, batch.progress)
    writer = Writer(batches, batch.id, results, batch.progress)
    writer.answered("a", answer())
    armed(fault)
    with pytest.raises(BatchesUnavailable):
        await writer.flush()
    assert (await progress(batches, batch)).completed == 0
    await writer.flush()
    assert (await progress(batches, batch)).completed == 1
    results.close()
    with batches.folders.answers(batch.id, OUTPUT) as content:
        assert [json.loads(line)["custom_id"] for line in content] == ["a"]


async def test_answers_whose_writer_is_cancelled_while_they_are_written_are_written_once(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await made(batches)
    results = batches.folders.results(batch.id, batch.progress)
    writer = Writer(batches, batch.id, results, batch.progress)
    writer.answered("a", answer())
    began, gate, append = threading.Event(), threading.Event(), results.append

    def slowly(name: str, lines: Sequence[bytes]) -> int:
        began.set()
        gate.wait(5)
        return append(name, lines)

    monkeypatch.setattr(results, "append", slowly)
    async with asyncio.timeout(10):
        tending = asyncio.create_task(writer.flush())
        await asyncio.to_thread(began.wait, 5)
        tending.cancel()
        last = asyncio.create_task(writer.flush())
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set()
        await asyncio.wait((tending, last))
    last.result()
    results.close()
    assert (await progress(batches, batch)).completed == 1
    with batches.folders.answers(batch.id, OUTPUT) as content:
        assert [json.loads(line)["custom_id"] for line in content] == ["a"]


async def test_to_end_a_batch_twice_makes_its_files_once(batches: Batches) -> None:
    batch = await made(batches)
    results = batches.folders.results(batch.id, batch.progress)
    writer = Writer(batches, batch.id, results, batch.progress)
    writer.answered("a", answer())
    await writer.flush()
    results.close()
    unlinked = batches.folders.end
    batches.folders.end = lambda batch_id: None  # type: ignore[method-assign]
    first = await finish(batches, batch.id, Status.COMPLETED)
    batches.folders.end = unlinked  # type: ignore[method-assign]
    second = await finish(batches, batch.id, Status.COMPLETED)
    assert first.output_file == second.output_file is not None
    page = await batches.files.page("me", purpose="batch_output", after=None, limit=10, newest=True)
    assert [file.id for file in page.files] == [first.output_file]
    assert second.error_file is None


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, Progress(completed=1)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Progress(1, 0, 0, 0, 5, 3, 7, 2),
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 7,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            Progress(1, 0, 0, 0, 5, 3, 7, 2),
        ),
    ],
)
def test_an_answer_counts_itself_and_the_tokens_of_its_usage(
    usage: dict[str, object] | None, counted: Progress
) -> None:
    assert counts_of({"usage": usage}) == counted


async def test_turns_are_as_many_as_the_pace_allows_and_shared_by_batches() -> None:
    now_s, live = [0.0], [Live()]
    turns = Turns(lambda: live[0], Room(4, 1), clock=lambda: now_s[0])
    held: list[str] = []
    release = asyncio.Event()

    async def hold(batch: str) -> None:
        async with turns.one(batch):
            held.append(batch)
            await release.wait()

    tasks = [asyncio.create_task(hold(batch)) for batch in ("a", "a", "a", "b", "b")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert held == ["a"]
    now_s[0] = 2.0
    turns.look()
    await asyncio.sleep(0)
    assert sorted(held) == ["a", "a", "b"] or sorted(held) == ["a", "b", "b"]
    tasks[2].cancel()  # one that waits
    await asyncio.gather(tasks[2], return_exceptions=True)
    live[0] = Live(waiting=1)
    turns.look()
    release.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(held) >= 4


def test_the_owner_with_the_fewest_batches_at_work_is_next() -> None:
    def of(owner: str, number: int) -> Batch:
        return Batch(
            id=f"batch_{number}",
            owner=owner,
            tenant=None,
            key=None,
            number=number,
            endpoint=CHAT,
            input_file="file-1",
            created=0,
            expires=1,
            metadata=None,
            output_expires_s=None,
        )

    waiting = [of("a", 1), of("a", 2), of("b", 3), of("c", 4)]
    chosen = choose_next(waiting, [of("a", 0)], 4)
    assert [batch.number for batch in chosen] == [3, 4, 1]
