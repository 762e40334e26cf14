"""What arrives is written in threads, and nobody leaves while a thread still writes."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from veneer_adapters.errors import StorageFailed, TooLarge
from veneer_adapters.sources.writing import receive


async def chunks(*parts: bytes) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part


async def test_chunks_become_a_file_and_each_is_heard_of(tmp_path: Path) -> None:
    heard: list[bytes] = []
    await receive(chunks(b"a", b"", b"bc"), tmp_path / "x", heard.append)
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert heard == [b"a", b"", b"bc"]


async def test_what_the_listener_refuses_is_not_written_and_the_source_is_closed(
    tmp_path: Path,
) -> None:
    closed = []

    async def endless() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    def refuse(chunk: bytes) -> None:
        raise TooLarge("No.")

    with pytest.raises(TooLarge):
        await receive(endless(), tmp_path / "x", refuse)
    assert (tmp_path / "x").read_bytes() == b""
    assert closed


@pytest.mark.parametrize("name", ["nowhere/x", "taken"])
async def test_a_file_that_cannot_be_made_is_told_without_its_path(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(StorageFailed) as caught:
        await receive(chunks(b"a"), tmp_path / name, lambda chunk: None)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_a_full_disk_is_told_as_such(size: int, tmp_path: Path) -> None:
    class Full(type(tmp_path)):  # type: ignore[misc]
        def open(self, mode: str) -> object:
            return Path("/dev/full").open("wb")

    with pytest.raises(StorageFailed):
        await receive(chunks(bytes(size)), Full(tmp_path), lambda chunk: None)


async def test_a_file_is_closed_whose_caller_left_while_it_was_opened(tmp_path: Path) -> None:
    began, gate = threading.Event(), threading.Event()
    opened: list[Any] = []

    class Slow(type(tmp_path)):  # type: ignore[misc]
        def open(self, mode: str) -> Any:
            began.set()
            gate.wait(5)
            opened.append(super().open(mode))
            return opened[0]

    task = asyncio.create_task(receive(chunks(b"a"), Slow(tmp_path / "x"), lambda chunk: None))
    async with asyncio.timeout(5):
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        gate.set()
        await asyncio.wait([task])
    assert task.cancelled()
    assert opened[0].closed


async def test_an_error_of_the_source_is_not_taken_for_one_of_the_disk(tmp_path: Path) -> None:
    async def vanishing() -> AsyncGenerator[bytes]:
        yield b"x"
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        await receive(vanishing(), tmp_path / "x", lambda chunk: None)
