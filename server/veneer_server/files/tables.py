"""The table of files. Every change here needs a file in ``migrations/versions``."""

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Text

metadata = MetaData()

files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("digest", String(64), nullable=False),
    Index("files_owner", "owner", "number"),
    Index("files_digest", "digest"),
    Index("files_expires", "expires"),
)
"""The columns are those of ``records.StoredFile``."""
