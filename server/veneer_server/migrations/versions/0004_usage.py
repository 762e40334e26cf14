"""A row for each request: who asked, what it took, how it ended."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "request_usage",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.String(64)),
        sa.Column("key", sa.String(8)),
        sa.Column("endpoint", sa.String(32), nullable=False),
        sa.Column("adapter", sa.String(256), nullable=False),
        sa.Column("revision", sa.Integer),
        sa.Column("fallback_for", sa.String(256)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("queue_s", sa.Float, nullable=False),
        sa.Column("cold_start_s", sa.Float, nullable=False),
        sa.Column("total_s", sa.Float, nullable=False),
    )
    op.create_index("request_usage_time", "request_usage", ["time"])
