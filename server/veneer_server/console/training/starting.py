"""From the form that starts a job to the body of ``POST /v1/fine_tuning/jobs``. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from veneer_server.api.errors import InvalidRequest
from veneer_server.training.evaluating.asked import Name
from veneer_server.training.rows.rows import Method

GRADERS: tuple[str, ...] = get_args(Name)
VALIDATION = "validation_file"
"""The part of the form with rows to measure with; it may be left out."""
_LONGEST = 20


def to_body(
    form: Mapping[str, str], base: str, files: Mapping[str, str], method: Method
) -> dict[str, Any]:
    """Return what the form asks for; what was left empty is left out.

    ``files`` are the ids of the files that came with it, by their part.

    Raises:
        InvalidRequest: what should be a number is none.
    """
    learned = _numbers(form, n_epochs=int, batch_size=int)
    if method is Method.DPO:
        learned |= _numbers(form, beta=float)
    return {
        "model": form.get("from", "").strip() or base,
        "training_file": files["file"],
        **_some(**{VALIDATION: files.get(VALIDATION)}),
        "method": {"type": str(method), str(method): {"hyperparameters": learned}},
        **_texts(form, "suffix"),
        **_numbers(form, seed=int),
        **_some(lora=_numbers(form, r=int, learning_rate=float)),
        **_some(evaluation=_evaluation(form)),
    }


def _evaluation(form: Mapping[str, str]) -> dict[str, Any]:
    graders = [name for name in GRADERS if form.get(f"grader-{name}") == "1"]
    served = _texts(form, "publish_to")
    return {**served, **(_texts(form, "then") if served else {}), **_some(graders=graders)}


def _texts(form: Mapping[str, str], *names: str) -> dict[str, str]:
    return _some(**{name: form.get(name, "").strip() for name in names})


def _numbers(form: Mapping[str, str], **kinds: Callable[[str], float]) -> dict[str, float]:
    found = {}
    for name, text in _texts(form, *kinds).items():
        try:
            found[name] = kinds[name](text[:_LONGEST])
        except ValueError:
            raise InvalidRequest(f"'{name}' must be a number.", param=name) from None
    return found


def _some(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
