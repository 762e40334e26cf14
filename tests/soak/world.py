"""The server under test, with adapters whose answers are known, and its processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from soak.ledger import Life, completed_in
from support import tiny
from support.serving import POLL_S, free_port

BASE = "tiny"
PROMPTS = ("Count the ships in the harbour.", "Name a colour.", "What is rain made of?")
TOKENS = 12
START_S = 180


def names(count: int) -> list[str]:
    """Return the names of the adapters."""
    return [f"a{number}" for number in range(count)]


class World:
    """One state folder, and the gateways that use it one after the other, on one port."""

    def __init__(self, folder: Path, adapters: int, *, own_disk: bool = False) -> None:
        """Serve in ``folder``; ``own_disk``: its ``state`` is a disk that may be filled."""
        self.folder = folder
        self.state = folder / "state"
        self.own_disk = own_disk
        self.names = names(adapters)
        self.lives: list[Life] = []
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None
        self._model = tiny.model(folder / BASE)
        for number, name in enumerate(self.names):
            for revision in (1, 2):
                tiny.adapter(self.source(name, revision), seed=10 * number + revision)

    def source(self, name: str, revision: int) -> Path:
        """Return the folder with the content of a revision; too deep to be watched."""
        return self.folder / "my-adapters" / ".incoming" / f"{name}-{revision}"

    def start(self) -> None:
        """Start a gateway; return when it is ready."""
        log = self.folder / f"server-{len(self.lives) + 1}.log"
        settings = {
            "HF_HUB_OFFLINE": "1",
            "VENEER_MODEL__PATH": str(self._model),
            "VENEER_MODEL__DTYPE": "float32",
            "VENEER_STATE__DIR": str(self.state),
            "VENEER_ADAPTERS__DIR": str(self.folder / "my-adapters"),
            "VENEER_ADAPTERS__DEVICE_SLOTS": "4",
            "VENEER_ADAPTERS__HOST_SLOTS": "8",
            "VENEER_ENGINE__KV_CACHE_GIB": "1",
            "VENEER_ENGINE__STALL_TIMEOUT_S": "5",
            "VENEER_LIMITS__MAX_SEQS": "8",
            "VENEER_OBSERVABILITY__LOG_FORMAT": "json",
        }
        program = str(Path(sys.executable).with_name("veneer"))
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [program, "serve", "--port", self.url.rpartition(":")[2]],
                env={**os.environ, **settings},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.lives.append(Life(log, time.monotonic()))
        self.until_ready()

    def until_ready(self) -> None:
        """Return when the server can serve."""
        ends_s = time.monotonic() + START_S
        while not self.is_ready():
            assert self.process is not None
            assert self.process.poll() is None, self.lives[-1].log.read_text()[-3000:]
            assert time.monotonic() < ends_s, "the server did not become ready"
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        """Return whether the server says that it can serve."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def engine(self) -> list[psutil.Process]:
        """Return the engine core and its workers, [] while there is none."""
        assert self.process is not None
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in found if "VLLM" in " ".join(p.cmdline())]

    def kill(self) -> None:
        """End the gateway as the kernel would, and start another one."""
        assert self.process is not None
        self.lives[-1].killed = True
        self.process.kill()
        self.process.wait(timeout=30)
        self.start()

    def stop(self) -> int:
        """Read the counters, end the gateway, and return its exit code."""
        assert self.process is not None
        page = httpx.get(f"{self.url}/metrics", timeout=30).text
        self.lives[-1].completed = completed_in(page)
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        for life in self.lives:
            life.read()
        return code

    def look(self) -> Mapping[str, float]:
        """Return what the processes hold now: MiB, descriptors and threads."""
        assert self.process is not None
        gateway, engine = psutil.Process(self.process.pid), self.engine()
        return {
            "at_s": time.monotonic(),
            "gateway MiB": gateway.memory_info().rss / 2**20,
            "gateway fds": gateway.num_fds(),
            "gateway threads": gateway.num_threads(),
            "engine MiB": sum(p.memory_info().rss for p in engine) / 2**20,
            "engine": min((p.pid for p in engine), default=0),
        }


def chat(model: str, prompt: str, **more: Any) -> dict[str, Any]:
    """Return the body of a request whose answer is known."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0}
    return {**body, "ignore_eos": True, **more}


def publish(world: World) -> dict[tuple[str, str], str]:
    """Publish both revisions of every adapter; return what each answers when it is alone."""
    golden = {}
    with httpx.Client(base_url=world.url, timeout=120) as client:
        for name in world.names:
            body: dict[str, Any] = {"name": name, "source": str(world.source(name, 1))}
            client.post("/v1/adapters", json=body).raise_for_status()
            body = {"source": str(world.source(name, 2))}
            client.post(f"/v1/adapters/{name}/revisions", json=body).raise_for_status()
        models = [BASE, *(f"{name}@{n}" for name in world.names for n in (1, 2))]
        for model in models:
            for prompt in PROMPTS:
                answer = client.post("/v1/chat/completions", json=chat(model, prompt))
                document = answer.raise_for_status().json()
                golden[model, prompt] = document["choices"][0]["message"]["content"]
    signatures = {model: tuple(golden[model, prompt] for prompt in PROMPTS) for model in models}
    assert len(set(signatures.values())) == len(models), "two revisions answer alike"
    return golden


def left_in_shared_memory(before: set[str]) -> set[str]:
    """Return the segments that came since ``before`` and that no process maps."""
    found = {name for name in os.listdir("/dev/shm") if name.startswith("psm_")} - before  # noqa: S108
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            found -= set(re.findall(r"/(psm_\w+)", maps.read_text()))
        except OSError:
            continue  # a process that ended, or one of somebody else
    return found
