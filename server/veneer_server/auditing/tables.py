"""The table of the audit log. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

metadata = MetaData()

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("tenant", String(64)),
    Column("action", String(64), nullable=False),
    Column("object", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("outcome", String(64), nullable=False),
    Column("request", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
"""``details`` is a JSON object. Rows are only ever added."""
