"""Whether an answer is what it should be."""

from collections.abc import Sequence

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


def shares(graders: Sequence[Grader], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return, for each grader, the share of ``pairs`` (wanted, said) that pass it."""
    if not pairs:
        return {}
    return {
        grader.type: sum(passes(grader, *pair) for pair in pairs) / len(pairs) for grader in graders
    }
