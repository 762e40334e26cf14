"""Models are asked in the process as clients ask them, and are waited for."""

import asyncio
from pathlib import Path

import pytest

from support.serving import POLL_S, serve_echo
from veneer_server.engine.base import EngineError, EngineUnavailable, RequestRejected
from veneer_server.engine.echo import EchoEngine
from veneer_server.training.evaluating.choosing import to_scoring
from veneer_server.training.evaluating.scoring import score
from veneer_server.training.jobs.working import asking
from veneer_server.training.jobs.working.asking import NotMeasured, ServedModels
from veneer_server.training.rows.examples import Example

EXAMPLE = Example((1, 2, 3), ((1, 3),))
BODY = to_scoring(EXAMPLE)


async def test_a_model_that_cannot_answer_now_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "AGAIN_S", 0.05)
    answers: dict[str, str | type[EngineError]] = {"echo": EngineUnavailable}
    engine = EchoEngine(answers=answers)
    async with serve_echo(tmp_path, engine) as served:
        assert served.parts is not None
        models = ServedModels(served.parts.server.requests, engine)
        task = asyncio.create_task(models.complete(None, "echo", BODY))
        await asyncio.sleep(POLL_S * 3)
        assert not task.done()
        answers.clear()
        async with asyncio.timeout(30):
            found = await task
        assert score(EXAMPLE, found["prompt_logprobs"]).loss == 4.0


@pytest.mark.parametrize(
    ("model", "fault", "why"),
    [
        ("echo", EngineUnavailable, "told to fail"),
        ("echo", RequestRejected, "told to fail"),
        ("nobody", None, "nobody"),
    ],
)
async def test_a_model_that_does_not_answer_cannot_be_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    fault: type[EngineError] | None,
    why: str,
) -> None:
    monkeypatch.setattr(asking, "AGAIN_S", 0.01)
    monkeypatch.setattr(asking, "MOST_TRIES", 3)
    engine = EchoEngine(answers={} if fault is None else {"echo": fault})
    async with serve_echo(tmp_path, engine) as served:
        assert served.parts is not None
        models = ServedModels(served.parts.server.requests, engine)
        with pytest.raises(NotMeasured, match=why):
            await models.complete(None, model, BODY)
