"""What the trainer learns from is what the engine reads, and what it makes the engine serves.

The engine has two layers of the embedded model, in fp32; so has the trainer's base.
"""

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support import tiny
from support.asked import need
from support.places import DEMO
from support.training_rows import CALL, TOOL, called, chat, said, write
from veneer_adapters.artifact.checks import verify
from veneer_adapters.catalog.proof import judge
from veneer_server.engine.base import Answer, Call, Endpoint
from veneer_server.engine.vllm import embedded
from veneer_server.training.folder import JobFolder, read_json
from veneer_server.training.job import Job, Lora, Means
from veneer_server.training.rows.checking import check
from veneer_server.training.rows.examples import Example, examples_of
from veneer_server.training.rows.faults import InvalidTrainingFile
from veneer_server.training.rows.preparing import Places, prepare, read_examples
from veneer_server.training.rows.rows import ChatRow, CompletionRow, Method

need("vllm")
need("peft")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]


@dataclass(frozen=True)
class Running:
    """The engine and the folder of its base model."""

    engine: Any
    base: Path

    async def ask(self, endpoint: Endpoint, **body: Any) -> dict[str, Any]:
        number = id(body)
        found = await self.engine.respond(Call(endpoint, {"model": "tiny", **body}, str(number)))
        assert isinstance(found, Answer)
        return found.body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("tiny")
    wanted: dict[str, Any] = {
        "chat_template": embedded.CHAT_TEMPLATE,
        "tool_call_parser": embedded.TOOL_CALL_PARSER,
    }
    async with tiny.engine(folder, **wanted) as engine:
        yield Running(engine, folder / "tiny")


TALK = [
    said("system", "Be brief."),
    said("user", "What is 2+2?"),
    said("assistant", "\n4, of course"),
    said("user", [{"type": "text", "text": "And 3+3? "}, {"type": "text", "text": "Ünïcode 🙂"}]),
    said("assistant", "6"),
]
WITH_TOOLS = called()
ROWS = {
    "a conversation": (chat(*TALK), [2, 4]),
    "one answer counts": (chat(*TALK[:2], said("assistant", "4", weight=0), *TALK[3:]), [4]),
    "tools": (WITH_TOOLS, [1, 3]),
    "the call alone counts": (
        chat(*WITH_TOOLS["messages"][:3], said("assistant", "3", weight=0), tools=[TOOL]),
        [1],
    ),
    "two calls": (
        chat(
            said("developer", "Call."),
            said("user"),
            said("assistant", "Well:", tool_calls=[CALL, {**CALL, "id": "c2"}]),
            tools=[TOOL],
        ),
        [2],
    ),
}


async def served_prompt(running: Running, row: dict[str, Any], index: int) -> list[int]:
    """Return the tokens that a chat request has which asks for the message at ``index``."""
    messages = [{k: v for k, v in m.items() if k != "weight"} for m in row["messages"][:index]]
    body = {"messages": messages, "max_tokens": 1, "return_token_ids": True}
    if "tools" in row:
        body |= {"tools": row["tools"], "tool_choice": "auto"}
    found = await running.ask(Endpoint.CHAT, **body)
    ids: list[int] = found["prompt_token_ids"]
    assert found["usage"]["prompt_tokens"] == len(ids)
    return ids


async def decoded(running: Running, ids: Any) -> str:
    found = await running.ask(Endpoint.DETOKENIZE, tokens=list(ids))
    text: str = found["prompt"]
    return text


@pytest.mark.parametrize(("row", "learned"), ROWS.values(), ids=ROWS)
async def test_what_is_learned_follows_just_the_tokens_that_a_request_has(
    running: Running, row: dict[str, Any], learned: list[int]
) -> None:
    read = ChatRow(row["messages"], row.get("tools", []))
    examples = await examples_of(read, running.engine.rows)
    spans = [(example, span) for example in examples for span in example.spans]
    assert len(spans) == len(learned)
    for (example, (start, end)), index in zip(spans, learned, strict=True):
        assert list(example.ids[:start]) == await served_prompt(running, row, index)
        answer = await decoded(running, example.ids[start:end])
        message = row["messages"][index]
        assert answer.endswith("<|im_end|>")
        for call in message.get("tool_calls", ()):
            assert f'"name": "{call["function"]["name"]}"' in answer
        if message["content"]:
            assert answer.startswith(message["content"])


