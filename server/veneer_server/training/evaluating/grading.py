"""Whether an answer is what it should be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from veneer_adapters.canaries.tally import Ending
from veneer_server.serving.canaries.structured import Structure, judge
from veneer_server.training.evaluating.asked import Grader


def passes(grader: Grader, wanted: str, said: str) -> bool:
    """Return whether ``said`` passes ``grader``, when the held-out row says ``wanted``.

    White space at both ends does not count. An answer that cannot be judged does not pass.
    """
    if grader.type == "exact_match":
        return said.strip() == wanted.strip()
    if grader.type == "contains":
        return wanted.strip() in said
    return judge(Structure(grader.json_schema), [said]) is Ending.KEPT


Score = Callable[[str, Sequence[tuple[str, str]]], Sequence[float]]
"""Returns what the operator's grader of a name gives to each pair; raises GraderFailed."""


class GraderFailed(Exception):
    """One of the operator's graders cannot grade; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Grades:
    """What the graders say of a model's answers."""

    shares: dict[str, float] = field(default_factory=dict)
    """By grader, the share of the answers that pass, or their mean score."""
    faults: tuple[str, ...] = ()
    """Why graders could not grade: one sentence each."""


def grades(graders: Sequence[Grader], pairs: Sequence[tuple[str, str]], score: Score) -> Grades:
    """Return what each grader says of ``pairs`` (wanted, said)."""
    found, faults = dict[str, float](), []
    for grader in graders if pairs else ():
        try:
            passed = (
                [passes(grader, *pair) for pair in pairs]
                if grader.name is None
                else score(grader.name, pairs)
            )
        except GraderFailed as error:
            faults.append(str(error))
        else:
            found[grader.label] = sum(passed) / len(pairs)
    return Grades(found, tuple(faults))
