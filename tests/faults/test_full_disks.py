"""The disk of the store is full: nothing half is kept, what is there serves, and it recovers."""

from pathlib import Path

import httpx
import pytest

from support import disks
from support.operating import ECHO, ask, chat, fault, publish
from support.serving import Served, start_process

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


def test_s4_a_full_disk_refuses_uploads_serves_what_is_there_and_recovers(tmp_path: Path) -> None:
    if disks.mounted not in disks.DISKS:
        pytest.skip("may not mount a small disk")
    disk = tmp_path / "disk"
    environ = {"VENEER_FILES__DIR": str(disk / "files")}
    with disks.mounted(disk), start_process(tmp_path, flags=ECHO, environ=environ) as served:
        kept = upload(served)
        with disks.filled(disk):
            assert fault(upload(served)) == (507, "disk_full")
            assert [*(disk / "files" / "tmp").iterdir()] == []
            one = f"{served.url}/v1/files/{kept.json()['id']}/content"
            assert httpx.get(one, timeout=20).content == ROWS
        assert upload(served).status_code == 200


ROWS = b'{"a": 1}\n' * 2000


def upload(served: Served) -> httpx.Response:
    sent = {"file": ("rows.jsonl", ROWS)}
    url = f"{served.url}/v1/files"
    return httpx.post(url, files=sent, data={"purpose": "fine-tune"}, timeout=20)
