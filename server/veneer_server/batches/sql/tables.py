"""The table of batches. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

batches = Table(
    "batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("tenant", String(64)),
    Column("key", String(8)),
    Column("number", BigInteger, nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("metadata", Text),
    Column("output_expires_s", BigInteger),
    Column("times", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("error_bytes", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("output_file", String(64)),
    Column("error_file", String(64)),
    Column("model", Text),
    Column("faults", Text, nullable=False),
    Column("runner", String(32)),
    Column("beat", BigInteger),
    Index("batches_owner", "owner", "number"),
    Index("batches_status", "status", "number"),
)
"""The columns are those of ``records.Batch``; ``metadata``, ``times`` and ``faults`` are JSON.

``runner`` is the server that works on the batch, and ``beat`` when it last said so."""
