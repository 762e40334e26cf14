"""Who is asked, how often, for how long, and what is left when it fails."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from support.clock import forward
from veneer_adapters.artifact.files import FILES
from veneer_adapters.errors import (
    AdapterError,
    MissingFile,
    SourceNotAllowed,
    SourceUnavailable,
    TooLarge,
)
from veneer_adapters.sources.fetching import Fetched, Fetching, OnBytes, TryAgain

Answer = Callable[[Path, OnBytes], Awaitable[None]]
LOCATION = "https://a.example/x"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Source:
    """A fetcher whose answers are written down beforehand; the last one is repeated."""

    schemes = frozenset({"https"})

    def whom(self, location: str) -> str:
        return location.split("/")[2]

    def __init__(self, *answers: Exception | Answer | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def fetch(self, location: str, into: Path, progress: OnBytes) -> Fetched:
        self.asked += 1
        assert not files(into)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        for name in FILES:
            (into / name).write_bytes(b"x")
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await answer(into, progress)
        return Fetched(into, location)


def fetching(source: Source, *, timeout_s: float = 5, max_bytes: int = 1000) -> Fetching:
    return Fetching([source], timeout_s=timeout_s, max_bytes=max_bytes, tries=3, pause_s=0.001)


async def refused(
    source: Source, into: Path, *, timeout_s: float = 5, location: str = LOCATION
) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        await fetching(source, timeout_s=timeout_s).fetch(location, into)
    assert not files(into)
    return caught.value


async def test_what_succeeds_is_asked_for_once(tmp_path: Path) -> None:
    source = Source(None)
    found = await fetching(source).fetch(LOCATION, tmp_path)
    assert (found, source.asked) == (Fetched(tmp_path, LOCATION), 1)
    assert files(tmp_path) == set(FILES)


async def test_a_passing_failure_is_tried_again_from_an_empty_folder(tmp_path: Path) -> None:
    source = Source(TryAgain("Busy."), TryAgain("Busy."), None)
    assert (await fetching(source).fetch(LOCATION, tmp_path)).folder == tmp_path
    assert source.asked == 3


async def test_a_lasting_failure_is_told_with_its_reason_after_a_few_tries(tmp_path: Path) -> None:
    source = Source(TryAgain("The source answered with status 500."))
    error = await refused(source, tmp_path)
    assert isinstance(error, SourceUnavailable)
    assert (str(error), source.asked) == ("The source answered with status 500.", 3)


@pytest.mark.parametrize("error", [MissingFile("No."), SourceUnavailable("No."), TooLarge("No.")])
async def test_what_cannot_change_is_not_tried_again(error: AdapterError, tmp_path: Path) -> None:
    source = Source(error)
    assert await refused(source, tmp_path) is error
    assert source.asked == 1


async def test_the_source_is_left_alone_as_long_as_it_asks(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    asked_at: list[float] = []

    async def note(into: Path, progress: OnBytes) -> None:
        asked_at.append(loop.time())
        if len(asked_at) == 1:
            raise TryAgain("Slower.", retry_after_s=0.2)

    await fetching(Source(note)).fetch(LOCATION, tmp_path)
    assert asked_at[1] - asked_at[0] >= 0.2


async def test_a_pause_beyond_the_deadline_is_not_waited_for(tmp_path: Path) -> None:
    source = Source(TryAgain("Slower.", retry_after_s=3600))
    error = await refused(source, tmp_path)
    assert isinstance(error, SourceUnavailable)
    assert (error.retry_after_s, source.asked) == (3600, 1)


async def test_a_source_that_hangs_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    async def hang(into: Path, progress: OnBytes) -> None:
        forward(60)
        await asyncio.Event().wait()

    error = await refused(Source(TryAgain("It was busy."), hang), tmp_path, timeout_s=60)
    assert isinstance(error, SourceUnavailable)
    assert "within 60 seconds" in str(error)
    assert "It was busy." in str(error)


@pytest.mark.parametrize("error", [TimeoutError(), OSError(5, "I/O"), ValueError(), RuntimeError()])
async def test_what_no_fetcher_foresaw_is_a_failure_of_the_source_and_no_timeout(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(SourceUnavailable, match="the log has the error"):
        await fetching(Source(error)).fetch(LOCATION, tmp_path)
    assert not files(tmp_path)


async def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def hang(into: Path, progress: OnBytes) -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(fetching(Source(hang)).fetch(LOCATION, tmp_path))
    async with asyncio.timeout(5):
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert not files(tmp_path)


@pytest.mark.parametrize(("done", "total"), [(1001, None), (0, 1001)])
async def test_more_bytes_than_allowed_end_the_fetch(
    done: int, total: int | None, tmp_path: Path
) -> None:
    async def large(into: Path, progress: OnBytes) -> None:
        progress(1000, 1000)
        progress(done, total)

    source = Source(large)
    assert isinstance(await refused(source, tmp_path), TooLarge)
    assert source.asked == 1


async def test_the_listener_hears_the_progress(tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []

    async def two_steps(into: Path, progress: OnBytes) -> None:
        progress(1, None)
        progress(2, 2)

    await fetching(Source(two_steps)).fetch(LOCATION, tmp_path, lambda *seen: heard.append(seen))
    assert heard == [(1, None), (2, 2)]


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://a.example/x", "s3://b/x", "http://a.example/x", "/etc", "data:x"],
)
async def test_only_schemes_with_a_fetcher_are_fetched(location: str, tmp_path: Path) -> None:
    source = Source(None)
    assert isinstance(await refused(source, tmp_path, location=location), SourceNotAllowed)
    with pytest.raises(SourceNotAllowed):
        fetching(source).check(location)
    assert source.asked == 0


def test_nothing_configured_allows_nothing() -> None:
    with pytest.raises(SourceNotAllowed, match="`https`"):
        Fetching([]).check(LOCATION)
