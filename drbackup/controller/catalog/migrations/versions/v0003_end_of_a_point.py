"""The end of a point: what is being removed, and until when its records can't be"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = (("points", "collected_ns"), ("point_copies", "locked_ns"))


def upgrade() -> None:
    for table, name in COLUMNS:
        op.add_column(table, sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for table, name in reversed(COLUMNS):
        op.drop_column(table, name)
