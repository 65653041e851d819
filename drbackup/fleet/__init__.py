"""The way to agents: transports, the session with one agent, and the agent file that is deployed.

Knows agents only by :mod:`drbackup.wire` messages. Their requests are answered only by a
:class:`~drbackup.fleet.answers.RequestHandler`: nothing here touches the catalog, a policy or a key.
"""
