"""A trainer that learns nothing: it writes the files of a job as the real one does, in no time.

    python stand_in_trainer.py [OPTION...] JOB_DIR

It needs nothing but Python, so that it starts at once.
"""

import argparse
import fcntl
import json
import math
import os
import random
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

MODULES = {
    "model.layers.0.self_attn.q_proj": (16, 16),
    "model.layers.0.self_attn.v_proj": (16, 8),
}
RANK = 4


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--step-s", type=float, default=0.0)
    options.add_argument("--die-at", type=int, default=0)
    options.add_argument("--die-always", action="store_true")
    options.add_argument("--deaf", action="store_true")
    options.add_argument("--fail", default="")
    options.add_argument("folder", type=Path)
    asked = options.parse_args()
    with (asked.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.EX_TEMPFAIL
        return Run(asked).run()


class Run:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.folder: Path = asked.folder
        self.job = json.loads((self.folder / "job.json").read_text())
        rows = (self.folder / self.job["train"]).read_text().splitlines()
        self.dpo = self.job["method"] == "dpo"
        items = len(rows) if self.dpo else sum(len(json.loads(row)["examples"]) for row in rows)
        self.total = math.ceil(items / self.job["batch_size"]) * self.job["epochs"]
        self.stopped = False
        self.step = 0

    def run(self) -> int:
        (self.folder / "result.json").unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self.asked.deaf else self.stop)
        self.step = self.last()
        begun = "started" if self.step == 0 else f"goes on from step {self.step}/{self.total}"
        self.say("message", f"Fine-tuning job {begun}")
        while self.step < self.total:
            if self.stopped:
                return self.pause()
            self.take_step()
        self.end({"outcome": "succeeded", "step": self.step, "trained_tokens": self.step * 10})
        return 0

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True

    def pause(self) -> int:
        if self.step != self.last() and self.step:
            self.save({})
        self.end({"outcome": "paused"})
        return 0

    def take_step(self) -> None:
        time.sleep(self.asked.step_s)
        self.step += 1
        figures = {"train_loss": 1 / self.step, "train_mean_token_accuracy": 0.5}
        if self.dpo:
            figures = {"train_loss": 1 / self.step, "train_reward_margin": self.step / 10}
        more = {"total_steps": self.total, "seconds": 0.5, "trained_tokens": self.step * 10}
        told = f"Step {self.step}/{self.total}: training loss={1 / self.step:.3f}"
        self.say("metrics", told, {"step": self.step, **figures, **more})
        if self.step % self.job["checkpoint_steps"] == 0 or self.step == self.total:
            metrics = {"step": self.step, **figures, "valid_loss": 2 / self.step}
            self.say("metrics", f"Checkpoint created at step {self.step}", metrics)
            self.save(metrics)
        self.die()
        if self.asked.fail:
            error = {"code": self.asked.fail, "message": "It was told to fail.", "param": None}
            self.end({"outcome": "failed", "error": error})
            sys.exit(1)

    def die(self) -> None:
        died = self.folder / "died"
        is_due = self.asked.die_at and self.step >= self.asked.die_at
        if is_due and (self.asked.die_always or not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def last(self) -> int:
        found = (self.folder / "checkpoints").glob("step-*")
        return max((int(path.name.removeprefix("step-")) for path in found), default=0)

    def save(self, metrics: dict[str, float]) -> None:
        new = self.folder / "checkpoints" / f".step-{self.step}.new"
        shutil.rmtree(new, ignore_errors=True)
        (new / "adapter").mkdir(parents=True)
        (new / "adapter" / "adapter_config.json").write_text(json.dumps(self.config()))
        (new / "adapter" / "adapter_model.safetensors").write_bytes(weights(self.step))
        (new / "progress.json").write_text(json.dumps({"step": self.step, "metrics": metrics}))
        new.rename(new.with_name(f"step-{self.step}"))

    def config(self) -> dict[str, Any]:
        return {
            "peft_type": "LORA",
            "base_model_name_or_path": self.job["base_id"],
            "r": RANK,
            "lora_alpha": 2 * RANK,
            "target_modules": ["q_proj", "v_proj"],
            "bias": "none",
        }

    def say(self, kind: str, message: str, data: dict[str, float] | None = None) -> None:
        now = int(time.time())
        told = {"created_at": now, "level": "info", "type": kind, "message": message}
        with (self.folder / "events.jsonl").open("a") as events:
            events.write(json.dumps({**told, "data": data or {}}) + "\n")

    def end(self, result: dict[str, Any]) -> None:
        new = self.folder / ".result.json.new"
        new.write_text(json.dumps(result))
        new.rename(self.folder / "result.json")


def weights(seed: int) -> bytes:
    """Return a safetensors file of random values."""
    drawn, header, body = random.Random(seed), {}, b""  # noqa: S311
    for module, (inner, outer) in MODULES.items():
        for side, shape in (("A", (RANK, inner)), ("B", (outer, RANK))):
            values = [drawn.gauss(0, 1) for _ in range(shape[0] * shape[1])]
            data = struct.pack(f"<{len(values)}f", *values)
            place = [len(body), len(body) + len(data)]
            name = f"base_model.model.{module}.lora_{side}.weight"
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": place}
            body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


if __name__ == "__main__":
    sys.exit(main())
