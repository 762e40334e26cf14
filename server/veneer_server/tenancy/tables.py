"""The table of keys. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

metadata = MetaData()

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(8), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("tenant", String(64)),
    Column("name", String(200), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("patterns", Text),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Column("version", BigInteger, nullable=False),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
)
"""``scopes`` and ``patterns`` are JSON lists. ``version`` is the clock's at the last change."""
