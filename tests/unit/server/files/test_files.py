"""Every promise of files, on SQLite; and what a disk that is full or broken leaves."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from support.filing import STORIES, Story, opened, read, stored, upload
from support.keeping import Clock
from veneer_server.files.contents import Arriving
from veneer_server.files.errors import DiskFull, FilesUnavailable, UploadsFull
from veneer_server.files.files import Files
from veneer_server.files.upkeep import FileUpkeep


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def files(tmp_path: Path, clock: Clock) -> AsyncIterator[Files]:
    async with opened(tmp_path / "catalog.db", tmp_path / "files", clock) as found:
        yield found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_on_sqlite(story: Story, files: Files, clock: Clock) -> None:
    await story(files, clock)


def leftovers(folder: Path) -> list[Path]:
    return [*(folder / "files" / "tmp").iterdir()]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("store.write:1:enospc", DiskFull),
        ("store.fsync:1:enospc", DiskFull),
        ("store.rename:1:enospc", DiskFull),
        ("store.write:1:error", FilesUnavailable),
        ("store.fsync:1:error", FilesUnavailable),
    ],
)
async def test_a_disk_that_fails_leaves_nothing_and_the_next_upload_works(
    files: Files,
    tmp_path: Path,
    armed: Callable[[str], None],
    fault: str,
    error: type[Exception],
) -> None:
    armed(fault)
    with pytest.raises(error):
        await upload(files, b"content")
    assert stored(files) == set()
    assert leftovers(tmp_path) == []
    assert await read(files, await upload(files, b"content")) == b"content"


async def test_an_upload_that_is_cancelled_as_it_begins_leaves_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gate, receive = threading.Event(), threading.Event(), files.contents.receive

    def slowly(*, max_bytes: int) -> Arriving:
        began.set()
        gate.wait(5)
        return receive(max_bytes=max_bytes)

    monkeypatch.setattr(files.contents, "receive", slowly)
    uploading = asyncio.create_task(upload(files, b"content"))
    async with asyncio.timeout(30):
        await asyncio.to_thread(began.wait, 5)
        uploading.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait((uploading,))
    assert uploading.cancelled()
    assert leftovers(tmp_path) == []


async def test_one_owner_uploads_four_files_at_the_same_time_and_others_go_on(
    files: Files,
) -> None:
    async with (
        files.receiving("me"),
        files.receiving("me"),
        files.receiving("me"),
        files.receiving("me"),
    ):
        with pytest.raises(UploadsFull):
            await upload(files)
        await upload(files, b"x", "you")
    await upload(files)


async def test_what_a_dead_server_left_of_an_upload_goes_at_the_next_start(
    files: Files, tmp_path: Path
) -> None:
    async with files.receiving("me") as arriving:
        arriving.write(b"half")
        await FileUpkeep(files).clear(shared=True)
        assert leftovers(tmp_path) != [], "another server may be at it"
        await FileUpkeep(files).clear(shared=False)
        assert leftovers(tmp_path) == []


async def test_a_file_can_be_read_to_its_end_while_it_is_deleted(files: Files) -> None:
    file = await upload(files, b"one two")
    with await files.open(file) as content:
        assert content.read(3) == b"one"
        await files.delete("me", file.id)
        assert content.read() == b" two"
