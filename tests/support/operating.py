"""A server with one adapter, ``mine``, as an operator meets it: asked, changed, refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from support import builders
from support.serving import Served

ECHO = ["--engine", "echo"]
PROGRAM = [str(Path(sys.executable).with_name("veneer")), "serve", *ECHO, "--port", "0"]
NEAR_S = 60


def ask(served: Served, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, f"{served.url}/v1/{path}", json=body, timeout=NEAR_S)


def fault(found: httpx.Response) -> tuple[int, str]:
    return found.status_code, found.json()["error"]["code"]


def chat(served: Served) -> int:
    body = {"model": "mine", "messages": [{"role": "user", "content": "hello"}]}
    return ask(served, "POST", "chat/completions", body).status_code


def publish(served: Served, seed: int) -> httpx.Response:
    """Publish from a root, too deep to be watched."""
    source = builders.write(served.adapters / ".incoming" / str(seed), seed=seed)
    if seed == 0:
        return ask(served, "POST", "adapters", {"name": "mine", "source": str(source)})
    return ask(served, "POST", "adapters/mine/revisions", {"source": str(source)})


def change(served: Served) -> httpx.Response:
    return ask(served, "PATCH", "adapters/mine", {"pinned": True})


def start(folder: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to end by itself."""
    variables = {
        **os.environ,
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(folder / "my-adapters"),
        **environ,
    }
    return subprocess.run(
        [*PROGRAM, *flags],
        capture_output=True, text=True, env=variables, timeout=60, check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int = 78) -> str:
    """Return the sentence with which a start was refused."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    [sentence] = [line for line in done.stderr.splitlines() if "cannot start" in line]
    return sentence
