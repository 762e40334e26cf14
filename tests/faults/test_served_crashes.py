"""Some of the crashes of ``test_crashes.py`` as an operator meets them: ``veneer serve`` itself."""

import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from support import builders
from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow

NEAR_S = 20
FLAGS = ["--engine", "echo", "--unsafe-test-hooks"]


def ask(served: Served, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, f"{served.url}/v1/{path}", json=body, timeout=NEAR_S)


def publish(served: Served, seed: int) -> httpx.Response:
    """Publish from a root, too deep to be watched."""
    source = builders.write(served.adapters / ".incoming" / str(seed), seed=seed)
    if seed == 1:
        return ask(served, "POST", "adapters", {"name": "mine", "source": str(source)})
    return ask(served, "POST", "adapters/mine/revisions", {"source": str(source)})


def live(served: Served) -> int:
    body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
    found = ask(served, "POST", "chat/completions", body)
    assert found.status_code == 200, found.text
    by: str = found.headers["x-veneer-adapter"]
    return int(by.partition("#")[0].removeprefix("mine@"))


def publish_and_move_back(served: Served, seen: list[int]) -> None:
    """Make revision 2 live, and 1 again; note what is live in between."""
    publish(served, 2)
    seen.append(live(served))
    ask(served, "PUT", "adapters/mine/aliases/live", {"revision": 1})


# Adding and publishing are two commits each: one adds the revision, one moves the alias.
CASES = [
    ("store.rename:3", 1, 1),
    ("catalog.committed:3", 1, 2),
    ("catalog.commit:5", 2, 2),
    ("catalog.committed:5", 2, 1),
]
"""The fault, the revision that was acknowledged as live, and the one that is in the end."""


@pytest.mark.parametrize(("fault", "acknowledged", "wanted"), CASES)
def test_d1_a_server_killed_while_it_publishes_or_moves_finishes_it_or_never_began(
    tmp_path: Path, fault: str, acknowledged: int, wanted: int
) -> None:
    dies = {"VENEER_FAULTS": f"{fault}:kill"}
    killed = -signal.SIGKILL
    with start_process(tmp_path, flags=FLAGS, environ=dies, ends_with=killed) as served:
        assert publish(served, 1).status_code == 201
        seen = [live(served)]
        with pytest.raises(httpx.TransportError):
            publish_and_move_back(served, seen)
        assert seen[-1] == acknowledged
    with start_process(tmp_path, flags=FLAGS) as served:
        deadline = time.monotonic() + NEAR_S
        while live(served) != wanted:
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
        told = ask(served, "GET", "adapters/mine").json()
        assert told["live"] == wanted
        assert publish(served, 3).json()["number"] == told["revisions"] + 1


def test_a_second_server_on_a_port_ends_with_98_and_the_first_serves_on(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with start_process(tmp_path, flags=FLAGS) as first:
        port = str(urlsplit(first.url).port)
        with (
            pytest.raises(AssertionError, match="did not start"),
            start_process(tmp_path / "other", flags=[*FLAGS, "--port", port], ends_with=98),
        ):
            raise NotImplementedError
        assert ask(first, "GET", "models").status_code == 200
