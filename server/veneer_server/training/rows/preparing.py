"""The second look at a training file: its rows become tokens, which the trainer reads.

The file that this writes is what is trained on: the trainer has no template and no tokenizer, so
it cannot differ from the server. Each line has the tokens of one row.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from veneer_server.training.rows.bounds import Bounds
from veneer_server.training.rows.checking import Checked, rows
from veneer_server.training.rows.examples import Example, Renderer, cut, examples_of
from veneer_server.training.rows.faults import Fault, Faults, InvalidRow
from veneer_server.training.rows.holding import held_out
from veneer_server.training.rows.rows import Method, PreferenceRow


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much there is of something that was made into tokens."""

    rows: int = 0
    examples: int = 0
    tokens: int = 0
    learned: int = 0
    """Tokens that count in the loss."""
    longest: int = 0
    """Tokens of the longest example, before it was cut."""
    cut: int = 0
    """Rows that the context cut."""

    def items(self, method: Method) -> int:
        """Return how many are learned by themselves: examples, or pairs of them."""
        return self.rows if method is Method.DPO else self.examples

    def plus(self, examples: list[Example], most: int) -> Self:
        """Return the amounts with one more row, whose examples are cut to ``most`` tokens."""
        sizes = [len(example.ids) for example in examples]
        kept = [cut(example, most) for example in examples]
        return type(self)(
            self.rows + 1,
            self.examples + len(examples),
            self.tokens + sum(len(example.ids) for example in kept),
            self.learned + sum(example.learned for example in kept),
            max(self.longest, *sizes),
            self.cut + (max(sizes) > most),
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was written, to be trained on and to be measured with."""

    trained: Amounts
    held_out: Amounts


@dataclass(frozen=True, slots=True)
class Places:
    """Where the prepared rows go."""

    train: Path
    valid: Path | None = None
    """Where held-out rows go; None when none are to be held out."""


async def prepare(
    checked: Checked,
    renderer: Renderer,
    places: Places,
    *,
    most_tokens: int,
    bounds: Bounds | None = None,
) -> Prepared:
    """Write the tokens of every row; an example longer than ``most_tokens`` loses its end.

    Raises:
        InvalidTrainingFile: the template cannot write a row, or nothing that counts is left of it.
            What was written then is not complete.
    """
    bounds = bounds or Bounds()
    aside = held_out(checked.digests) if places.valid is not None else frozenset()
    faults = Faults(bounds.most_faults)
    sums = {False: Amounts(), True: Amounts()}
    with _Files(places) as files:
        for numbered in rows(checked, bounds):
            try:
                examples = await examples_of(numbered.row, renderer)
                _require_learned(examples, most_tokens)
                if isinstance(numbered.row, PreferenceRow):
                    _require_different(examples, most_tokens)
            except InvalidRow as error:
                faults.add(Fault(numbered.line, error.reason))
                continue
            to = numbered.digest in aside
            sums[to] = sums[to].plus(examples, most_tokens)
            files.write(examples, most_tokens, numbered.line, held_out=to)
    faults.raise_any()
    return Prepared(sums[False], sums[True])


def read_rows(path: Path) -> Iterator[tuple[Example, ...]]:
    """Yield the examples of each row of a file that ``prepare`` wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield tuple(map(_read, json.loads(line)["examples"]))


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a file that ``prepare`` wrote."""
    for row in read_rows(path):
        yield from row


def _read(found: dict[str, Any]) -> Example:
    spans = tuple((start, end) for start, end in found["spans"])
    return Example(array("i", found["ids"]), spans)  # a tenth of a tuple's memory


def _require_learned(examples: list[Example], most: int) -> None:
    if not all(cut(example, most).learned for example in examples):
        longest = max(len(example.ids) for example in examples)
        raise InvalidRow(
            f"it has {longest} tokens, the context has {most}, and nothing that counts is left"
        )


def _require_different(pair: list[Example], most: int) -> None:
    preferred, other = (cut(example, most) for example in pair)
    if preferred.ids == other.ids:
        raise InvalidRow(
            "both outputs have the same tokens within the context, so there is nothing to learn"
        )


class _Files:
    """The files that are written to, closed at the end."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._open: dict[bool, TextIO] = {}

    def __enter__(self) -> Self:
        self._open[False] = self._places.train.open("w", encoding="utf-8")
        if self._places.valid is not None:
            self._open[True] = self._places.valid.open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def write(self, examples: list[Example], most: int, line: int, *, held_out: bool) -> None:
        kept = [cut(example, most) for example in examples]
        shown = [{"ids": each.ids, "spans": each.spans} for each in kept]
        self._open[held_out].write(json.dumps({"line": line, "examples": shown}) + "\n")
