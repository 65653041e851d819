"""Only a list: fixtures live beside the service they start, in ``tests/services``."""

pytest_plugins = [
    "tests.services.capability",
    "tests.services.seaweedfs",
    "tests.services.faulty_proxy",
    "tests.services.sshd",
    "tests.services.postgres",
    "tests.services.agent_bundle",
]
