"""A batch on the real engine: every line is answered by the variant that it names."""

import httpx
import pytest

from support.asked import need
from support.batching import create, ended, line, read
from support.serving import Served

need("vllm")

pytestmark = pytest.mark.engine

BASE = "smollm2-135m-instruct"
MODELS = (BASE, "pirate", "json-extractor", "tool-caller")


async def test_each_line_is_answered_by_its_variant_and_its_tokens_are_summed(
    engine_server: Served,
) -> None:
    async with httpx.AsyncClient(base_url=engine_server.url, timeout=60) as client:
        lines = [line(n, MODELS[n % 4], max_tokens=8, temperature=0) for n in range(16)]
        made = await create(client, lines)
        batch = await ended(client, made["id"], within_s=100)
        assert batch["request_counts"] == {"total": 16, "completed": 16, "failed": 0}
        answers = await read(client, batch["output_file_id"])
        bodies = {one["custom_id"]: answers[one["custom_id"]]["response"]["body"] for one in lines}
        for one in lines:
            assert bodies[one["custom_id"]]["model"] == one["body"]["model"]
            assert bodies[one["custom_id"]]["choices"][0]["message"]["content"]
        written = sum(body["usage"]["completion_tokens"] for body in bodies.values())
        assert batch["usage"]["output_tokens"] == written > 16
