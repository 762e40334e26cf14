"""The tables of fine-tuning jobs. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

jobs = Table(
    "fine_tuning_jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("tenant", String(64)),
    Column("number", BigInteger, nullable=False),
    Column("adapter", String(128), nullable=False),
    Column("organization", String(64), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("finished", BigInteger),
    Column("progress", Text, nullable=False),
    Column("fine_tuned_model", Text),
    Column("result_file", String(64)),
    Column("failure", Text),
    Column("runner", String(32)),
    Column("beat", BigInteger),
    Index("fine_tuning_jobs_owner", "owner", "number"),
    Index("fine_tuning_jobs_status", "status", "number"),
)
"""The columns are those of ``records.FineTuningJob``; ``recipe``, ``progress`` and ``failure`` are
JSON. ``runner`` is the server that works on the job, and ``beat`` when it last said so."""

labels = Table(
    "fine_tuning_metadata",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", String(512), nullable=False),
)
"""The metadata of jobs once more, to find jobs by it."""

events = Table(
    "fine_tuning_events",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("level", String(8), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
)
"""``place`` counts the events of a job from 1; ``data`` is JSON."""

checkpoints = Table(
    "fine_tuning_checkpoints",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("metrics", Text, nullable=False),
)
"""``metrics`` is JSON."""
