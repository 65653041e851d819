"""Long lists: everything is listed, a page at a time, and an instant or a month is found without reading all"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_runs_system", "runs", ["kind", "system", "due_ns"]),
    ("ix_runs_due", "runs", ["due_ns"]),
    ("ix_points_system", "points", ["system", "committed_ns"]),
    ("ix_points_committed", "points", ["committed_ns"]),
    ("ix_points_pinned", "points", ["system", "source", "pinned_ns"]),
    ("ix_drills_started", "drills", ["started_ns"]),
)


def upgrade() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
