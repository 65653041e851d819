"""References to nothing, names given twice and circles are found across files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cities.policy_folder import PolicyFolder


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    return PolicyFolder(tmp_path / "policies")


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        (
            "depends_on: [network]",
            "depends_on: [netwrok]",
            ("base.yaml:6:14", "no system 'netwrok' has a policy here", "did you mean 'network'?"),
        ),
        (
            "depends_on: [network]",
            "depends_on: [{system: netwrok, degraded: true}]",
            ("base.yaml:6:23", "no system 'netwrok' has a policy here", "did you mean 'network'?"),
        ),
        (
            "depends_on: [network]",
            "depends_on: [base, network]",
            ("base.yaml:6:14", "'base' depends on itself", "remove this entry"),
        ),
        (
            "depends_on: [network]",
            "depends_on: [network, network]",
            ("base.yaml:6:23", "'network' is already in depends_on", "remove one of the two"),
        ),
        (
            "copies: [offsite]",
            "copies: [offsite, ofsite]",
            ("base.yaml:12:19", "inventory.yaml has no store 'ofsite'", "did you mean 'offsite'?"),
        ),
        (
            "copies: [offsite]",
            "copies: [offsite, offsite]",
            ("base.yaml:12:19", "the store 'offsite' is named twice", "one copy there is one copy"),
        ),
        (
            "on: drill1",
            "on: drill2",
            ("base.yaml:14:7", "inventory.yaml has no agent 'drill2'", "did you mean 'drill1'?"),
        ),
        (
            "{source: registry, counts",
            "{source: registers, counts",
            ("base.yaml:16:16", "this policy has no source 'registers'", "did you mean 'registry'?"),
        ),
        (
            "{source: registry, counts: match}",
            "{source: registry, files: match}",
            (
                "base.yaml:16:16",
                "'registry' is a postgres source: files: match compares trees; for a database use counts: match",
                "",
            ),
        ),
        (
            "{source: scans, files: match}",
            "{across: [scans, registry], sql: select 1, each: exists_in_files}",
            ("base.yaml:17:17", "'scans' is a files source: only a database can be asked by sql", ""),
        ),
    ],
)
def test_a_dead_reference_is_named_at_its_place(
    folder: PolicyFolder, old: str, new: str, finding: tuple[str, str, str]
) -> None:
    folder.change("base.yaml", old, new)
    assert finding in folder.findings("error")


def test_a_dead_reference_is_named_even_in_a_file_that_is_wrong_in_itself(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "level: 4", "level: four")
    folder.change("base.yaml", "agent: centre, files", "agent: nobody, files")
    assert [message for _, message, _ in folder.findings()] == [
        "'four' must be a whole number",
        "inventory.yaml has no agent 'nobody'",
    ]


def test_a_wrong_file_still_counts_as_existing_so_that_others_are_not_blamed(folder: PolicyFolder) -> None:
    folder.change("network.yaml", "level: 4", "level: four")
    assert [place for place, _, _ in folder.findings()] == ["network.yaml:4:8"]


def test_two_policies_of_one_system_are_an_error_that_names_the_other(folder: PolicyFolder) -> None:
    text = (folder.path / "base.yaml").read_text()
    folder.write("zz.yaml", text)
    place, message, hint = folder.only("error")
    assert (place, message) == ("zz.yaml:1:9", "the system 'base' has a policy already")
    assert hint.endswith("base.yaml:1")


def test_two_sources_of_one_name_are_an_error(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "name: scans", "name: registry")
    assert ("base.yaml:9:12", "a source 'registry' is already in this policy") in [
        (place, message) for place, message, _ in folder.findings("error")
    ]


def test_a_cycle_is_named_with_its_whole_path(folder: PolicyFolder) -> None:
    folder.change("network.yaml", "sources:", "depends_on: [base]\nsources:")
    place, message, hint = folder.only("error")
    assert place == "network.yaml:6:14"
    assert message == "systems wait for each other: base → network → base"
    assert "degraded: true" in hint


def test_a_degraded_edge_breaks_the_cycle(folder: PolicyFolder) -> None:
    folder.change("network.yaml", "sources:", "depends_on: [{system: base, degraded: true}]\nsources:")
    assert folder.findings() == []


def test_a_jump_host_must_be_an_ssh_agent_and_not_lead_back(folder: PolicyFolder) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICqx+jlONVodqrcW/tqszgphyXaKZ1EY4AOCMotxFUPP"
    ssh = f"transport: ssh, host: h, ssh_agent: true, host_keys: [{key}]"
    folder.change(
        "inventory.yaml",
        "agents:\n",
        f"agents:\n  one: {{{ssh}, jump: two}}\n  two: {{{ssh}, jump: one}}\n"
        f"  three: {{{ssh}, jump: centre}}\n  four: {{{ssh}, jump: nobody}}\n",
    )
    messages = [message for _, message, _ in folder.findings("error")]
    assert "jump hosts lead in a circle: one → two → one" in messages
    assert "'centre' is not an ssh agent, so nothing can jump through it" in messages
    assert "no agent 'nobody' to jump through" in messages
    assert len(messages) == 3


def test_what_no_drill_proves_is_a_warning_and_still_loads(folder: PolicyFolder) -> None:
    folder.change("base.yaml", "    - {source: scans, files: match}\n", "")
    text = (folder.path / "network.yaml").read_text()
    folder.write("network.yaml", text[: text.index("drill:")])
    assert [message for _, message, _ in folder.findings("warning")] == [
        "no check of the drill looks at 'scans'",
        "'network' has no drill: nobody will learn whether its copies are good",
    ]
    assert folder.inspect().policy_set is not None


def test_a_file_not_named_after_its_system_is_a_warning(folder: PolicyFolder) -> None:
    (folder.path / "base.yaml").rename(folder.path / "other.yaml")
    assert folder.only() == (
        "other.yaml:1:9",
        "the file of 'base' is not named after it",
        "rename the file to base.yaml",
    )
