"""One prompt for several models, on a real server."""

import httpx
import pytest

from conformance.wire import events
from support.serving import Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

MODELS = ["smollm2-135m-instruct", "pirate", "haiku", "pirate"]


def test_variants_answer_at_the_same_time_each_with_its_own_weights(engine_server: Served) -> None:
    body = {
        "models": MODELS,
        "messages": [{"role": "user", "content": "Where did you put the keys?"}],
        "max_tokens": 24,
        "temperature": 0,
        "ignore_eos": True,
    }
    found = httpx.post(f"{engine_server.url}/v1/veneer/compare", json=body, timeout=120)
    assert found.status_code == 200, found.text
    told = events(found.text)
    rows = told[-1]["variants"]
    labels = [row["adapter"] and row["adapter"].split("@")[0] for row in rows]
    assert labels == [None, "pirate", "haiku", "pirate"]
    assert [row["usage"]["completion_tokens"] for row in rows] == [24] * 4
    first_end = next(i for i, e in enumerate(told) if e["type"] == "variant.completed")
    began = {e["variant"] for e in told[:first_end] if e["type"] == "variant.chunk"}
    assert began == {0, 1, 2, 3}
    texts = [
        "".join(
            e["chunk"]["choices"][0]["delta"].get("content") or ""
            for e in told
            if e["type"] == "variant.chunk" and e["variant"] == place and e["chunk"]["choices"]
        )
        for place in range(3)
    ]
    assert len(set(texts)) == 3
