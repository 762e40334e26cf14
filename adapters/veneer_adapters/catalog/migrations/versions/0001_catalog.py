"""The first version of the catalog in SQL."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and the one row of the clock."""
    clock = op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(clock, [{"id": 1, "version": 0}])
    _create_adapters()
    _create_revisions()
    _create_aliases()
    _create_notes()


def _create_adapters() -> None:
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(127), primary_key=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("offered", sa.String(64)),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("adapters_changed", "adapters", ["changed"])


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("adapter", sa.String(127), sa.ForeignKey("adapters.name"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("effect", sa.Text),
        sa.Column("may_change_nothing", sa.Boolean, nullable=False),
        sa.Column("becomes", sa.String(64)),
        sa.UniqueConstraint("adapter", "digest", name="revisions_content"),
    )


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("adapter", sa.String(127), sa.ForeignKey("adapters.name"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("adapter", sa.String(127), sa.ForeignKey("adapters.name"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("moves_alias", "moves", ["adapter", "name", "id"])


def _create_notes() -> None:
    op.create_table(
        "usage",
        sa.Column("adapter", sa.String(127), primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
