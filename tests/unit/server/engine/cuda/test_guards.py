"""When our kernels may not even be tried."""

from dataclasses import replace
from typing import Any

import pytest

from veneer_server.engine.vllm.cuda import guards
from veneer_server.engine.vllm.cuda.guards import Surroundings, digest, why_not, why_unknown

SOURCE = "def f(self):\n    return 1\n"


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "KNOWN", {"f": digest(SOURCE)})


GOOD = Surroundings(
    capability=(9, 0),
    rank=16,
    dtype="bfloat16",
    workers=1,
    fully_sharded=False,
    batch_invariant=False,
)


def test_what_we_know_may_be_tried() -> None:
    assert why_unknown("0.32.1", {"f": SOURCE}) is None
    assert why_not(GOOD) is None
    assert why_not(replace(GOOD, rank=64, capability=(8, 0))) is None


@pytest.mark.parametrize(
    ("version", "sources", "reason"),
    [
        ("0.33.0", {"f": SOURCE}, "vLLM 0.33.0 is not 0.32.x"),
        ("0.32.0", {"f": "def f(self): pass"}, "vLLM's f is not the one we know"),
        ("0.32.0", {"f": SOURCE, "g": SOURCE}, "vLLM's g is not the one we know"),
    ],
)
def test_another_vllm_keeps_its_own_wrapper(
    version: str, sources: dict[str, str], reason: str
) -> None:
    assert why_unknown(version, sources) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"capability": (7, 5)}, "the card's capability is 7.5"),
        ({"rank": 128}, "the slots have rank 128"),
        ({"rank": 1}, "the slots have rank 1"),
        ({"dtype": "float32"}, "the adapters are float32"),
        ({"workers": 0}, "the model has no linear layer for adapters"),
        ({"workers": 2}, "2 workers share each layer"),
        ({"fully_sharded": True}, "the adapters are fully sharded"),
        ({"batch_invariant": True}, "VLLM_BATCH_INVARIANT is set"),
    ],
)
def test_anything_else_leaves_vllms_kernels_and_says_why(
    change: dict[str, Any], reason: str
) -> None:
    assert why_not(replace(GOOD, **change)) == reason


def test_indentation_and_blank_lines_are_no_change() -> None:
    assert digest("  a\n\n    b\n") == digest("a\nb")
    assert digest("a") != digest("b")
