"""The programs in docs/files.md and docs/batches.md, run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import DEMO, REPOSITORY
from support.serving import Served, start_process

pytestmark = pytest.mark.slow

PROGRAMS = {"python": [sys.executable, "-W", "ignore", "-c"], "bash": ["bash", "-euc"]}
PRINTED = {
    ("files.md", "python"): ["processed", '{"a": 1}'],
    ("files.md", "bash"): ['"object":"file"'],
    ("batches.md", "python"): ["completed 3 of 3", "sum-2 "],
    ("batches.md", "bash"): ['"object":"batch"', '"status":"validating"'],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("documented")
    with start_process(folder, roots=[DEMO], flags=["--engine", "echo"]) as running:
        yield running


@pytest.mark.parametrize(("page", "language"), PRINTED)
def test_a_program_of_the_page_runs_as_it_stands_there(
    served: Served, tmp_path: Path, page: str, language: str
) -> None:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    [program] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    done = subprocess.run(
        [*PROGRAMS[language], program],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_BASE_URL": f"{served.url}/v1", "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in PRINTED[page, language]:
        assert words in done.stdout
