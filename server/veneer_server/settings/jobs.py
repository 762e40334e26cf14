"""Work that is done beside live traffic: batches and fine-tuning."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from veneer_server.settings.section import Section


class BatchSettings(Section):
    """Batches, which are answered beside live traffic."""

    max_lines: int = Field(default=50_000, ge=1, description="Requests of one batch.")
    max_bytes: int = Field(default=200 << 20, ge=1024, description="Largest input, in bytes.")
    unfinished: int = Field(
        default=100, ge=1, description="Batches of one tenant that have not ended."
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        description="Most lines answered at the same time; null: half of limits.max_seqs.",
    )
    beside: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Most lines answered while a live request is; null: limits.max_seqs / 32, at least 1."
        ),
    )
    days: int = Field(default=90, ge=1, description="Days for which an ended batch is known.")


class TrainingSettings(Section):
    """Fine-tuning jobs, which a process of its own works on."""

    dir: Path | None = Field(
        default=None,
        description="Folder of unfinished jobs; by default 'training' in the state folder.",
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="Another trainer: a program and its arguments, to which the folder of a job"
        " is added.",
    )
    threads: int = Field(default=1, ge=1, le=1024, description="Threads that the trainer may use.")
    device: str = Field(
        default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where the trainer computes."
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto",
        description="What the trainer multiplies in; auto is fp32 on a processor without"
        " instructions for bf16, else bf16.",
    )
    hours: str | None = Field(
        default=None,
        description="When the trainer may compute, in local time, as in 22:00-06:00; null: always.",
    )
    unfinished: int = Field(
        default=10, ge=1, description="Fine-tuning jobs of one tenant that have not ended."
    )
    days: int = Field(default=365, ge=1, description="Days for which an ended job is known.")
    evaluated_rows: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description="Held-out rows with which a job's last checkpoint is evaluated at most; 0 for"
        " no evaluation.",
    )
    then: Literal["nothing", "candidate", "canary", "live"] = Field(
        default="candidate",
        description="What a better model becomes under the name that its job says in"
        " evaluation.publish_to.",
    )
    graders: dict[str, Path] = Field(
        default_factory=dict,
        description="Python graders that jobs may name, each with its file.",
    )

    @field_validator("hours")
    @classmethod
    def _require_two_times(cls, hours: str | None) -> str | None:
        time = r"([01]\d|2[0-3]):[0-5]\d"
        if hours is not None and not re.fullmatch(f"{time}-{time}", hours):
            raise ValueError("it must be two times of the day, as in 22:00-06:00")
        return hours
