"""What a checkpoint is worth: the examples, the sums, the grades and the verdict."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from veneer_server.training.evaluating.asked import Evaluation, Grader, Then, read
from veneer_server.training.evaluating.choosing import (
    Question,
    chosen,
    scorable,
    to_answering,
    to_question,
    to_scoring,
)
from veneer_server.training.evaluating.grading import GraderFailed, grades, passes
from veneer_server.training.evaluating.scoring import (
    NotScored,
    Sums,
    likelier,
    preference,
    score,
    total,
)
from veneer_server.training.evaluating.verdicts import Comparison, Measured, compare, measured, told
from veneer_server.training.rows.examples import Example
from veneer_server.training.rows.rows import Method

EXAMPLE = Example((5, 6, 7, 8, 0), ((1, 2), (3, 5)))


def logprobs(*values: tuple[int, float, int]) -> list[dict[str, Any] | None]:
    return [None, *({str(token): {"logprob": at, "rank": rank}} for token, at, rank in values)]


def test_the_loss_is_summed_over_the_tokens_that_count_alone() -> None:
    found = score(EXAMPLE, logprobs((6, -1.0, 1), (7, -50.0, 9), (8, -0.5, 2), (0, -0.25, 1)))
    assert found == Sums(1.75, 2, 3)
    assert total([found, found]) == Sums(3.5, 4, 6)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        logprobs((6, -1.0, 1)),
        logprobs((6, -1.0, 1), (7, 0.0, 1), (9, -0.5, 1), (0, 0.0, 1)),
        logprobs((6, -1.0, 1), (7, 0.0, 1), (8, -math.inf, 1), (0, 0.0, 1)),
    ],
)
def test_an_answer_that_does_not_tell_every_token_is_no_loss(
    told: list[dict[str, Any] | None] | None,
) -> None:
    with pytest.raises(NotScored):
        score(EXAMPLE, told)


def test_a_pair_is_measured_as_it_was_learned() -> None:
    base = likelier([Sums(5.0, 1, 2), Sums(6.0, 1, 2), Sums(3.0, 1, 2), Sums(3.0, 1, 2)])
    assert base == [1.0, 0.0]
    found = preference([3.0, -1.0], base, 0.5)
    losses = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(0.5))]
    assert found == Sums(pytest.approx(sum(losses)), 1.0, 2)
    assert preference(base, base, 0.5) == Sums(pytest.approx(2 * math.log(2)), 1.0, 2)
    far = preference([-3000.0], [0.0], 2.0)
    assert far == Sums(6000.0, 0.0, 1), "no overflow"


def test_examples_are_chosen_evenly_and_always_the_same() -> None:
    examples = [Example((at,), ((0, 1),)) for at in range(10)]
    assert [one.ids[0] for one in chosen(examples, 10, 4)] == [0, 2, 5, 7]
    assert chosen(examples, 10, 10) == examples
    assert len(chosen(examples, 10, 9)) == 9


def test_an_example_leaves_room_for_the_token_that_the_engine_must_answer() -> None:
    assert scorable(EXAMPLE, 6) == EXAMPLE
    assert scorable(EXAMPLE, 5) == Example((5, 6, 7, 8), ((1, 2), (3, 4)))
    assert scorable(Example((1, 2, 3), ((2, 3),)), 3) is None
    assert scorable(Example((1, 2), ((0, 2),)), 10) is None, "the first token has no loss"
    assert scorable(Example((1,) * 2049, ((1, 9),)), 4096) is None, "it takes too much memory"
    assert to_scoring(EXAMPLE)["prompt"] == [5, 6, 7, 8, 0]


def test_the_question_is_what_comes_before_the_last_answer() -> None:
    question = to_question(EXAMPLE, (0, 99))
    assert question == Question([5, 6, 7], [8])
    assert to_answering(question, 4096)["max_tokens"] == 66
    assert to_answering(question, 10)["max_tokens"] == 7
    assert to_answering(Question([1], [2] * 1000), 4096)["max_tokens"] == 512


@pytest.mark.parametrize(
    ("grader", "said", "expected"),
    [
        (Grader(type="exact_match"), " aye\n", True),
        (Grader(type="exact_match"), "aye!", False),
        (Grader(type="contains"), "I say aye.", True),
        (Grader(type="contains"), "no", False),
        (Grader(type="json_schema"), "{}", True),
        (Grader(type="json_schema"), "[]", False),
        (Grader(type="json_schema", schema={"type": "array"}), "[]", True),
        (Grader(type="json_schema", schema={"type": "nonsense"}), "[]", False),
    ],
)
def test_an_answer_passes_or_not(grader: Grader, said: str, expected: bool) -> None:
    assert passes(grader, "aye", said) is expected


def test_a_share_of_the_answers_passes() -> None:
    pairs = [("aye", "aye"), ("aye", "aye, sir")]
    graders = [Grader(type="exact_match"), Grader(type="contains")]
    found = grades(graders, pairs, no_score)
    assert found.shares == {"exact_match": 0.5, "contains": 1.0}
    assert grades(graders, [], no_score).shares == {}


def no_score(name: str, pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
    raise GraderFailed(f"There is no {name}.")


def test_the_operators_graders_give_scores_or_say_why_not() -> None:
    graders = [Grader(type="python", name="short"), Grader(type="contains")]
    pairs = [("aye", "aye"), ("aye", "no")]
    found = grades(graders, pairs, lambda name, pairs: [0.25, 0.75])
    assert (found.shares, found.faults) == ({"short": 0.5, "contains": 0.5}, ())
    found = grades(graders, pairs, no_score)
    assert (found.shares, found.faults) == ({"contains": 0.5}, ("There is no short.",))


def model(loss: float, **grades: float) -> Measured:
    return Measured("m", loss, 0.5, grades)


@pytest.mark.parametrize(
    ("live", "candidate", "margin", "why"),
    [
        (None, model(1.0), 0.0, "It is better than the base."),
        (model(1.5), model(1.0), 0.0, "It is better than the base and what is live."),
        (None, model(2.0), 0.0, "Its loss of 2.000 is not lower than the 2.000 of the base."),
        (model(1.5), model(1.6), 0.0, "of what is live."),
        (None, model(1.8), 0.5, "is not lower by 0.5 than"),
        (None, model(math.inf), 0.0, "is not lower"),
        (
            model(1.5, contains=0.5),
            model(1.0, contains=0.25),
            0.0,
            "contains: 25% of its answers pass, and 50% of those of what is live.",
        ),
    ],
)
def test_a_model_is_better_or_it_is_said_why_not(
    live: Measured | None, candidate: Measured, margin: float, why: str
) -> None:
    found = compare(model(2.0, contains=0.0), live, candidate, (8, 100), margin)
    assert found.better == why.startswith("It is better")
    assert why in found.why
    assert found.as_json()["candidate"]["model"] == "m"
    assert Comparison.read(found.as_json()) == found


def test_figures_are_told_with_those_that_the_trainer_saw() -> None:
    base, made = measured("base", Sums(8.0, 1, 4), {}), measured("new", Sums(4.0, 2, 4), {})
    found = compare(base, None, made, (1, 4), 0.0)
    assert found.figures() == {"full_valid_loss": 1.0, "full_valid_mean_token_accuracy": 0.5}
    assert found.beside() == {"base_full_valid_loss": 2.0}
    assert told(found, 1.01) == (
        "Held-out loss, measured by this server: base 2.000, candidate 1.000 (the trainer saw"
        " 1.010). It is better than the base."
    )
    assert compare(base, made, made, (1, 4), 0.0).beside()["live_full_valid_loss"] == 1.0


def test_what_was_asked_is_kept_as_json() -> None:
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    found = Evaluation.model_validate({"publish_to": "x", "graders": ["contains", schema]})
    assert [one.json_schema for one in found.graded_by()] == [None, {"type": "object"}]
    kept = found.resolved(Then.CANARY).as_json()
    assert read(kept).then is Then.CANARY
    assert read(kept).graded_by() == found.graded_by()
    assert read(None).then is Then.NOTHING
    assert Evaluation(then=Then.LIVE).resolved(Then.CANARY).then is Then.NOTHING


@pytest.mark.parametrize(
    "asked",
    [
        {"then": "always"},
        {"margin": -1},
        {"margin": "0.1"},
        {"publish_to": ""},
        {"graders": ["good"]},
        {"graders": ["contains", "contains"]},
        {"graders": [{"type": "python"}]},
        {"graders": [{"type": "contains", "name": "x"}]},
        {"graders": [{"type": "python", "name": "x"}] * 2},
        {"graders": [{"type": "python", "name": "x", "source": "def grade(s, i): return 1"}]},
        {"nonsense": 1},
    ],
)
def test_what_cannot_be_measured_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evaluation.model_validate(asked)


def test_preferences_have_no_accuracy_of_tokens() -> None:
    found = compare(model(0.7), None, model(0.4), (8, 90), 0.0, Method.DPO)
    assert found.figures() == {"full_valid_loss": 0.4}
    assert Comparison.read(json.loads(json.dumps(found.as_json()))) == found
    earlier = {name: value for name, value in found.as_json().items() if name != "method"}
    assert Comparison.read(earlier).method == "supervised"
