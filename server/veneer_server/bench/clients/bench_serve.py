"""``vllm bench serve`` in a process that stays, so that only the first run pays for its start."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from veneer_server.bench.peers.peers import BASE
from veneer_server.bench.peers.running import BenchFailed

_LONGEST_S = 900
_MARK = "RESULT "
_PROGRAM = """
import json, sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
for line in sys.stdin:
    found = main(parser.parse_args(json.loads(line)))
    kept = {k: v for k, v in found.items() if isinstance(v, (int, float)) or k == "errors"}
    print("\\nRESULT " + json.dumps(kept), flush=True)
"""
"""The client's program. It is a text, because only the package ``engine.vllm`` may import vLLM."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the client asks of a server: answers of full length to random prompts."""

    prompts: int
    concurrency: int
    tokens_in: int
    tokens_out: int
    seed: int
    adapters: Sequence[str] = ()
    """The adapters that requests name in turn; without any, they name the base model."""


def flags(work: Work, url: str, tokenizer: Path) -> list[str]:
    """Return the arguments of ``vllm bench serve`` for ``work``."""
    given: dict[str, object] = {
        "backend": "openai",
        "base-url": url,
        "model": BASE,
        "tokenizer": tokenizer,
        "dataset-name": "random",
        "random-input-len": work.tokens_in,
        "random-output-len": work.tokens_out,
        "num-prompts": work.prompts,
        "max-concurrency": work.concurrency,
        "seed": work.seed,
        "temperature": 0,
        "ready-check-timeout-sec": 0,
    }
    words = [str(word) for key, value in given.items() for word in (f"--{key}", value)]
    if work.adapters:
        words += ["--lora-assignment", "round-robin", "--lora-modules", *work.adapters]
    # Without --save-detailed it throws away why a request was not answered.
    return [*words, "--ignore-eos", "--disable-tqdm", "--save-detailed"]


class BenchServe:
    """A running process of ``vllm bench serve``."""

    def __init__(self, process: subprocess.Popen[str], tokenizer: Path, log: Path) -> None:
        self._process = process
        self._tokenizer = tokenizer
        self._log = log

    def drive(self, url: str, work: Work) -> dict[str, float]:
        """Send ``work`` to the server at ``url``; return the numbers of vLLM's own summary.

        Raises:
            BenchFailed: the client died, or took more than 15 minutes, or a request had no answer.
        """
        timer = threading.Timer(_LONGEST_S, self._process.kill)
        timer.start()
        try:
            _pipe(self._process.stdin).write(json.dumps(flags(work, url, self._tokenizer)) + "\n")
            _pipe(self._process.stdin).flush()
            result = self._read()
        except BrokenPipeError:
            result = None
        finally:
            timer.cancel()
        if result is None:
            end = self._log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise BenchFailed(f"vllm bench serve ended. The end of its log:\n{end}")
        errors = result.pop("errors", ())
        if result.get("completed") != work.prompts:
            why = next(filter(None, errors), "no reason given")
            raise BenchFailed(
                f"Only {result.get('completed')} of {work.prompts} requests were answered; the"
                f" first that was not: {why[-300:]}"
            )
        return result

    def _read(self) -> dict[str, Any] | None:
        for line in _pipe(self._process.stdout):
            if line.startswith(_MARK):
                found: dict[str, Any] = json.loads(line.removeprefix(_MARK))
                return found
        return None


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("the client was started without pipes")
    return stream


@contextmanager
def bench_serve(environ: Mapping[str, str], tokenizer: Path, log: Path) -> Iterator[BenchServe]:
    """Start the client's process; it ends with the block."""
    command = [
        sys.executable,
        "-m",
        "veneer_server.bench.peers.tether",
        sys.executable,
        "-c",
        _PROGRAM,
    ]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 - a command of this package
            command,
            env={**environ, "VLLM_PLUGINS": "", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield BenchServe(process, tokenizer, log)
        finally:
            process.kill()
