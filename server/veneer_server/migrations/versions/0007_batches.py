"""Batches: what was asked, how far each is, and who works on it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "batches",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64)),
        sa.Column("key", sa.String(8)),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("input_file", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.Text),
        sa.Column("output_expires_s", sa.BigInteger),
        sa.Column("times", sa.Text, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("completed", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("output_bytes", sa.BigInteger, nullable=False),
        sa.Column("error_bytes", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_file", sa.String(64)),
        sa.Column("error_file", sa.String(64)),
        sa.Column("model", sa.Text),
        sa.Column("faults", sa.Text, nullable=False),
        sa.Column("runner", sa.String(32)),
        sa.Column("beat", sa.BigInteger),
    )
    op.create_index("batches_owner", "batches", ["owner", "number"])
    op.create_index("batches_status", "batches", ["status", "number"])
