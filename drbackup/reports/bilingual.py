"""The words of a drill's report in both languages, for Chinese auditors and for engineers who read English.

A report holds both languages at once, whatever the reader's locale. So its words are pairs here, not gettext strings.
"""

from __future__ import annotations

from datetime import timedelta

from drbackup.model.checks.kinds import CHECK_KINDS
from drbackup.model.sources.kinds import SOURCE_KINDS
from drbackup.model.verdict import Rule, Verdict
from drbackup.model.words import Words

VERDICTS = {
    Verdict.PASSED: Words("通过", "Passed"),
    Verdict.CONDITIONAL: Words("有条件通过", "Passed with conditions"),
    Verdict.FAILED: Words("未通过", "Failed"),
    Verdict.NOT_RUN: Words("未执行", "Not run (counts as failed)"),
}

RULES = {
    Rule.NOT_STARTED: Words("演练未能执行", "The drill did not run"),
    Rule.NO_SOURCE: Words("没有恢复任何数据源", "No source was restored"),
    Rule.NOT_RESTORED: Words("恢复失败", "Could not be restored"),
    Rule.NO_CHECK: Words("策略中没有验证项", "The policy has no check"),
    Rule.CHECK_UNANSWERED: Words("验证项没有结果", "A check gave no answer"),
    Rule.CHECK_ERROR: Words("验证项执行出错", "A check could not be carried out"),
    Rule.CHECK_MISMATCH: Words("验证结果与预期不符", "A check's result is not the expected one"),
    Rule.RTO_UNMEASURED: Words("未测得 RTO", "The RTO was not measured"),
    Rule.RTO_EXCEEDED: Words("实测 RTO 超过承诺", "The measured RTO is over the promise"),
    Rule.RPO_EXCEEDED: Words("实测 RPO 超过承诺", "The measured RPO is over the promise"),
    Rule.POINT_TOO_OLD: Words("恢复点本身已超过承诺的 RPO", "The recovery point alone is older than the promised RPO"),
    Rule.CANARY_MISSING: Words(
        "恢复数据中没有心跳标记,RPO 未由数据证明", "No canary inside the data: RPO unproven by data"
    ),
    Rule.CANARY_STALE: Words("心跳标记早于恢复点记录", "The canary is older than the point's own record"),
    Rule.CANARY_IN_FUTURE: Words("心跳标记晚于声明时间,时钟有误", "The canary is from the future: a clock is wrong"),
    Rule.WIPE_UNPROVEN: Words("演练环境清理未得到证明", "The sandbox's wipe was not proven"),
    Rule.NEGATIVE_PASSED: Words("反向演练未发现被破坏的数据", "The negative drill did not find the damage"),
}

PHASES = {
    "locate": Words("定位", "locate"),
    "connect": Words("连接", "connect"),
    "fetch": Words("取回", "fetch"),
    "decrypt": Words("解密", "decrypt"),
    "restore": Words("恢复", "restore"),
    "start": Words("启动", "start"),
    "check": Words("验证", "check"),
    "wipe": Words("清理", "wipe"),
}

CHECKS = {kind.kind: kind.words for kind in CHECK_KINDS}

SUBJECTS = {
    "drill": Words("模拟恢复演练(隔离环境)", "simulation restore, isolated"),
    "negative-drill": Words("反向演练(故意破坏一个字节)", "negative drill (one byte flipped)"),
}

HOST_FACTS = {
    "hostname": Words("主机名", "host name"),
    "platform": Words("操作系统", "platform"),
    "python": Words("Python", "Python"),
    "agent": Words("代理版本", "agent version"),
    "cpus": Words("处理器数", "processors"),
    "memory": Words("内存", "memory"),
    "free": Words("沙箱可用空间", "free in the sandbox"),
    "sandbox": Words("沙箱位置", "sandbox"),
    **{key: words for kind in SOURCE_KINDS for key, words in kind.host_facts.items()},
}


def length(seconds: float | None) -> Words:
    """A length of time, exact enough to compare it with a promise: ``1 小时 2 分`` / ``1 h 2 min``.

    None reads "not measured". From 60 s on at most two units are shown, and the rest is dropped. Shorter lengths have
    one or two decimals.
    """
    if seconds is None:
        return Words("未测得", "not measured")
    if seconds < 0:
        later = length(-seconds)
        return Words("-" + later.zh, "-" + later.en)
    if seconds < 60:
        digits = f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"
        return Words(f"{digits} 秒", f"{digits} s")
    whole = int(seconds)
    parts = [(whole // 86400, "天", "d"), (whole % 86400 // 3600, "小时", "h"), (whole % 3600 // 60, "分", "min")]
    parts.append((whole % 60, "秒", "s"))
    used = [part for part in parts if part[0]][:2]
    return Words(" ".join(f"{n} {zh}" for n, zh, _ in used), " ".join(f"{n} {en}" for n, _, en in used))


def span_text(text: str) -> Words:
    """The length of time that evidence holds as ``str(timedelta)``, for reading; any other text as it stands."""
    days, _, clock = text.rpartition(", ")
    fields = clock.split(":")
    try:
        hours, minutes, seconds = int(fields[0]), int(fields[1]), float(fields[2])
        whole = timedelta(days=int(days.split()[0]) if days else 0, hours=hours, minutes=minutes, seconds=seconds)
    except (IndexError, ValueError):
        return Words(text, text)
    return length(whole.total_seconds())
