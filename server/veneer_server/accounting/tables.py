"""The table of usage. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table

metadata = MetaData()

request_usage = Table(
    "request_usage",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("tenant", String(64)),
    Column("key", String(8)),
    Column("endpoint", String(32), nullable=False),
    Column("adapter", String(256), nullable=False),
    Column("revision", Integer),
    Column("fallback_for", String(256)),
    Column("outcome", String(16), nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("queue_s", Float, nullable=False),
    Column("cold_start_s", Float, nullable=False),
    Column("total_s", Float, nullable=False),
    Index("request_usage_time", "time"),
)
"""The columns are those of ``records.UsageRecord``."""
