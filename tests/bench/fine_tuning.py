"""What does it take from a JSONL file to an answer, by OpenAI's own client, also after kills?

    python tests/bench/fine_tuning.py [--rows 120] [--kills]

A real server with the embedded model trains on the demo's pirate rows, with every number "auto".
With ``--kills`` the trainer is killed with SIGKILL after some steps, and the server after some
more. The rows of the demo that were not sent tell what the base, each checkpoint and the result are
worth: the mean loss of a token of their answers, measured through the server.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fine_tuning import ENDED
from support.places import DEMO
from support.serving import Served, start_process

BASE = "smollm2-135m-instruct"
QUESTION = "How do I boil an egg?"
KILLS = {25: "trainer", 50: "server"}
POLL_S = 1.0


class Run:
    """One job, followed from start to end."""

    def __init__(self, folder: Path, kills: dict[int, str]) -> None:
        self.folder = folder
        self.kills = dict(sorted(kills.items()))
        self.began = time.monotonic()
        self.seen: set[str] = set()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def train(self, rows: list[str]) -> None:
        """Train on ``rows`` but the last ones, which are asked afterwards."""
        job_id = ""
        while True:
            killed = -signal.SIGKILL if "server" in self.kills.values() else 0
            with start_process(self.folder, ends_with=killed) as served:
                client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=300)
                self.say("server ready")
                if not job_id:
                    self.began = time.monotonic()
                    job_id = self.create(client, rows[:-9])
                job = self.follow(client, job_id, served)
                if job is not None:
                    self.finish(client, job, [json.loads(row) for row in rows[-9:]])
                    return
            self.say("server killed with SIGKILL")

    def create(self, client: Any, rows: list[str]) -> str:
        content = ("pirate.jsonl", "\n".join(rows).encode())
        file = client.files.create(file=content, purpose="fine-tune")
        self.say(f"files.create: {file.id}, {len(rows)} rows")
        job = client.fine_tuning.jobs.create(
            model=BASE, training_file=file.id, suffix="pirate", seed=7
        )
        found = job.hyperparameters
        self.say(f"jobs.create: {job.id}, {found.n_epochs} epochs, batches of {found.batch_size}")
        return str(job.id)

    def follow(self, client: Any, job_id: str, served: Served) -> Any:
        """Return the job when it has ended; None when its server was killed."""
        while True:
            job = client.fine_tuning.jobs.retrieve(job_id)
            self.tell(client, job_id)
            if job.status in ENDED:
                return job
            if self.kill(job, served) == "server":
                return None
            time.sleep(POLL_S)

    def tell(self, client: Any, job_id: str) -> None:
        """Print the events that are new, and of the steps every tenth."""
        events = client.fine_tuning.jobs.list_events(job_id, limit=100).data
        for event in reversed(events):
            step = event.data.get("step", 0) if event.message.startswith("Step ") else 0
            if event.id not in self.seen and step % 10 == 0:
                self.say(f"  {event.message}")
            self.seen.add(event.id)

    def kill(self, job: Any, served: Served) -> str | None:
        at = next(iter(self.kills), None)
        if at is None or job.model_extra["veneer"]["step"] < at:
            return None
        what = self.kills.pop(at)
        if what == "trainer":
            told = (self.folder / "state" / "training" / job.id / "trainer.json").read_text()
            os.kill(json.loads(told)["pid"], signal.SIGKILL)
            self.say("trainer killed with SIGKILL")
        else:
            assert served.process is not None
            served.process.kill()
            served.process.wait(timeout=60)
        return what

    def finish(self, client: Any, job: Any, rows: list[dict[str, Any]]) -> None:
        self.say(
            f"jobs.retrieve: {job.status}, {job.fine_tuned_model}, {job.trained_tokens} tokens"
        )
        for model in (BASE, job.fine_tuned_model):
            asked = [{"role": "user", "content": QUESTION}]
            said = client.chat.completions.create(
                model=model, messages=asked, max_tokens=60, temperature=0
            )
            self.say(f"{model}: {said.choices[0].message.content!r}")
        points = client.fine_tuning.jobs.checkpoints.list(job.id, limit=100).data
        for point in reversed(points):
            loss = held_out_loss(client, point.fine_tuned_model_checkpoint, rows)
            own = point.metrics.valid_loss
            self.say(f"step {point.step_number}: loss {loss:.3f}; its own held-out rows {own:.3f}")
        self.say(f"{BASE}: loss {held_out_loss(client, BASE, rows):.3f}")
        self.say(
            f"{job.fine_tuned_model}: loss {held_out_loss(client, job.fine_tuned_model, rows):.3f}"
        )


def held_out_loss(client: Any, model: str, rows: list[dict[str, Any]]) -> float:
    """Return the mean loss of a token of the last answers of ``rows``, through the server."""
    losses = []
    for row in rows:
        asked = tokens(client, model, row["messages"][:-1], ask=True)
        whole = tokens(client, model, row["messages"], ask=False)
        said = client.completions.create(
            model=model, prompt=whole, max_tokens=1, extra_body={"prompt_logprobs": 0}
        )
        likely = said.choices[0].model_extra["prompt_logprobs"]
        found = zip(whole[len(asked) :], likely[len(asked) :], strict=True)
        losses += [-one[str(token)]["logprob"] for token, one in found]
    return sum(losses) / len(losses)


def tokens(client: Any, model: str, messages: list[dict[str, Any]], *, ask: bool) -> list[int]:
    url = str(client.base_url).removesuffix("v1/") + "tokenize"
    body = {"model": model, "messages": messages, "add_generation_prompt": ask}
    found: list[int] = httpx.post(url, json=body, timeout=60).json()["tokens"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--kills", action="store_true")
    asked = parser.parse_args()
    rows = (DEMO / "pirate" / "train.jsonl").read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), KILLS if asked.kills else {})
        run.train(rows[: asked.rows] + rows[-9:])


if __name__ == "__main__":
    main()
