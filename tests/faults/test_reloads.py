"""A file of settings that cannot be used, at SIGHUP: the server goes on with what it has."""

import signal
import time
from pathlib import Path

import httpx
import pytest

from support.operating import ECHO, NEAR_S, ask
from support.serving import POLL_S, Served, start_process

pytestmark = pytest.mark.slow

GOOD = "limits:\n  max_body_bytes: 2048\nobservability:\n  log_level: info\n"
BROKEN = [
    b"limits: [",
    b"limits:\n\tmax_body_bytes: 5000\n",
    b"\xff\xfe\x00limits",
    b"\x00",
    b"- a\n- b\n",
    b"7",
    b"text",
    b"limits: 5\n",
    b"limits: [1, 2]\n",
    b"limits:\n  max_body_bytes: many\n",
    b"limits:\n  max_body_bytes: 1\n",
    b"limits:\n  max_body_bytes: -5000\n",
    b"limits:\n  max_body_bytes: null\n",
    b"limits:\n  max_body_bytes: .nan\n",
    b"limits:\n  max_body_bytes: 5000\n  max_bodies: 1\n",
    b"limit:\n  max_body_bytes: 5000\n",
    b"limits:\n  max_body_bytes: 5000\nobservability:\n  log_level: loud\n",
    b"limits:\n  max_body_bytes: 5000\nserver:\n  drain_timeout_s: -1\n",
    b"limits:\n  max_body_bytes: 5000\nadapters:\n  device_slots: 64\n  host_slots: 64\n",
    b"limits: &a\n  max_body_bytes: *b\n",
    None,
]
"""What the file holds; None: there is no file."""


def until_refused(served: Served, times: int) -> None:
    assert served.log is not None
    deadline = time.monotonic() + NEAR_S
    while served.log.read_text().count("settings not read again") < times:
        assert time.monotonic() < deadline, served.log.read_text()[-1000:]
        time.sleep(POLL_S)


def too_large(served: Served, size_bytes: int) -> bool:
    text = "x" * size_bytes
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
    return ask(served, "POST", "chat/completions", body).status_code == 413


def test_d5_settings_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "veneer.yaml"
    file.write_text(GOOD)
    with start_process(tmp_path, flags=[*ECHO, "--config", str(file)]) as served:
        assert served.process is not None
        for times, broken in enumerate(BROKEN, start=1):
            file.unlink(missing_ok=True)
            if broken is not None:
                file.write_bytes(broken)
            served.process.send_signal(signal.SIGHUP)
            until_refused(served, times)
        assert too_large(served, 2100)
        assert not too_large(served, 1500)
        assert httpx.get(f"{served.url}/readyz", timeout=NEAR_S).status_code == 200
