"""The options of `Atlas.add_many`: what is refused, before any source is looked at, and in which words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import Atlas
from atlas.errors import InvalidTypeError, InvalidValueError
from atlas.ingest.options import Every, IngestOptions
from atlas.storage import MemoryStorage

UNITS = {
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
    "file": ("files", 1),
    "files": ("files", 1),
    "KiB": ("size", 1024),
    "MiB": ("size", 1024**2),
    "GiB": ("size", 1024**3),
}
FALSE_TEXTS = ["", "5", "min", "5 minutes", "5 Min", "5 kib", "5 MB", "-1 s", "+1 s", "0 s", "0.00 files", "1e3 s"]
FALSE_TEXTS += [".5 s", "1. s", "1,5 h", "1_000 s", "nan s", "inf s", "5 min 3 s", "5; s", "1" * 16 + " s"]


KNOWN = "'error', 'skip', 'replace', 'update'"


@pytest.mark.parametrize(
    ("option", "value", "error", "said"),
    [
        ("if_exists", "new", InvalidValueError, f"if_exists is one of {KNOWN}, not 'new'"),
        ("if_exists", None, InvalidValueError, f"if_exists is one of {KNOWN}, not None"),
        ("if_exists", ["skip"], InvalidValueError, f"if_exists is one of {KNOWN}, not ['skip']"),
        ("on_error", "ignore", InvalidValueError, "on_error is one of 'raise', 'skip', not 'ignore'"),
        ("on_error", True, InvalidValueError, "on_error is one of 'raise', 'skip', not True"),
        ("on_unsupported", "skip", InvalidValueError, "on_unsupported is one of 'raise', 'drop', 'raw', not 'skip'"),
        ("raw", "no", InvalidTypeError, "raw is True or False, not str 'no'"),
        ("resume", 0, InvalidTypeError, "resume is True or False, not int 0"),
        ("workers", 0, InvalidValueError, "workers is a number of processes from 1 on, not 0"),
        ("workers", -2, InvalidValueError, "workers is a number of processes from 1 on, not -2"),
        ("workers", 1.5, InvalidValueError, "workers is a number of processes from 1 on, not 1.5"),
        ("workers", True, InvalidValueError, "workers is a number of processes from 1 on, not True"),
        ("workers", "2", InvalidValueError, "workers is a number of processes from 1 on, not '2'"),
        ("timeout", 0, InvalidValueError, "timeout is a number of seconds above 0, not 0"),
        ("timeout", -1.0, InvalidValueError, "timeout is a number of seconds above 0, not -1.0"),
        ("timeout", math.nan, InvalidValueError, "timeout is a number of seconds above 0, not nan"),
        ("timeout", "5 min", InvalidValueError, "timeout is a number of seconds above 0, not '5 min'"),
        ("timeout", None, InvalidValueError, "timeout is a number of seconds above 0, not None"),
        ("timeout", True, InvalidValueError, "timeout is a number of seconds above 0, not True"),
        ("drop", "t", InvalidTypeError, "drop is a sequence of names, not the text 't'; write ['t']"),
        ("drop", ["t", 5], InvalidTypeError, "drop holds texts, not int 5"),
        ("drop", 5, InvalidTypeError, "drop is a sequence of names, not int 5"),
        ("chunks", 5, InvalidTypeError, "chunks maps dimensions to lengths, such as {'time': 24}, and is 5"),
        ("chunks", [("x", 2)], InvalidTypeError, "chunks maps dimensions to lengths, such as {'time': 24}, and is [("),
        ("chunks", {5: 2}, InvalidTypeError, "chunks maps names of dimensions to lengths, and has 5 for a name"),
        ("chunks", {"x": 0}, InvalidValueError, "chunks has 0 for dimension 'x'; give it 1 or more cells"),
        ("chunks", {"x": -1}, InvalidValueError, "chunks has -1 for dimension 'x'; give it 1 or more cells"),
        ("chunks", {"x": 2.0}, InvalidValueError, "chunks has 2.0 for dimension 'x'; give it 1 or"),
        ("chunks", {"x": True}, InvalidValueError, "chunks has True for dimension 'x'; give it 1 or"),
        ("chunks", {"x": [2, 3]}, InvalidValueError, "chunks has [2, 3] for dimension 'x'; give it 1 or"),
        ("flush_every", 5, InvalidTypeError, "flush_every is a text with a unit, not 5; write '5 min' or '256 MiB'"),
        ("flush_every", None, InvalidTypeError, "flush_every is a text with a unit, not None; write '5 min' or '256"),
        *(
            ("flush_every", text, InvalidValueError, "flush_every is a number above 0 and one of the units s, min, h, ")
            for text in FALSE_TEXTS
        ),
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused_before_sources_are_looked_at(option, value, error, said):
    store = Atlas.create(MemoryStorage())
    with pytest.raises(error) as caught:
        store.add_many("nowhere", **{option: value})
    assert str(caught.value).startswith(said)


def test_a_text_of_false_units_is_quoted_with_what_to_write():
    with pytest.raises(InvalidValueError) as caught:
        Every.parse("5 minutes")
    assert str(caught.value) == (
        "flush_every is a number above 0 and one of the units s, min, h, KiB, MiB, GiB, files, file, not '5 minutes'; "
        "write '5 min', '50 files' or '256 MiB'"
    )


def test_options_that_numpy_gives_count_too():
    options = IngestOptions(chunks={"x": np.int64(5)}, raw=np.True_, resume=np.False_, seconds=np.float64(2))
    assert (options.chunks, bool(options.raw), bool(options.resume)) == ({"x": 5}, True, False)


def test_names_to_drop_may_come_once():
    assert IngestOptions(drop=iter(["a", "b"])).drop == ("a", "b")
    assert IngestOptions(drop=["a"]).drop == ("a",)
    assert IngestOptions().drop == ()


def test_without_options_each_has_its_documented_value():
    assert IngestOptions() == IngestOptions((), None, False, "error", "raise", "raise", True, "5 min", False, 1, 600.0)


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("5 min", Every(seconds=300)),
        ("5min", Every(seconds=300)),
        ("  1.5   h ", Every(seconds=5400)),
        ("0.25 s", Every(seconds=0.25)),
        ("1 file", Every(files=1)),
        ("50 files", Every(files=50)),
        ("0.5 files", Every(files=1)),
        ("256 MiB", Every(size=256 << 20)),
        ("1.5 GiB", Every(size=3 << 29)),
        ("0.0001 KiB", Every(size=1)),
        ("999999999999999 GiB", Every(size=999999999999999 << 30)),
    ],
)
def test_texts_say_seconds_files_or_bytes(text, every):
    assert Every.parse(text) == every


@given(
    st.integers(0, 10**6),
    st.text("0123456789", max_size=3),
    st.sampled_from(sorted(UNITS)),
    st.text(" \t", max_size=3),
    st.text(" \t", max_size=3),
)
def test_every_number_and_unit(whole, digits, unit, around, between):
    number = f"{whole}.{digits}" if digits else str(whole)
    text = f"{around}{number}{between}{unit}{around}"
    if not Fraction(number):
        with pytest.raises(InvalidValueError, match="flush_every is a number above 0"):
            Every.parse(text)
        return
    every = Every.parse(text)
    field, factor = UNITS[unit]
    wanted = Fraction(number) * factor
    assert {name for name in ("seconds", "files", "size") if getattr(every, name)} == {field}
    if field == "seconds":
        assert every.seconds == pytest.approx(float(wanted))
    else:
        assert isinstance(getattr(every, field), int)
        assert abs(getattr(every, field) - max(wanted, 1)) <= 1


@given(st.text(max_size=12) | st.from_regex(r"\s*\d+(\.\d+)?\s*[A-Za-z]+\s*", fullmatch=True))
def test_any_other_text_is_refused(text):
    try:
        every = Every.parse(text)
    except InvalidValueError:
        return
    assert text.split()[-1].lstrip("0123456789.") in UNITS
    assert sum(bool(value) for value in (every.seconds, every.files, every.size)) == 1
