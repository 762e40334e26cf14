"""The catalog's tables. Every change here needs a new file in ``migrations/versions``.

A value that queries use has a column of its own; a value that is only read as a whole is JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("identity", String(32)),
)
"""One row. Every write first counts it up, so that writers take turns. ``identity`` is drawn once,
when the database is made; copies of a database share it."""

adapters = Table(
    "adapters",
    metadata,
    Column("name", String(127), primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("offered", String(64)),
    Column("changed", BigInteger, nullable=False),
    Index("adapters_changed", "changed"),
)
"""``changed`` is the version of the clock at the last change of the name, its revisions or its
aliases."""

revisions = Table(
    "revisions",
    metadata,
    Column("adapter", String(127), ForeignKey(adapters.c.name), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(64)),
    Column("detail", Text),
    Column("effect", Text),
    Column("allow_no_effect", Boolean, nullable=False),
    Column("becomes", String(64)),
    Column("training", Text),
    UniqueConstraint("adapter", "digest", name="revisions_content"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("adapter", String(127), ForeignKey(adapters.c.name), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("record", Text, nullable=False),
)

moves = Table(
    "moves",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("adapter", String(127), ForeignKey(adapters.c.name), nullable=False),
    Column("name", String(64), nullable=False),
    Column("record", Text, nullable=False),
    Index("moves_alias", "adapter", "name", "id"),
)
"""Every alias as it was after each move. Rows are only added, never changed."""

usage = Table(
    "usage",
    metadata,
    Column("adapter", String(127), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
)
"""How often requests asked for each adapter; a change here does not count up the clock."""

replays = Table(
    "replays",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("outcome", Text),
    Column("created", BigInteger, nullable=False),
)
"""The outcome of each request that a client may send again with the same key."""
