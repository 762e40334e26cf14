"""Every head is turned by the position of its own token, in whatever shape it comes."""

from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

torch = need("torch")
rotary_cpu = need("veneer_server.engine.vllm.inside.rotary_cpu")

TOKENS, HEADS, SIZE = 5, 4, 64


@pytest.fixture
def rotary() -> Any:
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.platforms import current_platform

    current_platform.import_kernels()
    rotary_cpu.rotate_every_head()
    rotary_cpu.rotate_every_head()
    with set_current_vllm_config(VllmConfig()):
        yield rotary_cpu.RotaryEmbedding(SIZE, SIZE, 128, 10000.0, False, torch.float32)


def turned(rotary: Any, positions: Any, heads: Any) -> Any:
    """Turn pairs of neighbours by angles, in float64."""
    steps = torch.arange(0, SIZE, 2, dtype=torch.float64)
    angles = positions[:, None].double() * 10000.0 ** (-steps / SIZE)
    pairs = torch.view_as_complex(heads.double().reshape(*heads.shape[:-1], -1, 2))
    by = torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.view_as_real(pairs * by).flatten(-2)


@pytest.mark.parametrize("beside", [0, 128], ids=["whole", "part of a wider tensor"])
def test_heads_in_a_dimension_of_their_own_are_all_turned(rotary: Any, beside: int) -> None:
    query = torch.randn(TOKENS, HEADS, beside + SIZE)[..., beside:]
    key = torch.randn(TOKENS, beside + SIZE)[:, beside:].unsqueeze(1)
    positions = torch.arange(TOKENS) + 3
    wanted = turned(rotary, positions, query), turned(rotary, positions, key)
    found = rotary.forward_cpu(positions, query.clone(), key.clone())
    kept = rotary.forward_cpu(positions, query, key)
    for got in (found, kept):
        assert torch.allclose(got[0].double(), wanted[0], atol=1e-5)
        assert torch.allclose(got[1].double(), wanted[1], atol=1e-5)


def test_flat_queries_take_the_op(rotary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(TOKENS, HEADS * SIZE), torch.randn(TOKENS, SIZE)
    positions = torch.arange(TOKENS) + 3
    wanted = turned(rotary, positions, query.view(TOKENS, HEADS, SIZE))
    monkeypatch.setattr(rotary_cpu.RotaryEmbedding, "forward_native", None)
    found, _ = rotary.forward_cpu(positions, query, key)
    assert torch.allclose(found.view(TOKENS, HEADS, SIZE).double(), wanted, atol=1e-5)
