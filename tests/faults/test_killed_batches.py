"""D1: a server that is killed in the middle of a batch goes on with it, and no line comes twice."""

import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from support import builders
from support.batching import CHAT, ENDED, line, to_jsonl
from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow

FLAGS = ["--engine", "echo", "--unsafe-test-hooks"]
KILLED = -signal.SIGKILL
VARIANTS = [f"variant-{number}" for number in range(5)]
LINES = 500


def make(served: Served) -> str:
    lines = [line(number, VARIANTS[number % 5]) for number in range(LINES)]
    with httpx.Client(base_url=served.url, timeout=20) as client:
        sent = {"file": ("lines.jsonl", to_jsonl(lines))}
        file = client.post("/v1/files", files=sent, data={"purpose": "batch"}).json()
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        made = client.post("/v1/batches", json=body)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])


def until_ended(served: Served, batch_id: str) -> dict[str, object]:
    deadline = time.monotonic() + 90
    while True:
        batch: dict[str, object] = httpx.get(f"{served.url}/v1/batches/{batch_id}").json()
        if batch["status"] in ENDED:
            return batch
        assert time.monotonic() < deadline, batch
        time.sleep(POLL_S)


def kill_in_the_middle(served: Served, batch_id: str) -> None:
    """Kill the server as soon as some of the answers are counted."""
    assert served.process is not None
    deadline = time.monotonic() + 60
    while True:
        counts = httpx.get(f"{served.url}/v1/batches/{batch_id}").json()["request_counts"]
        if 0 < counts["completed"] < LINES:
            break
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    served.process.kill()


# A start writes the two files of each variant to have a look, and flushes nothing that is there
# already. The upload passes each point once, and then each flush of answers does.
@pytest.mark.parametrize("fault", ["store.write:13", "store.fsync:3", None])
def test_d1_a_batch_over_five_variants_survives_a_kill_whole_and_without_duplicates(
    tmp_path: Path, fault: str | None
) -> None:
    for number, name in enumerate(VARIANTS):
        builders.write(tmp_path / "my-adapters" / name, seed=number)
    with start_process(tmp_path, flags=FLAGS):
        pass  # now the variants are in the store
    dies = {"VENEER_FAULTS": f"{fault}:kill"} if fault else {}
    dies["VENEER_ADAPTERS__DEVICE_SLOTS"] = "4"
    with start_process(tmp_path, flags=FLAGS, environ=dies, ends_with=KILLED) as served:
        batch_id = make(served)
        assert served.process is not None
        if fault is None:
            kill_in_the_middle(served, batch_id)
        served.process.wait(timeout=60)
    with start_process(tmp_path, flags=FLAGS) as served:
        batch = until_ended(served, batch_id)
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        url = f"{served.url}/v1/files/{batch['output_file_id']}/content"
        answers = httpx.get(url, timeout=20).text.splitlines()
        assert len(answers) == LINES
        found = {json.loads(answer)["custom_id"] for answer in answers}
        assert found == {f"line-{number}" for number in range(LINES)}
