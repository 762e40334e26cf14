"""Servers to compare, started one at a time on the same model, and vLLM's own client."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).parents[2]
PYTHON = sys.executable
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = ["--enable-lora", "--max-lora-rank", "64", "--max-loras", "32", "--max-cpu-loras", "64"]
NO_CACHE = ["--no-enable-prefix-caching"]
KV_BYTES = 2 * 2**30
START_S = 300


@dataclass(frozen=True)
class Peer:
    """One server: how it is started and what it must not contain."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    must_log: str | None = None
    """A line its log must hold, so that nobody measures our plugin as vLLM's own."""


def vllm(name: str, model: Path, port: int, *flags: str, **more: Any) -> Peer:
    """vLLM's own server."""
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "base", "--port", str(port), "--max-num-seqs", "32"]
    command += ["--kv-cache-memory-bytes", str(KV_BYTES), *NO_CACHE, *flags]
    return Peer(name, command, **more)


def veneer(name: str, model: Path, port: int, folder: Path, **settings: str) -> Peer:
    """This server; ``settings`` are environment variables without their prefix."""
    environ = {
        "VENEER_MODEL__NAME": "base",
        "VENEER_STATE__DIR": str(folder / "state"),
        "VENEER_ADAPTERS__DIR": str(folder / "adapters"),
        "VENEER_ENGINE__KV_CACHE_GIB": str(KV_BYTES / 2**30),
        "VENEER_ENGINE__ARGS__ENABLE_PREFIX_CACHING": "false",
        **{f"VENEER_{key}": value for key, value in settings.items()},
    }
    command = [str(Path(PYTHON).with_name("veneer")), "serve"]
    return Peer(name, [*command, "--model", str(model), "--port", str(port)], environ)


@dataclass(frozen=True)
class Running:
    """A peer that answers."""

    peer: Peer
    url: str
    pid: int
    start_s: float

    def cpu_s(self) -> float:
        """CPU seconds of the API process alone, without the engine's."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def start(peer: Peer, port: int, log: Path) -> Iterator[Running]:
    """Run ``peer`` until the block ends; raises when it does not come up."""
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **peer.environ}
    began = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(
            peer.command, env=environ, stdout=out, stderr=out, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_ready(process, url, log)
            took = time.monotonic() - began
            if peer.must_log and peer.must_log not in log.read_text():
                raise RuntimeError(f"{peer.name}: its log does not say {peer.must_log!r}")
            yield Running(peer, url, process.pid, took)
        finally:
            _end(process)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            threading.Event().wait(0.1)
    raise RuntimeError(f"no answer from {process.args}:\n{log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _gone, alive = psutil.wait_procs(family, timeout=20)
    for child in alive:
        child.kill()


def drive(
    url: str, tokenizer: Path, *, prompts: int, concurrency: int, seed: int, **more: Any
) -> dict[str, Any]:
    """Send random prompts by ``vllm bench serve`` in a process of its own; return its result."""
    flags = {
        "backend": "openai",
        "base-url": url,
        "model": "base",
        "tokenizer": str(tokenizer),
        "dataset-name": "random",
        "random-input-len": 128,
        "random-output-len": 128,
        "num-prompts": prompts,
        "max-concurrency": concurrency,
        "seed": seed,
        **{key.replace("_", "-"): value for key, value in more.items()},
    }
    words = [str(word) for key, value in flags.items() for word in (f"--{key}", *_words(value))]
    program = (
        "import json,sys\n"
        "from vllm.benchmarks.serve import add_cli_args, main\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "p = FlexibleArgumentParser(); add_cli_args(p)\n"
        "r = main(p.parse_args(sys.argv[1:]))\n"
        "print('RESULT', json.dumps({k: v for k, v in r.items() if isinstance(v, (int, float))}))"
    )
    done = subprocess.run(
        [PYTHON, "-c", program, *words, "--ignore-eos", "--disable-tqdm"],
        env={**os.environ, "VLLM_PLUGINS": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if not found:
        raise RuntimeError(f"the client failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(found[1])
    return result


def _words(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]
