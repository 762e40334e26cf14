"""What the pages of jobs show and ask for: the curve, the form, the lines for a terminal."""

import io
import json

import pytest

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.fine_tuning.bodies import to_asked
from veneer_server.console.terminal import Terminal
from veneer_server.console.training.curves import Point, curve, thinned
from veneer_server.console.training.lines import to_start
from veneer_server.console.training.starting import to_body
from veneer_server.training.jobs.records import Event
from veneer_server.training.rows.checking import method_of
from veneer_server.training.rows.rows import Method


def figures(step: int, **found: float) -> Event:
    return Event("Step", kind="metrics", data={"step": step, **found})


def test_a_step_is_one_point_and_what_was_said_later_of_it_counts() -> None:
    newest_first = [
        Event("done"),
        figures(2, train_loss=0.5, valid_loss=0.7),
        figures(2, train_loss=9.0),
        figures(1, train_loss=float("nan")),
    ]
    assert curve(newest_first) == [Point(1, None, None), Point(2, 0.5, 0.7)]
    assert curve([]) == []


def test_a_long_curve_keeps_its_ends_and_every_held_out_loss() -> None:
    points = [Point(step, 1.0, 2.0 if step == 501 else None) for step in range(1001)]
    kept = [point.step for point in thinned(points, 100)]
    assert len(kept) <= 103
    assert {0, 501, 1000} <= {*kept}
    assert thinned([], 100) == []
    assert thinned(points[:100], 100) == points[:100]


def test_a_form_asks_for_what_the_api_takes() -> None:
    form = {
        "publish_to": " acme/pirate ",
        "then": "live",
        "n_epochs": "3",
        "batch_size": "",
        "learning_rate": "1e-3",
        "r": "16",
        "seed": "7",
        "beta": "0.2",
        "grader-contains": "1",
        "suffix": "polite",
        "from": " pirate@2 ",
    }
    body = to_body(form, "echo", {"file": "file-1", "validation_file": "file-2"}, Method.DPO)
    asked = to_asked(body)
    assert (asked.method, asked.beta, asked.n_epochs) == (Method.DPO, 0.2, 3)
    assert (asked.model, asked.training_file) == ("pirate@2", "file-1")
    assert asked.validation_file == "file-2"
    assert (asked.batch_size, asked.seed, asked.suffix) == ("auto", 7, "polite")
    assert asked.lora is not None
    assert (asked.lora.r, asked.learning_rate) == (16, 0.001)
    assert asked.evaluation.as_json() == {
        "publish_to": "acme/pirate",
        "then": "live",
        "margin": 0.0,
        "graders": ["contains"],
    }


def test_a_form_that_is_empty_leaves_all_to_the_server() -> None:
    body = to_body({"then": "live", "beta": "0.2"}, "echo", {"file": "file-1"}, Method.SUPERVISED)
    assert body == {
        "model": "echo",
        "training_file": "file-1",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {}}},
    }
    to_asked(body)


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_body({"n_epochs": "many"}, "echo", {"file": "file-1"}, Method.SUPERVISED)
    assert refused.value.param == "n_epochs"


@pytest.mark.parametrize(
    ("content", "method"),
    [
        (b'\n{"input": {}}\n', Method.DPO),
        (b'{"messages": []}', Method.SUPERVISED),
        (b"no JSON", Method.SUPERVISED),
        (b"", Method.SUPERVISED),
    ],
)
def test_the_first_row_says_which_method_it_is_for(content: bytes, method: Method) -> None:
    assert method_of(io.BytesIO(content)) is method


def test_a_line_for_a_terminal_has_the_key_when_the_server_asks_for_one() -> None:
    keyless = to_start(Terminal("http://127.0.0.1:8000", with_key=False), "echo").curl
    assert "Authorization" not in keyless
    assert keyless.startswith("curl -X POST http://127.0.0.1:8000/v1/files -F purpose=fine-tune")
    with_key = Terminal("http://h", with_key=True).curl("POST", "/x", {"it's": 1})
    assert '-H "Authorization: Bearer $OPENAI_API_KEY"' in with_key
    assert json.dumps({"it's": 1}).replace("'", "'\"'\"'") in with_key
