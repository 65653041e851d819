"""The real command at three in the morning: whoever reads Chinese is told in Chinese what failed and what to do."""

from __future__ import annotations

import re
import shutil

from tests.support.cities.site import Site

CHINESE = {"LANG": "zh_CN.UTF-8"}
ENGLISH = re.compile(r"\b[a-z']{2,} [a-z']{2,} [a-z']{2,}\b")  # a sentence, not a command or a name


def _sentences(text: str) -> list[str]:
    """English sentences in what was printed, without the commands that are to be typed."""
    return ENGLISH.findall(re.sub(r"drbackup( [a-z-]+)+", "", text))


def test_an_error_is_said_in_chinese(bare: Site) -> None:
    answer = bare.run("status", **CHINESE)
    assert answer.code == 10
    failed, safe, hint = answer.err.strip().replace("\n  ", " ").splitlines()[:3]
    assert failed == f"失败：{bare.home} 中没有安装"
    assert safe == "仍然安全：所有已提交的恢复点均未受影响"
    assert hint.startswith("下一步：请用 --home 或 DRBACKUP_HOME 指定其目录")
    assert _sentences(answer.err) == []


def test_a_script_is_told_in_english_whoever_runs_it(bare: Site) -> None:
    error = bare.run("status", "--json", **CHINESE).document["error"]
    assert error["message"] == f"there is no installation in {bare.home}"
    assert error["still_safe"] == "every committed recovery point is untouched"


def test_the_findings_of_a_broken_policy_are_said_in_chinese(bare: Site) -> None:
    bare.write(shedule={"every": "1h"}, level="four")
    checked = bare.run("policy", "check", **CHINESE)
    refused = bare.run("init", **CHINESE)
    assert (checked.code, refused.code) == (2, 2)
    for said in (checked.out, refused.err):
        assert re.search(r"registry\.yaml:\d+:\d+: 错误: 未知的键 'shedule'", said)
        assert "提示：是否想写 'schedule'？" in said
        assert "'four' 须为整数" in said
        assert _sentences(said) == []


def test_what_an_agent_says_arrives_in_chinese(site: Site) -> None:
    shutil.rmtree(site.scans)
    answer = site.run("backup", "registry/scans", **CHINESE)
    assert answer.code == 1
    failed = answer.err[answer.err.index("失败：") :]
    assert f"失败：{site.scans}: 没有该文件或目录 (db1)" in failed
    assert "下一步：检查代理所用账户是否有权读取该数据源" in failed
    assert _sentences(failed) == []


def test_a_mistyped_command_is_said_in_chinese(bare: Site) -> None:
    for words, said in ((("statsu",), "没有命令 'statsu'。"), (("points", "show"), "缺少参数 'POINT'。")):
        answer = bare.run(*words, **CHINESE)
        assert answer.code == 2
        assert answer.err.startswith(f"失败：{said}")
        assert _sentences(answer.err) == []
