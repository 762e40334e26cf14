"""An adapter of a higher rank than the slots answers as Transformers and PEFT do with it."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.making import answer, linear_names, make_adapter, make_model
from models.serving import BASE, TOKENS, Asked, Said, engine_on
from models.table import MODELS
from support.asked import need
from support.serving import serve_app, until_served
from veneer_server.settings import Settings

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

need("torch")
need("peft")

PROMPTS = ([1, 40, 41, 42, 90], [1, 200, 31, 7, 7, 7, 150, 99, 12])
CLOSE = 2e-3
RANK, TRUE_RANK = 16, 8


async def test_a_higher_rank_that_is_not_used_is_served_exactly(tmp_path: Path) -> None:
    made = await asyncio.to_thread(make_model, MODELS["llama"], tmp_path / "base")
    wanted = _reference(made, tmp_path / "adapters" / "wide")
    settings = Settings.load(
        environ={},
        flags={
            "adapters": {"dir": tmp_path / "adapters", "compress": 0.01},
            "state": {"dir": tmp_path / "state"},
        },
    )
    async with (
        asyncio.timeout(300),
        engine_on(tmp_path / "base", {}, max_rank=TRUE_RANK) as engine,
        serve_app(settings, engine) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as client,
    ):
        await until_served(served, "wide")
        body = {"model": "wide", "prompt": PROMPTS[0], "max_tokens": TOKENS}
        response = await client.post("/v1/completions", json=body)
        assert response.status_code == 200, response.text
        assert float(response.headers["x-veneer-compressed"]) < 1e-4
        assert served.parts is not None
        [resident] = served.parts.residency.snapshot()
        asked = Asked(engine)
        found = [await asked.answer(resident.revision, prompt) for prompt in PROMPTS]
        base = await asked.answer(BASE, PROMPTS[0])
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in wanted]
    pairs = [zip(f[1], w[1], strict=True) for f, w in zip(found, wanted, strict=True)]
    assert max(abs(ours - theirs) for both in pairs for ours, theirs in both) < CLOSE
    assert base[0] != found[0][0]


def _reference(made: Any, folder: Path) -> list[Said]:
    """Write an adapter whose products have half its rank; return what it answers."""
    import torch

    linear = linear_names(made)
    alphas = {"q_proj": 5}
    config = {"r": RANK, "lora_alpha": 8, "use_rslora": True, "alpha_pattern": alphas}
    wrapped = make_adapter(made, folder, seed=3, target_modules=linear, **config)
    mix = torch.randn(TRUE_RANK, RANK, generator=torch.Generator().manual_seed(1)) / 3
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(parameter[:, :TRUE_RANK] @ mix)
    wrapped.save_pretrained(folder)
    return [answer(wrapped, prompt, TOKENS) for prompt in PROMPTS]
