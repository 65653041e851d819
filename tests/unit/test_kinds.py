"""Kinds describe themselves: no production file knows one by name but its own rooms and the lists."""

from __future__ import annotations

import msgspec

from drbackup.model.sources.kinds import SOURCE_KINDS as IN_POLICIES
from drbackup.model.stores.kinds import STORE_PLACES
from drbackup.stores.registry import STORE_KINDS
from drbackup_agent.sources.kinds import SOURCE_KINDS as ON_AGENTS


def test_the_two_lists_of_sources_name_the_same_kinds() -> None:
    assert {kind.kind for kind in IN_POLICIES} == {kind.name for kind in ON_AGENTS}


def test_what_a_policy_says_of_a_source_is_what_its_agent_reads() -> None:
    of_agents = {kind.name: kind for kind in ON_AGENTS}
    for said in IN_POLICIES:
        sent = [*said.model_fields, *(["canary"] if said.takes_canary else [])]
        assert [field.name for field in msgspec.structs.fields(of_agents[said.kind].spec)] == sent


def test_the_two_lists_of_stores_name_the_same_kinds() -> None:
    assert [kind.kind for kind in STORE_PLACES] == [kind.name for kind in STORE_KINDS]
