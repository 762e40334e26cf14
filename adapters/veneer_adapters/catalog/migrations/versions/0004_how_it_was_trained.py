"""A revision says how it was trained, and what it was measured to do."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; of earlier revisions nothing is known."""
    op.add_column("revisions", sa.Column("training", sa.Text))
