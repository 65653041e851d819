"""A file's text becomes values with places, and whatever is wrong becomes a finding at its line and column."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drbackup.model.document import Document, nearest, parse_document


def parse(text: str) -> Document:
    return parse_document(textwrap.dedent(text), "x.yaml")


def test_every_key_and_value_has_its_place() -> None:
    document = parse(
        """\
        system: a
        sources:
          - name: b
            files: {paths: [/srv, /home]}
        """
    )
    assert document.values == {"system": "a", "sources": [{"name": "b", "files": {"paths": ["/srv", "/home"]}}]}
    finding = document.finding(("sources", 0, "files", "paths", 1), "here")
    assert (finding.line, finding.column) == (4, 27)
    assert finding.text == "    files: {paths: [/srv, /home]}"
    key = document.finding(("sources", 0, "files"), "here", at_key=True)
    assert (key.line, key.column) == (4, 5)


def test_a_place_the_file_does_not_have_falls_back_to_the_nearest_enclosing_key() -> None:
    document = parse("keep:\n  daily: 3\n")
    finding = document.finding(("keep", "weekly", "deeper"), "here")
    assert (finding.line, finding.column) == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("22:00", "22:00"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0644", "0644"),
        ("0x10", 16),
        ("08", "08"),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("1.0e+3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("1_000", "1_000"),
        ("=", "="),
    ],
)
def test_a_plain_value_means_what_it_looks_like(text: str, value: object) -> None:
    document = parse_document(f"key: {text}\n", "x.yaml")
    assert document.findings == ()
    assert document.values == {"key": value}


def test_infinity_and_nan_are_numbers() -> None:
    values = parse_document("[.inf, -.inf, .nan]", "x").values
    assert values[:2] == [float("inf"), float("-inf")]
    assert values[2] != values[2]


def test_a_key_is_always_text() -> None:
    assert parse("on: drill1\n1: one\ntrue: two\n").values == {"on": "drill1", "1": "one", "true": "two"}


def test_a_duplicate_key_is_named_with_both_lines_and_the_first_value_stands() -> None:
    document = parse("level: 4\ntitle: x\nlevel: 5\n")
    (finding,) = document.findings
    assert str(finding) == "x.yaml:3:1: error: the key 'level' stands here a second time"
    assert finding.hint == "it is already on line 1"
    assert document.values["level"] == 4


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: 1\n\tb: 2\n", 2, "spaces"),
        ("a: b: c\n", 1, "quotes"),
        ("a: [1, 2\nb: 3\n", 2, "bracket"),
        ("a: 'x\n", 2, "quotation mark"),
        ("a: *b\n", 1, "anchor"),
        ("a: %x\n", 1, "special character"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("a:\n  - 1\n b: 2\n", 3, "column"),
        ("a: \x00\n", 1, "UTF-8"),
    ],
)
def test_broken_yaml_is_one_finding_at_its_line_with_a_way_out(text: str, line: int, hint: str) -> None:
    document = parse_document(text, "x.yaml")
    assert document.values is None
    (finding,) = document.findings
    assert finding.line == line
    assert hint in finding.hint


def test_an_empty_file_is_a_finding() -> None:
    for text in ("", "# only a comment\n", "---\n"):
        document = parse_document(text, "x.yaml")
        assert document.values is None
        assert document.findings or text == "---\n"


def test_anchors_aliases_and_merge_keys_work_and_a_merged_key_can_be_overruled() -> None:
    document = parse(
        """\
        one: &one {a: 1, b: 2}
        two:
          <<: *one
          b: 3
        three: *one
        """
    )
    assert document.findings == ()
    assert document.values["two"] == {"a": 1, "b": 3}
    assert document.values["three"] == {"a": 1, "b": 2}
    overruled = document.finding(("two", "b"), "here")
    assert overruled.line == 4


def test_an_anchor_inside_itself_is_a_finding_and_not_an_endless_loop() -> None:
    document = parse("a: &a [1, *a]\n")
    assert [finding.message for finding in document.findings] == ["this anchor holds itself"]


def test_a_bomb_of_aliases_is_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    document = parse_document("\n".join(lines), "x.yaml")
    assert [finding.message for finding in document.findings] == ["the file unfolds to more than 50000 values"]


@pytest.mark.parametrize(
    "text",
    ["a: !!python/name:os.system x", "a: !!python/object/apply:os.system [ls]", "a: !mine {b: 1}", "a: !!set {b}"],
)
def test_no_tag_makes_an_object(text: str) -> None:
    document = parse_document(text, "x.yaml")
    assert "tag" in document.findings[0].message


def test_very_deep_nesting_is_a_finding() -> None:
    document = parse_document("[" * 5000 + "]" * 5000, "x.yaml")
    assert document.findings[0].message == "nested too deeply to be a policy"


def test_a_finding_shows_the_line_a_mark_below_the_place_and_the_hint() -> None:
    finding = parse("a:\n    b: wrong\n").finding(("a", "b"), "not good", "write right")
    assert finding.lines() == [
        "x.yaml:2:8: error: not good",
        "    b: wrong",
        "       ^",
        "    hint: write right",
    ]


def test_a_near_word_is_suggested_and_otherwise_the_known_ones_are_listed() -> None:
    assert nearest("shedule", ["schedule", "keep"]) == "did you mean 'schedule'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", []) == ""


# Line breaks of other systems are folded by PyYAML's own writer, so they cannot make the round trip.
_text = st.text(st.characters(exclude_characters="\x85\u2028\u2029", codec="utf-8"))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text | st.just("2026-01-01T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_text, _values, max_size=5))
def test_what_a_yaml_writer_writes_is_read_back(values: dict[str, Any]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True)
    document = parse_document(text, "x.yaml")
    assert document.findings == ()
    assert document.values == values


_POLICIES = sorted(Path(__file__).parents[3].glob("policies/**/*.yaml"))
_SIGNS = st.sampled_from(
    ["a", "b: ", "- ", "\n", "  ", "{", "}", "[", "]", ", ", "'", '"', "#", "&x ", "*x", "|", "<<: ", "!t ", "会", "? "]
)


def _without_libyaml(text: str) -> Document:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", False)
        return parse_document(text, "x.yaml")


@pytest.mark.parametrize("path", _POLICIES, ids=lambda path: path.stem)
def test_a_host_without_libyaml_reads_the_same_values_at_the_same_places(path: Path) -> None:
    text = path.read_text()
    assert parse_document(text, "x.yaml") == _without_libyaml(text)


@given(st.lists(_SIGNS, max_size=14).map("".join))
def test_what_both_loaders_take_means_the_same(text: str) -> None:
    """libyaml takes a few texts more, and places an empty value elsewhere on its line or the next; none may mean
    something else."""
    fast, slow = parse_document(text, "x.yaml"), _without_libyaml(text)
    if not any(finding.message.startswith("not YAML") for finding in slow.findings):
        assert fast.values == slow.values
        assert len(fast.findings) == len(slow.findings)


@given(st.text())
def test_no_text_makes_the_reader_raise(text: str) -> None:
    document = parse_document(text, "x.yaml")
    assert all(1 <= finding.line <= len(text) + 1 and finding.column >= 1 for finding in document.findings)
