"""The examples that need nothing but what the tests have, against the echo engine."""

import sys
from collections.abc import Iterator

import pytest

from support.examples import FOLDER, PRINTED, run
from support.places import DEMO, REPOSITORY
from support.serving import Served, start_process

pytestmark = pytest.mark.slow
PROGRAMS = {
    "curl.sh": ["sh"],
    "openai_chat.py": [sys.executable],
    "openai_responses.py": [sys.executable],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("examples")
    with start_process(folder, roots=[DEMO], flags=["--engine", "echo"]) as running:
        yield running


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_as_it_is(served: Served, name: str) -> None:
    run([*PROGRAMS[name], str(FOLDER / name)], served.url, name)


def test_every_example_is_known_to_the_tests_and_linked_in_the_readme() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {*PRINTED}
    readme = (REPOSITORY / "README.md").read_text()
    assert [name for name in PRINTED if f"(examples/{name})" not in readme] == []
