"""What the server keeps between requests: responses and conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    _create_responses()
    _create_conversations()


def _create_responses() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("beat", sa.BigInteger),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("responses_expires", "responses", ["expires", "size"])
    op.create_index("responses_beat", "responses", ["beat"])
    op.create_table(
        "response_items",
        sa.Column("item", sa.String(128), primary_key=True),
        sa.Column(
            "response",
            sa.String(128),
            sa.ForeignKey("responses.id", ondelete="CASCADE"),
            primary_key=True,
        ),
    )
    op.create_index("response_items_response", "response_items", ["response"])


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
    )
    op.create_index("conversations_expires", "conversations", ["expires", "size"])
    op.create_table(
        "conversation_items",
        sa.Column(
            "conversation",
            sa.String(128),
            sa.ForeignKey("conversations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("item", sa.String(128), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("conversation_items_item", "conversation_items", ["item"])
