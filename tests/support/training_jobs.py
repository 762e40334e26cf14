"""Jobs for the trainer: a tiny random base, rows of few tokens, and runs in forked processes."""

import json
import os
import select
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from veneer_adapters import faults
from veneer_server.training.folder import JobFolder
from veneer_server.training.job import Job, Lora, Means
from veneer_server.training.rows.examples import Example

VOCABULARY = 64
LONGEST_S = 60


def base(folder: Path) -> Path:
    """Write a model of two layers and random weights, and return its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def examples(count: int, seed: int = 3) -> list[Example]:
    """Return examples that count up, so that there is something to learn; each has a prompt."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        first, size, start = (
            int(rng.integers(*span)) for span in ((0, VOCABULARY), (6, 20), (1, 4))
        )
        ids = tuple((first + n) % VOCABULARY for n in range(size))
        made.append(Example(ids, ((start, size),)))
    return made


def pairs(count: int, seed: int = 3) -> list[tuple[Example, Example]]:
    """Return pairs with the same prompt: it is better to count up than to count down."""
    made = []
    for preferred in examples(count, seed):
        [(start, end)] = preferred.spans
        last = preferred.ids[start - 1]
        down = tuple((last - n) % VOCABULARY for n in range(1, end - start + 1))
        made.append((preferred, Example((*preferred.ids[:start], *down), preferred.spans)))
    return made


def write_examples(path: Path, made: Sequence[Example | tuple[Example, ...]]) -> Path:
    """Write them as ``training.rows.preparing`` does, each as a row of its own."""
    rows = [each if isinstance(each, tuple) else (each,) for each in made]
    told = [{"examples": [{"ids": e.ids, "spans": e.spans} for e in row]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    return path


def job(folder: Path, base: Path, **changed: Any) -> Job:
    """Write a job of 12 steps with a checkpoint every 4 into the new ``folder``."""
    folder.mkdir(parents=True)
    make: Callable[..., Sequence[Any]] = pairs if changed.get("method") == "dpo" else examples
    write_examples(folder / "train.jsonl", make(16))
    write_examples(folder / "valid.jsonl", make(4, seed=4))
    made = Job(
        **{
            "id": "ftjob-test",
            "base": base,
            "base_id": "acme/base",
            "train": "train.jsonl",
            "valid": "valid.jsonl",
            "seed": 5,
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 0.01,
            "checkpoint_steps": 4,
            "lora": Lora(r=4, alpha=8, dropout=0.1),
            "means": Means(precision="fp32"),
            **changed,
        }
    )
    made.write(folder)
    return made


def run(folder: Path, fault: str | None = None, before: Callable[[], None] | None = None) -> int:
    """Train in a process of its own; return its exit code, negative for a signal."""
    with running(folder, fault, before) as process:
        return process.ended()


class Forked:
    """A process that trains."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def ended(self, within_s: float = LONGEST_S) -> int:
        """Return its exit code; fail when it does not end in time."""
        if self._code is None:
            watched = os.pidfd_open(self.pid)
            try:
                assert select.select([watched], [], [], within_s)[0], "the trainer did not end"
            finally:
                os.close(watched)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


@contextmanager
def running(
    folder: Path, fault: str | None = None, before: Callable[[], None] | None = None
) -> Iterator[Forked]:
    """Train in a forked process, which has all libraries already; it is killed at the end."""
    pid = os.fork()
    if pid == 0:
        _train(folder, fault, before)
    process = Forked(pid)
    try:
        yield process
    finally:
        if process._code is None:
            os.kill(pid, signal.SIGKILL)
            process.ended()


def _train(folder: Path, fault: str | None, before: Callable[[], None] | None) -> None:
    from veneer_server.training.child.__main__ import main

    code = 99
    try:
        if fault is not None:
            faults.arm(fault)
        if before is not None:
            before()
        code = main([str(folder)])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def last_adapter(folder: Path) -> dict[str, bytes]:
    """Return the files of the newest checkpoint that do not depend on when it was made."""
    last = JobFolder(folder).complete()[-1]
    return {
        str(path.relative_to(last.path)): path.read_bytes()
        for path in sorted(last.path.rglob("*"))
        if path.is_file()
    }