async def test_a_completion_is_read_as_the_completions_endpoint_reads_it(
    running: Running,
) -> None:
    [example] = await examples_of(CompletionRow("Twice two is ", "four."), running.engine.rows)
    body = {"prompt": "Twice two is ", "max_tokens": 1, "return_token_ids": True}
    found = await running.ask(Endpoint.COMPLETIONS, **body)
    [(start, end)] = example.spans
    assert list(example.ids[:start]) == found["choices"][0]["prompt_token_ids"]
    assert await decoded(running, example.ids[start:end]) == "four.<|im_end|>"


async def test_the_rows_of_a_message_are_not_changed_by_reading_it(running: Running) -> None:
    before = json.dumps(WITH_TOOLS)
    await examples_of(ChatRow(WITH_TOOLS["messages"], WITH_TOOLS["tools"]), running.engine.rows)
    assert json.dumps(WITH_TOOLS) == before


async def test_a_template_that_refuses_a_row_or_ignores_tools_is_named(
    running: Running, tmp_path: Path
) -> None:
    from veneer_server.engine.vllm.rendering.rows import RowRenderer

    renderer = running.engine._handlers._renderer.renderer
    deaf = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    deaf += "{% if add_generation_prompt %}assistant: {% endif %}"
    strict = "{{ raise_exception('Only one turn is known.') }}"
    path = write(tmp_path / "rows.jsonl", [WITH_TOOLS] * 10)
    for template, reason in ((deaf, "does not write 'tools'"), (strict, "Only one turn is known")):
        rows = RowRenderer(renderer, chat_template=template, content_format="string")
        with pytest.raises(InvalidTrainingFile, match=reason):
            await prepare(
                check(path, Method.SUPERVISED), rows, Places(tmp_path / "t"), most_tokens=2048
            )


def pirates(folder: Path) -> Path:
    folder.mkdir()
    rows = (DEMO / "pirate" / "train.jsonl").read_bytes().splitlines()
    return write(folder / "rows.jsonl", rows[:40])


async def make_job(running: Running, folder: Path) -> None:
    checked = check(pirates(folder), Method.SUPERVISED)
    places = Places(folder / "train.jsonl", folder / "valid.jsonl")
    amounts = await prepare(checked, running.engine.rows, places, most_tokens=2048)
    assert (amounts.trained.rows, amounts.held_out.rows) == (32, 8)
    job = Job(
        id="ftjob-1",
        base=running.base,
        base_id="tiny",
        train=Path("train.jsonl"),
        valid=Path("valid.jsonl"),
        epochs=2,
        batch_size=8,
        learning_rate=5e-3,
        lora=Lora(target_modules=("q_proj", "v_proj", "o_proj")),
        means=Means(precision="fp32", idle=False),
    )
    job.write(folder)


async def train(folder: Path) -> None:
    arguments = [sys.executable, "-m", "veneer_server.training.child", str(folder)]
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(120):
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def served_loss(running: Running, model: str, examples: list[Example]) -> float:
    """Return the mean loss over what the examples teach, as the engine computes it."""
    losses: list[float] = []
    for example in examples:
        ids = list(example.ids)
        body = {"model": model, "prompt": ids, "prompt_logprobs": 0, "max_tokens": 1}
        found = await running.ask(Endpoint.COMPLETIONS, **body)
        logprobs = found["choices"][0]["prompt_logprobs"]
        for start, end in example.spans:
            losses += [-logprobs[at][str(ids[at])]["logprob"] for at in range(start, end)]
    return math.fsum(losses) / len(losses)


async def test_a_trained_adapter_is_served_and_proved_with_the_loss_that_the_trainer_saw(
    running: Running, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    await make_job(running, folder)
    await train(folder)
    result = read_json(folder / "result.json")
    assert result is not None
    assert result["outcome"] == "succeeded"
    adapter = JobFolder(folder).complete()[-1].adapter
    verify(adapter, running.engine.facts)
    await running.engine.load_adapter(71, "trained@71", adapter)
    judge(await running.engine.measure_effect(71, "trained@71"))
    held_out = list(read_examples(folder / "valid.jsonl"))
    base = await served_loss(running, "tiny", held_out)
    served = await served_loss(running, "trained@71", held_out)
    assert served == pytest.approx(result["metrics"]["valid_loss"], rel=0.01)
    assert served < base - 0.5
