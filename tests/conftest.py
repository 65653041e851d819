"""Only a list: fixtures live beside the service they start, in ``tests/support/services``."""

pytest_plugins = [
    "tests.support.services.capability",
    "tests.support.services.seaweedfs",
    "tests.support.services.faulty_proxy",
    "tests.support.services.sshd",
    "tests.support.services.postgres",
    "tests.support.services.agent_bundle",
]
