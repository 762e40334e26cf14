"""D1: a server that is killed at any step of an upload or a deletion keeps all of it or nothing."""

import signal
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow

FLAGS = ["--engine", "echo", "--unsafe-test-hooks"]
KILLED = -signal.SIGKILL


def upload(content: bytes, served: Served) -> str:
    sent = {"file": ("rows.jsonl", content)}
    url = f"{served.url}/v1/files"
    made = httpx.post(url, files=sent, data={"purpose": "fine-tune"}, timeout=20)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def delete(file_id: str, served: Served) -> None:
    httpx.delete(f"{served.url}/v1/files/{file_id}", timeout=20)


def kept(served: Served) -> dict[str, bytes]:
    url = f"{served.url}/v1/files"
    ids = [file["id"] for file in httpx.get(url, timeout=20).json()["data"]]
    return {id_: httpx.get(f"{url}/{id_}/content", timeout=20).content for id_ in ids}


@pytest.mark.parametrize("fault", ["store.write", "store.fsync", "store.rename", "store.remove"])
def test_d1_a_server_killed_in_an_upload_or_a_deletion_keeps_what_it_acknowledged(
    tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "state" / "files"
    with start_process(tmp_path, flags=FLAGS) as served:
        first = upload(b"first", served)
        second = upload(b"second", served)
    dies = {"VENEER_FAULTS": f"{fault}:1:kill"}
    with start_process(tmp_path, flags=FLAGS, environ=dies, ends_with=KILLED) as served:
        act = partial(delete, second) if fault == "store.remove" else partial(upload, b"third")
        with pytest.raises(httpx.TransportError):
            act(served)
    wanted = {first: b"first"} | ({} if fault == "store.remove" else {second: b"second"})
    with start_process(tmp_path, flags=FLAGS) as served:
        assert kept(served) == wanted
        third = upload(b"third", served)
        assert kept(served) == wanted | {third: b"third"}
        assert [*(folder / "tmp").iterdir()] == []
        deadline = time.monotonic() + 20
        while len([*(folder / "sha256").glob("*/*")]) != len(wanted) + 1:  # the rest is swept
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
