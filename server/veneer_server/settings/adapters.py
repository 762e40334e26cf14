"""Where adapters lie, and how many slots and how much disk they get."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from veneer_server.settings.section import Section


class AdapterSettings(Section):
    """Where adapters come from, and how many slots and how much disk they get."""

    dir: Path = Field(default=Path("my-adapters"), description="Your adapters; watched.")
    roots: tuple[Path, ...] = Field(
        default=(), description="Further folders of adapters, read only; watched."
    )
    device_slots: int | None = Field(
        default=None, ge=1, le=1024, description="Adapters usable in one step; null: chosen."
    )
    host_slots: int | None = Field(
        default=None, ge=2, le=4096, description="Adapters kept in memory; null: chosen."
    )
    max_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] | None = Field(
        default=None, description="Largest rank an adapter may have; null: chosen."
    )
    compress: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Largest relative error with which a higher rank is compressed; null: never.",
    )
    store: Path | None = Field(
        default=None,
        description="Folder of verified adapter files; by default 'store' in the state folder.",
    )
    quota_gib: float | None = Field(
        default=None,
        gt=0,
        description="Disk for verified adapter files, in GiB; by default four fifths of its room.",
    )
    load_timeout_s: float = Field(
        default=30.0, gt=0, description="Longest wait for a slot and a load, in seconds."
    )
    cold_start: Literal["wait", "reject", "fallback"] = Field(
        default="wait", description="What becomes of a request whose adapter is in no slot."
    )

    @field_validator("max_rank", mode="before")
    @classmethod
    def _rank_may_be_text(cls, rank: object) -> object:
        # A variable is a text, and pydantic does not convert a text for a Literal of numbers.
        return int(rank) if isinstance(rank, str) and rank.strip().isdecimal() else rank

    @model_validator(mode="after")
    def _host_holds_the_device_set(self) -> Self:
        device, host = self.device_slots, self.host_slots
        if device is not None and host is not None and host <= device:
            raise ValueError(
                "adapters.host_slots must be larger than adapters.device_slots: "
                "one host slot stays free while an adapter loads"
            )
        return self
