"""Files for tests on any database, and the story that each database must tell alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.keeping import Clock
from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.files.contents import Contents
from veneer_server.files.errors import FileNotFound, FileRefused, FilesFull, FileTooLarge
from veneer_server.files.files import Bounds, Files, Named
from veneer_server.files.records import Page, StoredFile
from veneer_server.files.upkeep import FileUpkeep

BOUNDS = Bounds(max_bytes=1000, tenant_bytes=2500, tenant_files=4)


@asynccontextmanager
async def opened(
    where: str | Path, folder: Path, clock: Callable[[], float]
) -> AsyncIterator[Files]:
    """Open the files of a database that may be new, with their bytes in ``folder``."""
    database = await Database.open(where, further=(MIGRATIONS,))
    try:
        yield Files(database, Contents(folder), BOUNDS, now=clock)
    finally:
        await database.close()


async def upload(
    files: Files, content: bytes = b"x", owner: str = "me", *, lasts_s: int | None = None
) -> StoredFile:
    async with files.receiving(owner) as arriving:
        arriving.write(content)
        return await files.add(owner, arriving, Named("rows.jsonl", "batch", lasts_s))


async def listed(files: Files, **asked: object) -> Page:
    usual = {"purpose": None, "after": None, "limit": 10, "newest": True}
    return await files.page("me", **(usual | asked))  # type: ignore[arg-type]


async def read(files: Files, file: StoredFile) -> bytes:
    with await files.open(file) as content:
        return content.read()


def stored(files: Files) -> set[str]:
    return set(files.contents.digests())


async def a_file_is_found_and_read_by_its_owner_only(files: Files, clock: Clock) -> None:
    file = await upload(files, b"one\ntwo\n")
    assert await files.find("me", file.id) == file
    assert await read(files, file) == b"one\ntwo\n"
    for owner, file_id in (("you", file.id), ("me", "file-none"), ("me", "a/b?" * 99)):
        with pytest.raises(FileNotFound):
            await files.find(owner, file_id)
        with pytest.raises(FileNotFound):
            await files.delete(owner, file_id)
    assert await files.find("me", file.id) == file


async def the_list_comes_in_pages_both_ways(files: Files, clock: Clock) -> None:
    ids = [(await upload(files, b"%d" % n)).id for n in range(3)]
    assert [f.id for f in (await listed(files)).files] == ids[::-1]
    first = await listed(files, limit=2, newest=False)
    assert ([f.id for f in first.files], first.more) == (ids[:2], True)
    last = await listed(files, limit=2, newest=False, after=ids[1])
    assert ([f.id for f in last.files], last.more) == (ids[2:], False)
    assert (await listed(files, purpose="fine-tune")).files == []
    for unknown in ("file-none", "\0"):
        with pytest.raises(FileRefused):
            await listed(files, after=unknown)


async def content_is_kept_once_and_goes_with_its_last_file(files: Files, clock: Clock) -> None:
    first, second = await upload(files, b"same"), await upload(files, b"same", "you")
    assert stored(files) == {first.digest} == {second.digest}
    await files.delete("me", first.id)
    assert await read(files, second) == b"same"
    await files.delete("you", second.id)
    assert stored(files) == set()


async def what_is_expired_is_gone_at_once_and_later_its_content(files: Files, clock: Clock) -> None:
    file = await upload(files, b"short", lasts_s=60)
    stays = await upload(files, b"long")
    clock.now += 60
    with pytest.raises(FileNotFound):
        await files.find("me", file.id)
    assert [f.id for f in (await listed(files)).files] == [stays.id]
    await files.delete_expired()
    assert stored(files) == {stays.digest}


async def nobody_has_more_than_the_bounds_say(files: Files, clock: Clock) -> None:
    with pytest.raises(FileTooLarge):
        await upload(files, b"x" * 1001)
    with pytest.raises(FileRefused):
        await upload(files, b"")
    first = await upload(files, b"a" * 1000)
    await upload(files, b"b" * 1000)
    with pytest.raises(FilesFull):
        await upload(files, b"c" * 501)
    await upload(files, b"c" * 501, "you")
    await upload(files, b"d")
    await upload(files, b"e")
    with pytest.raises(FilesFull):
        await upload(files, b"f")
    await files.delete("me", first.id)
    await upload(files, b"f")
    assert len(stored(files)) == 5


async def what_no_file_has_is_swept(files: Files, clock: Clock) -> None:
    file = await upload(files, b"mine")
    async with files.receiving("me") as arriving:
        arriving.write(b"nobody's")
        arriving.finish()
        files.contents.keep(arriving)  # and the server dies
    assert len(stored(files)) == 2
    await FileUpkeep(files).sweep()
    assert stored(files) == {file.digest}


async def the_same_comes_and_goes_at_once_and_every_row_has_its_content(
    files: Files, clock: Clock
) -> None:
    for _ in range(10):
        first = await upload(files, b"same")
        second, _ = await asyncio.gather(upload(files, b"same"), files.delete("me", first.id))
        assert await read(files, second) == b"same"
        await files.delete("me", second.id)


Story = Callable[[Files, Clock], Awaitable[None]]
STORIES: list[Story] = [
    a_file_is_found_and_read_by_its_owner_only,
    the_list_comes_in_pages_both_ways,
    content_is_kept_once_and_goes_with_its_last_file,
    what_is_expired_is_gone_at_once_and_later_its_content,
    nobody_has_more_than_the_bounds_say,
    what_no_file_has_is_swept,
    the_same_comes_and_goes_at_once_and_every_row_has_its_content,
]
