"""One job for the trainer: what is learned from which files, how, and with which means.

``job.json`` in the job's folder has this form; docs/training.md describes each member.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from veneer_server.training.rows.rows import Method

NAME = "job.json"


class JobUnusable(Exception):
    """The file ``job.json`` cannot be read, or does not say what a job needs."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(_Part):
    """The shape of the adapter."""

    r: int = Field(default=8, ge=1, le=512)
    alpha: int | float = Field(default=16, gt=0, le=3.4e38)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1, max_length=64
    )


class Means(_Part):
    """What of the machine the trainer may use."""

    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    threads: int = Field(default=1, ge=1, le=1024)
    idle: bool = True
    """Whether it runs only when nothing else wants the CPU (Linux's SCHED_IDLE and autogroups)."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """What matrices are multiplied in; weights, gradients and the loss stay fp32."""


class Job(_Part):
    """Everything that decides what a run does. Relative paths start in the job's folder."""

    id: str = Field(min_length=1, max_length=128)
    method: Method = Method.SUPERVISED
    beta: float = Field(default=0.1, gt=0, le=2)
    """Of the method ``dpo``: how much weighs that the model stays near the base."""
    base: Path
    """The folder of the base model."""
    base_id: str = Field(min_length=1, max_length=512)
    """What the adapter says it was made for; never a path of this machine."""
    train: Path
    """Prepared rows; see ``training.rows.preparing``."""
    valid: Path | None = None
    """Prepared rows that are only measured with."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    epochs: int = Field(ge=1, le=50)
    batch_size: int = Field(ge=1, le=256)
    learning_rate: float = Field(gt=0, le=1)
    """The highest rate: it is reached after the warm-up, and falls to zero from there."""
    checkpoint_steps: int = Field(default=20, ge=1)
    """A checkpoint is made every so many steps, and after the last."""
    lora: Lora = Lora()
    start: Path | None = None
    """The folder of the adapter whose weights are the first ones; ``lora`` is then its shape."""
    means: Means = Means()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the job of ``folder``, with absolute paths.

        Raises:
            JobUnusable: the message says what is wrong.
        """
        try:
            job = cls.model_validate_json((folder / NAME).read_bytes())
        except OSError as error:
            raise JobUnusable(f"{NAME} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise JobUnusable(f"{NAME}: {_first_fault(error)}.") from error
        paths = {name: getattr(job, name) for name in ("base", "train", "valid", "start")}
        full = {name: path and (folder / path).resolve() for name, path in paths.items()}
        return job.model_copy(update=full)

    def write(self, folder: Path) -> None:
        """Write ``job.json`` into ``folder``."""
        (folder / NAME).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def recipe(self) -> dict[str, object]:
        """Return what a checkpoint must agree with: all but the means, which may change."""
        unsaid = {"means", "base", "train", "valid", "start"}
        if self.method is not Method.DPO:
            unsaid.add("beta")
        kept = self.model_dump(mode="json", exclude=unsaid)
        return {**kept, "precision": self.means.precision}


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])) + ": " + first["msg"]
