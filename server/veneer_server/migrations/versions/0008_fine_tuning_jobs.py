"""Fine-tuning jobs: what was asked, how far each is, what was said of it, and its checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "fine_tuning_jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64)),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("adapter", sa.String(128), nullable=False),
        sa.Column("organization", sa.String(64), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("finished", sa.BigInteger),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("fine_tuned_model", sa.Text),
        sa.Column("result_file", sa.String(64)),
        sa.Column("failure", sa.Text),
        sa.Column("runner", sa.String(32)),
        sa.Column("beat", sa.BigInteger),
    )
    op.create_index("fine_tuning_jobs_owner", "fine_tuning_jobs", ["owner", "number"])
    op.create_index("fine_tuning_jobs_status", "fine_tuning_jobs", ["status", "number"])
    op.create_table(
        "fine_tuning_metadata",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(512), nullable=False),
    )
    op.create_table(
        "fine_tuning_events",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table(
        "fine_tuning_checkpoints",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
    )
