"""Many runs: what every run asks of the runs before it must not be read from all of them"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_runs_active", "runs", ["kind", "system", "source", "state"]),
    ("ix_runs_fence", "runs", ["kind", "system", "source", "fence"]),
    ("ix_sessions_run", "sessions", ["run"]),
    ("ix_sessions_opened", "sessions", ["opened_ns"]),
)


def upgrade() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
