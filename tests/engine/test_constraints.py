"""What an answer must fit, on its way through vLLM."""

from typing import Any

import pytest

from support.asked import need
from veneer_server.engine.base import Answer, Call, Endpoint, Engine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

admission = need("veneer_server.engine.vllm.constraints.admission")


async def test_vllm_does_not_check_on_the_loop_what_was_checked_beside_it(
    vllm_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(admission, "_vllms_check", lambda *args: checked.append(args))
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes"]}}}
    messages = [{"role": "user", "content": "Say no."}]
    body = {"model": "base", "messages": messages, "response_format": form, "n": 2}
    answer = await vllm_engine.respond(Call(Endpoint.CHAT, body, "constrained"))
    assert isinstance(answer, Answer)
    assert [choice["message"]["content"] for choice in answer.body["choices"]] == ['"yes"'] * 2
    assert checked == []
