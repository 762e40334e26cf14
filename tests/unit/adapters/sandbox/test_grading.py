"""An operator's grader gets little time and memory, no network, and nothing to write to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from veneer_adapters.errors import Unparsable
from veneer_adapters.sandbox.confinement import Limits
from veneer_adapters.sandbox.sandbox import Sandbox

PAIRS = [({"output_text": said}, {"reference_answer": "aye"}) for said in ("aye", "no")]
GOOD = """
import re

def grade(sample, item):
    return float(re.fullmatch(item["reference_answer"], sample["output_text"]) is not None)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    limits = Limits(memory_bytes=512 << 20, cpu_s=1, wall_s=5.0)
    with Sandbox(grading=limits, at_once=2) as running:
        yield running


def test_each_answer_gets_a_score(sandbox: Sandbox) -> None:
    found = sandbox.grade(GOOD, PAIRS)
    assert (found.scores, found.failed) == ((1.0, 0.0), None)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def grade(sample, item):\n    return sample['text']\n", "KeyError in line 2: 'text'"),
        ("def grade(sample, item):\n    return 3\n", "a number from 0 to 1, not '3'"),
        ("def grade(sample, item):\n    return float('nan')\n", "a number from 0 to 1"),
        ("def score(sample, item):\n    return 1\n", "KeyError: 'grade'"),
        ("def grade(:\n", "SyntaxError"),
        ("def grade(sample, item):\n    return len('x' * 10**10)\n", "MemoryError in line 2"),
    ],
)
def test_a_grader_that_fails_says_how(sandbox: Sandbox, source: str, why: str) -> None:
    found = sandbox.grade(source, PAIRS)
    assert found.scores == ()
    assert why in str(found.failed)


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import os; os._exit(0)",
        "raise SystemExit",
    ],
)
def test_a_grader_that_does_not_end_or_ends_too_early_is_given_up(
    sandbox: Sandbox, body: str
) -> None:
    with pytest.raises(Unparsable):
        sandbox.grade(f"def grade(sample, item):\n    {body}", PAIRS)
    assert sandbox.grade(GOOD, PAIRS).scores == (1.0, 0.0)


def test_a_grader_writes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "written"
    source = f"def grade(sample, item): return open({str(path)!r}, 'w').write('x' * 100)"
    try:
        failed = sandbox.grade(source, PAIRS).failed
    except Unparsable:
        failed = "ended"
    assert failed
    assert not path.exists() or path.stat().st_size == 0
