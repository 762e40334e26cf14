"""What a request for a fine-tuning job may say. Pure.

Source: https://platform.openai.com/docs/api-reference/fine-tuning/create
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from veneer_server.api.errors import InvalidRequest
from veneer_server.api.official.checking import check_metadata
from veneer_server.training.evaluating.asked import Evaluation, Then
from veneer_server.training.job import Lora
from veneer_server.training.jobs.errors import JobUnsupported
from veneer_server.training.jobs.rules import Asked
from veneer_server.training.rows.rows import Method as Known

_SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)
_MOST_METADATA = 16
_Auto = Literal["auto"]
_Id = Annotated[StrictStr, Field(min_length=1, max_length=512)]
_UNTRAINED = {
    "reinforcement": "This server does not train by reinforcement: the method must be"
    " 'supervised' or 'dpo'.",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hyperparameters(_Part):
    """OpenAI's three; null means as if it was left out."""

    n_epochs: _Auto | Annotated[StrictInt, Field(ge=1, le=50)] | None = None
    batch_size: _Auto | Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    learning_rate_multiplier: (
        _Auto | Annotated[StrictInt | StrictFloat, Field(gt=0, le=100)] | None
    ) = None


class DpoHyperparameters(Hyperparameters):
    """Those of the method ``dpo``."""

    beta: _Auto | Annotated[StrictInt | StrictFloat, Field(gt=0, le=2)] | None = None


class Supervised(_Part):
    """Answers are learned."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(_Part):
    """It is learned which of two answers is better."""

    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Method(_Part):
    """How to train."""

    type: StrictStr
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: dict[str, Any] | None = None


class LoraBody(_Part):
    """The adapter's own knobs, which OpenAI does not have."""

    r: Annotated[StrictInt, Field(ge=1, le=512)] | None = None
    alpha: Annotated[StrictInt | StrictFloat, Field(gt=0, le=4096)] | None = None
    dropout: Annotated[StrictInt | StrictFloat, Field(ge=0, lt=1)] | None = None
    target_modules: Annotated[list[_Id], Field(min_length=1, max_length=64)] | None = None
    learning_rate: Annotated[StrictInt | StrictFloat, Field(gt=0, le=1)] | None = None


class CreateBody(_Part):
    """Body of ``POST /v1/fine_tuning/jobs``."""

    model: _Id
    training_file: _Id
    validation_file: _Id | None = None
    suffix: StrictStr | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    metadata: dict[str, StrictStr] | None = None
    integrations: list[Any] | None = None
    lora: LoraBody | None = None
    evaluation: Evaluation | None = None


def to_asked(
    body: Mapping[str, Any], then: Then = Then.CANDIDATE, graders: Collection[str] = ()
) -> Asked:
    """Return what ``body`` asks for; where it does not say what follows, ``then`` follows.

    ``graders`` are the names of the operator's.

    Raises:
        InvalidRequest: ``param`` names what is missing, unknown or impossible.
        JobUnsupported: OpenAI has it, and this server cannot do it.
    """
    asked = _parsed(body)
    if asked.integrations:
        raise JobUnsupported(
            "This server reports to no other service: leave 'integrations' out.",
            param="integrations",
        )
    if asked.suffix is not None and not _SUFFIX.fullmatch(asked.suffix):
        raise InvalidRequest(
            "A suffix has 1 to 64 characters: letters, digits, '.', '_' and '-'.", param="suffix"
        )
    if asked.metadata is not None:
        check_metadata(asked.metadata)
    evaluation = asked.evaluation or Evaluation()
    _require_graders(evaluation, graders)
    method, chosen = _method(asked), _hyperparameters(asked)
    return Asked(
        model=asked.model,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        suffix=asked.suffix,
        seed=asked.seed,
        n_epochs=chosen.n_epochs or "auto",
        batch_size=chosen.batch_size or "auto",
        learning_rate_multiplier=chosen.learning_rate_multiplier or "auto",
        method=method,
        beta=_beta(chosen),
        lora=None if asked.lora is None else _lora(asked.lora),
        learning_rate=None if asked.lora is None else asked.lora.learning_rate,
        metadata=asked.metadata,
        evaluation=evaluation.resolved(then),
    )


def to_filter(query: Mapping[str, str]) -> dict[str, str] | None:
    """Return the metadata that a list asks for; empty for jobs without any, None for all jobs.

    Raises:
        InvalidRequest: it asks for more pairs than a job can have, or for a text that none has.
    """
    if query.get("metadata") == "null":
        return {}
    named = ((_METADATA.fullmatch(name), value) for name, value in query.items())
    found = {match[1]: value for match, value in named if match}
    if len(found) > _MOST_METADATA:
        raise InvalidRequest(f"At most {_MOST_METADATA} pairs may be asked for.", param="metadata")
    if any("\0" in text for pair in found.items() for text in pair):
        raise InvalidRequest("No metadata has the character NUL.", param="metadata")
    return found or None


def _parsed(body: Mapping[str, Any]) -> CreateBody:
    try:
        return CreateBody.model_validate(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        # pydantic adds which of several types it tried.
        path = [str(part) for part in fault["loc"] if str(part).isidentifier()]
        param = ".".join(path)[:200]
        if fault["type"] == "extra_forbidden":
            raise InvalidRequest(f"Unknown parameter: '{param}'.", param=param) from None
        if fault["type"] == "missing":
            told = f"Missing required parameter: '{param}'."
            raise InvalidRequest(told, param=param) from None
        raise InvalidRequest(f"Invalid '{param}': {fault['msg']}.", param=param) from None


def _method(asked: CreateBody) -> Known:
    if asked.method is None or asked.method.type in tuple(Known):
        return Known(Known.SUPERVISED if asked.method is None else asked.method.type)
    if told := _UNTRAINED.get(asked.method.type):
        raise JobUnsupported(told, param="method.type")
    raise InvalidRequest(
        f"Invalid value: '{asked.method.type[:100]}'. The method must be 'supervised' or 'dpo'.",
        param="method.type",
    )


def _require_graders(evaluation: Evaluation, known: Collection[str]) -> None:
    for grader in evaluation.graded_by():
        if grader.name is not None and grader.name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise InvalidRequest(
                f"The operator of this server has no Python grader '{grader.name}'; there is:"
                f" {there}.",
                param="evaluation.graders",
            )


def _hyperparameters(asked: CreateBody) -> Hyperparameters:
    """Return those of the method, or else the older ones beside it."""
    method = asked.method
    chosen = method and (method.dpo if method.type == Known.DPO else method.supervised)
    return chosen.hyperparameters if chosen else asked.hyperparameters or Hyperparameters()


def _beta(chosen: Hyperparameters) -> float | _Auto:
    found = chosen.beta if isinstance(chosen, DpoHyperparameters) else None
    return "auto" if found is None else found


def _lora(asked: LoraBody) -> Lora:
    """Return what was asked, and nothing in place of what was not."""
    given = asked.model_dump(exclude={"learning_rate"}, exclude_none=True)
    return Lora(**given)
