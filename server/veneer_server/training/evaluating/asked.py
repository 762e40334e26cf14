"""What somebody asks to be measured at the end of a job, and what shall follow."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

Name = Literal["exact_match", "contains", "json_schema"]
PYTHON = "python"


class Then(StrEnum):
    """What becomes of a model that is better, under the name where it shall serve."""

    NOTHING = "nothing"
    CANDIDATE = "candidate"
    """The alias ``candidate`` of that name points to it."""
    CANARY = "canary"
    """It gets some of the requests to that name, and a guard takes them back."""
    LIVE = "live"
    """It gets all requests to that name."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grader(_Part):
    """One way to look at an answer."""

    type: Name | Literal["python"]
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """What the answer must fit; None means any JSON object."""
    name: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    """Which of the operator's Python graders; only of the type ``python``."""

    @model_validator(mode="after")
    def _named_if_python(self) -> Self:
        if (self.type == PYTHON) != (self.name is not None):
            raise ValueError("a grader of the type 'python', and no other, has a 'name'")
        return self

    @property
    def label(self) -> str:
        """Return what its results are called."""
        return self.name or self.type


class Evaluation(_Part):
    """Body member ``evaluation``: where a better model shall serve, and how answers are graded."""

    publish_to: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None
    """The adapter that gets the result as a new revision; None means nobody does."""
    then: Then | None = None
    """None means as the server is set."""
    margin: Annotated[StrictFloat | StrictInt, Field(ge=0, le=100)] = 0.0
    """By how much the loss must be lower than what it is compared with."""
    graders: Annotated[tuple[Name | Grader, ...], Field(max_length=3)] = ()

    @field_validator("graders")
    @classmethod
    def _each_once(cls, graders: tuple[Name | Grader, ...]) -> tuple[Name | Grader, ...]:
        names = [one.label if isinstance(one, Grader) else one for one in graders]
        if len(set(names)) < len(names):
            raise ValueError("a grader may be there once")
        return graders

    def resolved(self, then: Then) -> "Evaluation":
        """Return the same with ``then`` where nothing was asked."""
        wanted = Then.NOTHING if self.publish_to is None else self.then or then
        return self.model_copy(update={"then": wanted})

    def graded_by(self) -> list[Grader]:
        """Return the graders; a name stands for one without a schema."""
        return [one if isinstance(one, Grader) else Grader(type=one) for one in self.graders]

    def as_json(self) -> dict[str, Any]:
        """Return what ``read`` reads."""
        return self.model_dump(mode="json", by_alias=True)


def read(kept: Mapping[str, Any] | None) -> Evaluation:
    """Return what ``as_json`` returned; a job of an earlier server asks for nothing special."""
    return Evaluation.model_validate(kept or {"then": Then.NOTHING})
