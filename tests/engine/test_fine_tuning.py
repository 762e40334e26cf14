"""From a JSONL file to an answer, on a real engine with two layers of the embedded model.

The trainer is the real one, in a process of its own.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support import tiny
from support.asked import need
from support.batching import CHAT
from support.fine_tuning import JOBS, create, ended
from support.places import DEMO
from support.serving import serve_echo
from veneer_server.engine.vllm import embedded

need("vllm")
need("peft")
pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SAID = [{"role": "user", "content": "How do I boil an egg?"}]


async def answer(client: httpx.AsyncClient, model: str) -> httpx.Response:
    asked = {"model": model, "messages": SAID, "max_tokens": 16, "temperature": 0}
    said = await client.post(CHAT, json=asked)
    assert said.status_code == 200, said.text
    return said


async def test_from_a_file_to_an_answer_of_what_was_learned(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "chat_template": embedded.CHAT_TEMPLATE,
        "tool_call_parser": embedded.TOOL_CALL_PARSER,
    }
    async with (
        tiny.engine(tmp_path, **wanted) as engine,
        serve_echo(tmp_path, engine=engine, model={"path": str(tmp_path / "tiny")}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        rows = (DEMO / "pirate" / "train.jsonl").read_bytes().splitlines()[:40]
        sent = {"file": ("rows.jsonl", b"\n".join(rows))}
        file = await client.post("/v1/files", files=sent, data={"purpose": "fine-tune"})
        job = await create(
            client,
            model="tiny",
            training_file=file.json()["id"],
            suffix="pirate",
            hyperparameters={"n_epochs": 6, "batch_size": 8},
            lora={"r": 4, "learning_rate": 0.005},
            evaluation={"publish_to": "pirate", "then": "live", "graders": ["contains"]},
        )
        done = await ended(client, job["id"], within_s=200)
        assert done["status"] == "succeeded", done
        assert done["veneer"]["step"] == 24
        model = done["fine_tuned_model"]
        page = (await client.get(f"{JOBS}/{job['id']}/checkpoints")).json()
        losses = {one["step_number"]: one["metrics"]["valid_loss"] for one in page["data"]}
        assert losses.keys() == {20, 24}
        said, base = await answer(client, model), await answer(client, "tiny")
        assert said.headers["x-veneer-adapter"].startswith(f"{done['veneer']['adapter']}@2#")
        assert said.json()["choices"] != base.json()["choices"]
        early = await answer(client, f"{model}:ckpt-step-20")
        assert "@1#" in early.headers["x-veneer-adapter"]
        measured = done["veneer"]["evaluation"]
        assert measured["candidate"]["loss"] == pytest.approx(losses[24], rel=0.01)
        assert measured["candidate"]["loss"] < measured["base"]["loss"] - 0.5
        assert (measured["better"], measured["live"]) == (True, None)
        assert 0 <= measured["candidate"]["grades"]["contains"] <= 1
        pirate = await answer(client, "pirate")
        assert pirate.json()["choices"] == said.json()["choices"]
