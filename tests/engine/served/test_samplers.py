"""What SkyRL asks of a sampler, asked of the real engine."""

import shutil

import httpx
import pytest

from support.places import DEMO
from support.serving import Served

pytestmark = pytest.mark.engine


async def test_a_checkpoint_is_sampled_from_as_soon_as_its_folder_is_there(
    engine_server: Served,
) -> None:
    name = "model_1_000001"
    aside = engine_server.adapters.parent / "unpacked" / name
    shutil.copytree(DEMO / "pirate", aside)
    engine_server.adapters.mkdir(exist_ok=True)
    aside.rename(engine_server.adapters / name)
    asked = {"model": name, "prompt": [9690, 198, 2683], "n": 2, "seed": 7, "max_tokens": 4}
    asked |= {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True, "stream": False}
    asked |= {"return_token_ids": True}
    try:
        async with httpx.AsyncClient(base_url=engine_server.url, timeout=100) as client:
            answer = await client.post("/v1/completions", json=asked)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["choices"]) == 2
        for choice in answer.json()["choices"]:
            assert len(choice["token_ids"]) == len(choice["logprobs"]["token_logprobs"]) > 0
    finally:
        shutil.rmtree(engine_server.adapters / name)
