"""The disk of the store is full: nothing half is kept, what is there serves, and it recovers."""

from pathlib import Path

import pytest

from support import disks
from support.operating import ECHO, ask, chat, fault, publish
from support.serving import start_process

pytestmark = pytest.mark.slow


def test_s4_a_full_disk_refuses_new_content_serves_the_rest_and_recovers(tmp_path: Path) -> None:
    if disks.mounted not in disks.DISKS:
        pytest.skip("may not mount a small disk")
    disk = tmp_path / "disk"
    store = disk / "store"
    environ = {"VENEER_ADAPTERS__STORE": str(store)}
    with disks.mounted(disk), start_process(tmp_path, flags=ECHO, environ=environ) as served:
        assert publish(served, 0).status_code == 201
        stored = {*(store / "sha256").glob("*/*")}
        with disks.filled(disk):
            assert fault(publish(served, 1)) == (507, "cache_full")
            assert {*(store / "sha256").glob("*/*")} == stored
            assert [*(store / "tmp").iterdir()] == []
            assert ask(served, "GET", "adapters/mine").json()["latest"] == 1
            assert chat(served) == 200
        assert publish(served, 1).json()["number"] == 2
        assert chat(served) == 200
