"""The glossary, the names of rooms and the code agree: one word for one thing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import REPOSITORY
from veneer_adapters.lifecycle import State

PACKAGES = [
    REPOSITORY / "adapters" / "veneer_adapters",
    REPOSITORY / "server" / "veneer_server",
]
TEXT = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = [
    term
    for line in re.findall(r"^- \*\*(.+?)\*\*:", TEXT, re.MULTILINE)
    for term in line.split(", ")
]


def unused_words() -> set[str]:
    table = TEXT.partition("## Words the code does not use")[2]
    cells = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:]
    words = {word for cell in cells for word in re.sub(r" \(.*\)", "", cell).split(", ")}
    return words - {"port"}  # a network port is one


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            yield path.stem, ast.parse(path.read_text(encoding="utf-8"))


def names_of(name: str, tree: ast.Module) -> Iterator[str]:
    yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def spoken(tree: ast.Module) -> Iterator[str]:
    """Every name and every constant text of one word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isalpha()
        ):
            yield node.value


def words_of(name: str) -> set[str]:
    split = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return {name, *(word.lower() for word in split)}


def test_terms_are_in_order_and_each_is_explained_once() -> None:
    first = [term.lower() for term in re.findall(r"^- \*\*(.+?)\*\*:", TEXT, re.MULTILINE)]
    assert first == sorted(first)
    assert len(TERMS) == len(set(TERMS))


@pytest.mark.parametrize("state", State)
def test_every_state_is_a_word_of_the_glossary(state: State) -> None:
    states = re.search(r"^- \*\*state\*\*:.*\): (.+)\.$", TEXT, re.MULTILINE)
    assert states is not None
    assert str(state) in states[1].split(", ")
    assert set(states[1].split(", ")) == {*map(str, State)}


def test_every_term_is_a_word_of_the_code() -> None:
    in_prose_only = {"base model", "seam"}
    names = {name for module, tree in modules() for name in (module, *spoken(tree))}
    words = {word for name in names for word in words_of(name)}
    stems = {term: term.split()[0].lower().removesuffix("e") for term in TERMS}
    unknown = {t for t, stem in stems.items() if not any(word.startswith(stem) for word in words)}
    assert unknown - in_prose_only == set()


def test_no_module_class_or_function_has_a_word_that_is_not_used() -> None:
    unused = unused_words()
    assert len(unused) > 10
    wrong = {
        name
        for module, tree in modules()
        for name in names_of(module, tree)
        if words_of(name) & unused
    }
    named_by_asyncio = {"data_received"}
    assert wrong == named_by_asyncio


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_rooms_of_the_readme_are_the_folders_there_are(package: Path) -> None:
    page = (package.parent / "README.md").read_text(encoding="utf-8")
    rooms = set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms == folders


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_folder_holds_more_than_fourteen_modules(package: Path) -> None:
    folders = {path.parent for path in package.rglob("__init__.py")}
    crowded = {
        str(folder): count
        for folder in folders
        if (count := len([p for p in folder.glob("*.py") if p.name != "__init__.py"])) > 14
    }
    assert crowded == {}
