"""A point's copy: when all of it was read back"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("point_copies", sa.Column("read_ns", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("point_copies", "read_ns")
