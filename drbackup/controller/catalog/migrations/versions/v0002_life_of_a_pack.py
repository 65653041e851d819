"""The life of a pack's copy: locked, retired, condemned, read back"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = ("locked_ns", "retired_ns", "condemned_ns", "scrubbed_ns")


def upgrade() -> None:
    # Plain ADD COLUMN with a default: SQLite does not rewrite the table for it, so a catalog of millions is quick.
    for name in COLUMNS:
        op.add_column("pack_copies", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("pack_copies", name)
