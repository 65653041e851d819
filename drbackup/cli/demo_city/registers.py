"""The registers' rows: made up, the same on every run, and without any personal data.

Owns the schema and content of the four bureaus' registers: 工商 registration, 国税 and 地税 taxpayers, 质监
organisation codes. Owns also the enterprise base, which is joined from them. Pure: the same size gives the same rows on
every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta

import msgspec

Value = str | int
Row = tuple[Value, ...]

_SEED = 2004
_WORDS = (
    "恒达",
    "瑞丰",
    "明远",
    "华信",
    "金桥",
    "东升",
    "汇通",
    "安泰",
    "启航",
    "嘉禾",
    "云峰",
    "中和",
    "百川",
    "长青",
)
_TRADES = ("纺织", "机械", "软件", "食品", "建材", "物流", "茶业", "丝绸", "仪表", "印务", "化工", "旅游")
_FORMS = ("有限公司", "股份有限公司", "合作社", "经营部")
_DISTRICTS = ("江东区", "江西区", "湖滨区", "北山区", "钱南县")
_STATES = ("存续", "存续", "存续", "存续", "迁出", "注销")
_CODE_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


class RegisterTable(msgspec.Struct, frozen=True):
    """One database table with its content."""

    name: str
    columns: tuple[tuple[str, str], ...]  # (name, SQL type); the first is the key
    rows: tuple[Row, ...]  # in key order

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _type in self.columns)


class Scan(msgspec.Struct, frozen=True):
    """One scanned document of the enterprise base."""

    path: str  # below the scans' folder
    registration: str  # the enterprise's registration number
    pages: int
    seed: int  # of its bytes and its modification time


def organisation_code(number: int) -> str:
    """An organisation code as in GB 11714: eight digits, a dash, and the check character, modulo 11."""
    digits = f"{number:08d}"
    check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, _CODE_WEIGHTS, strict=True)) % 11
    return f"{digits}-{'X' if check == 10 else '0' if check == 11 else check}"


def registration(size: int) -> RegisterTable:
    """工商: the register of all ``size`` enterprises of the city."""
    dice = random.Random(_SEED)
    start = date(1994, 7, 1)
    rows: list[Row] = []
    for number in range(1, size + 1):
        name = f"临江市{dice.choice(_WORDS)}{dice.choice(_WORDS)}{dice.choice(_TRADES)}{dice.choice(_FORMS)}"
        founded = start + timedelta(days=dice.randrange(10 * 365))
        rows.append(
            (
                f"3301{number:09d}",
                f"{name}({number})",
                dice.choice(_DISTRICTS),
                dice.randrange(10, 50_000) * 10_000,
                founded.isoformat(),
                dice.choice(_STATES),
            )
        )
    columns = (
        ("reg_no", "varchar(15) primary key"),
        ("name", "text not null"),
        ("district", "text not null"),
        ("capital_yuan", "bigint not null"),
        ("founded", "date not null"),
        ("state", "text not null"),
    )
    return RegisterTable("registration", columns, tuple(rows))


def taxpayers(enterprises: RegisterTable, name: str, share: float) -> RegisterTable:
    """国税 or 地税: the register of those enterprises that pay this tax, about ``share`` (0–1) of all.

    Each row has the sum assessed last year, in yuan. ``name``: the table's.
    """
    dice = random.Random(f"{_SEED} {name}")
    rows: list[Row] = []
    for row in enterprises.rows:
        if dice.random() < share:
            number = len(rows) + 1
            rows.append((f"33010{number:010d}", row[0], dice.randrange(0, 9_000_000), dice.choice(("一般", "小规模"))))
    columns = (
        ("tax_no", "varchar(20) primary key"),
        ("reg_no", "varchar(15) not null"),
        ("assessed_yuan", "bigint not null"),
        ("class", "text not null"),
    )
    return RegisterTable(name, columns, tuple(rows))


def codes(enterprises: RegisterTable) -> RegisterTable:
    """质监: the register of organisation codes, one for each enterprise."""
    rows = tuple((organisation_code(70_000_000 + 7 * n), row[0]) for n, row in enumerate(enterprises.rows))
    return RegisterTable("org_code", (("code", "char(10) primary key"), ("reg_no", "varchar(15) not null")), rows)


def enterprise_base(
    enterprises: RegisterTable, state: RegisterTable, local: RegisterTable, organisation: RegisterTable
) -> RegisterTable:
    """企业基础信息库: one row for each enterprise, joined from all four bureaus. A missing tax number is empty."""
    state_no = {row[1]: row[0] for row in state.rows}
    local_no = {row[1]: row[0] for row in local.rows}
    code = {row[1]: row[0] for row in organisation.rows}
    rows = tuple(
        (row[0], code[row[0]], state_no.get(row[0], ""), local_no.get(row[0], ""), row[1], row[5])
        for row in enterprises.rows
    )
    columns = (
        ("reg_no", "varchar(15) primary key"),
        ("org_code", "char(10) not null"),
        ("state_tax_no", "varchar(20) not null"),
        ("local_tax_no", "varchar(20) not null"),
        ("name", "text not null"),
        ("state", "text not null"),
    )
    return RegisterTable("enterprise", columns, rows)


def scans(enterprises: RegisterTable, count: int) -> tuple[Scan, ...]:
    """The scanned files of the first ``count`` enterprises, one each, with Chinese file names."""
    kinds = ("营业执照", "公司章程", "验资报告", "年检表")
    found: list[Scan] = []
    for number, row in enumerate(enterprises.rows[:count]):
        kind = kinds[number % len(kinds)]
        path = f"{row[2]}/{row[0]}/{kind}_{1994 + number % 10}年.tif"
        found.append(Scan(path, str(row[0]), 1 + number % 4, _SEED * 1000 + number))
    return tuple(found)


def attachments(files: Sequence[Scan], sizes: Sequence[int]) -> RegisterTable:
    """The table that refers to the scans: path, enterprise, pages, size in bytes (``sizes``, in ``files``' order)."""
    rows = tuple((n, scan.path, scan.registration, scan.pages, sizes[n]) for n, scan in enumerate(files))
    columns = (
        ("id", "integer primary key"),
        ("path", "text not null unique"),
        ("reg_no", "varchar(15) not null"),
        ("pages", "integer not null"),
        ("bytes", "bigint not null"),
    )
    return RegisterTable("attachment", columns, rows)
