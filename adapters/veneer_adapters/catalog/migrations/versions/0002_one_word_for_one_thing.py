"""Columns get the names that the code uses, and a replay keeps one text."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename ``may_change_nothing``, and copy every kept answer into ``replays``."""
    op.alter_column("revisions", "may_change_nothing", new_column_name="allow_no_effect")
    op.create_table(
        "replays",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    # In ``answers``, status 0 meant that no answer was known.
    op.execute(
        "INSERT INTO replays (key, request, outcome, created)"
        " SELECT key, request, CASE WHEN status = 0 THEN NULL"
        " ELSE CAST(status AS VARCHAR) || ' ' || body END, created FROM answers"
    )
    op.drop_table("answers")
