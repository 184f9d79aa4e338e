"""Values that an enemy would write: of wrong types, at boundaries, huge, deep and long, and valid ones elsewhere."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.reliability.hostile.documents import Raw

if TYPE_CHECKING:
    from random import Random

__all__ = ["KEYS", "LENGTHS", "NUMBERS", "TEXTS", "WHOLE", "tagged_value", "value_of_any_kind"]

NUMBERS = [0, 1, 2, 3, 7, 8, 63, 64, 65, 127, 255, 256, 1000, 65_536, 131_072, 131_073, 10**6, 10**7, 10**9, 2**31 - 1]
NUMBERS += [2**31, 2**32 - 1, 2**32, 2**40, 2**48, 2**53, 2**56, 2**60, 2**61, 2**62, 2**63 - 2, 2**63 - 1, 2**63]
NUMBERS += [2**64 - 1, 2**64, 10**30, 10**400]
NUMBERS += [-number for number in NUMBERS]
WHOLE = [number for number in NUMBERS if -(2**63) <= number < 2**64]
TEXTS = [
    "",
    "a",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "arrays/../../secret",
    "arrays//x",
    "arrays/",
    "pages/..",
]
TEXTS += [
    "arrays/\x00",
    "arrays\\..\\x",
    "C:\\x",
    "commits/0",
    "atlas.json",
    "arrays/.tmp-x",
    "\x00",
    "\n",
    "x" * 5000,
]
TEXTS += [
    "\ud800",
    "é",
    "🌊",
    "_x",
    "nan",
    "0",
    "-1",
    "1e999",
    "0x10",
    "ffffffffffffffff",
    "g" * 16,
    "float64",
    "string",
]
TEXTS += [
    "object",
    "O",
    "<M8[999999999Y]",
    "|S999999999",
    "<U999999999",
    "|S0",
    "<U1",
    "|V8",
    "<c16",
    "|b1",
    "json:" + "[" * 3000,
]
TEXTS += ["bytes", "dtype:bytes", "bool", "float16", "timedelta64[us]", "dtype:bool", "dtype:complex64", "filter:none"]
TEXTS += ["zstd", "none", "auto", "datetime64[s]", "timedelta64[0ns]", "timedelta64[999999999Y]", "cftime[noleap,0]"]
TEXTS += ["cftime[nonsense,1]", '["a"', '["time", 1]', "AAAA", "====", "A" * 4096, "00" * 8, "7ff8000000000000"]
LENGTHS = [0, 1, 2, 3, 5, 100, 10**4, 10**6, 10**8, 2**31, 2**32, 2**40, 2**48, 2**60, 2**63 - 1]
KEYS = [
    "atlas",
    "format",
    "version",
    "next_id",
    "$",
    "v",
    "s",
    "t",
    "count",
    "start",
    "runs",
    "fill",
    "float64",
    "dims",
]
KEYS += [
    "features",
    "shape",
    "chunk_shape",
    "dtype",
    "key",
    "first",
    "last",
    "rows",
    "shift",
    "array",
    "__class__",
    "0",
    "",
]


def _deep(depth: int, random: Random) -> Raw:
    kinds = [
        ("[", "]", b"\x91"),
        ('{"a":', "}", b"\x81\xa1a"),
        ('{"$":"list","v":[', "]}", b"\x82\xa1$\xa4list\xa1v\x91"),
        ('{"$":"dict","v":[[1,', "]]}", b"\x82\xa1$\xa4dict\xa1v\x91\x92\x01"),
    ]
    opens, closes, packed = random.choice(kinds)
    return Raw((opens * depth + "0" + closes * depth).encode(), packed * depth + b"\x00")


def value_of_any_kind(random: Random, pool: list[Any]) -> Any:
    """Return a value of any kind, one of the rest of the document as likely as a hostile one."""
    match random.randrange(12):
        case 0 | 1 | 2:
            return random.choice(NUMBERS)
        case 3:
            return random.choice([None, True, False, 0.0, -0.0, 0.5, 1e308, 1e19, float(2**63)])
        case 4 | 5:
            return random.choice(TEXTS)
        case 6:
            kind = random.choice([random.choice(NUMBERS), random.choice(TEXTS), [], {}])
            return [copy.deepcopy(kind) for _ in range(random.choice([0, 1, 2, 3, 33, 65, 300, 20_000]))]
        case 7:
            return {random.choice(KEYS): value_of_any_kind(random, pool) for _ in range(random.randrange(4))}
        case 8:
            return _deep(random.choice([10, 62, 64, 70, 300, 500, 900, 1010, 1023, 1024, 5000, 100_000]), random)
        case 9:
            return tagged_value(random)
        case _:
            return copy.deepcopy(random.choice(pool))


def tagged_value(random: Random) -> dict[str, Any]:
    """Return an attribute value that may be none."""
    tags = ["none", "float", "int", "bytes", "time", "list", "tuple", "dict", "np", "npstr", "array", "text"]
    tag = random.choice([*tags, "date", "clock", "datetime", "duration", "pd"])
    value: dict[str, Any] = {"$": tag}
    if random.random() < 0.9:
        value["v"] = random.choice([*TEXTS, 0, 2**63, [], [[0, 0]], [[[], 0]], ["a"], [{"$": tag, "v": []}] * 3])
    if tag in {"np", "array"}:
        value["t"] = random.choice(
            ["<f8", "<i2", "<M8[999999999Y]", "<m8", "<M8[s]", "|S1", "<U1", "|b1", "|O", "<f2", 8]
        )
    if tag in {"date", "clock", "datetime", "duration", "pd"}:
        value["v"] = random.choice(
            [value.get("v"), "2000-01-02", "03:04:05", "9999-12-31T23:59:59", [1, 2, 3], [10**9, 0, 0], -(2**63), 2**62]
        )
    if tag in {"clock", "datetime", "pd"}:
        value["z"] = random.choice([[], [], [0], [86_400_000_000], [-86_399_999_999, "x"], [2**63], ["UTC"], None])
    if tag == "pd":
        value["t"] = random.choice(["datetime64[ns]", "datetime64[s]", "timedelta64[ms]", "timedelta64[0ns]", "<M8[s]"])
    if tag in {"array", "text"}:
        value["s"] = random.choice(
            [[0], [1], [2, 3], [2**31, 2**32, 0], [0, 2**63], [1] * 33, [1] * 65, [-1], [2**62], []]
        )
    if random.random() < 0.3:  # many of them within each other
        for _ in range(random.choice([5, 62, 64, 66])):
            value = {"$": "list", "v": [value]}
    return value
