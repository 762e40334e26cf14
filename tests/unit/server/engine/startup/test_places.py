"""The folder of an engine: where its sockets can be made."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from veneer_server.engine.vllm.startup.places import LONGEST, choose_place, make_folder

PREFIX = "veneer-engine-"


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        (["/first", "/other"], "/first"),
        (["/x" + "y" * 45, "/other"], "/x" + "y" * 45),
        (["/x" + "y" * 46, "/other"], "/other"),
        (["/x" + "ü" * 23, "/other"], "/other"),
        (["/x" + "y" * 46], "/x" + "y" * 46),
    ],
    ids=["short", "just short enough", "too long", "too many bytes", "no other"],
)
def test_a_place_is_taken_if_a_socket_in_it_has_an_allowed_path(
    places: list[str], chosen: str
) -> None:
    assert choose_place(places, PREFIX) == chosen


def test_a_socket_can_be_made_however_long_the_path_for_temporary_files_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * LONGEST)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = make_folder(PREFIX)
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(folder / ("u" * 36)))
        os.unlink(folder / ("u" * 36))
    finally:
        folder.rmdir()
