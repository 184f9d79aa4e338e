from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine.spill import Spill


def octets(text):
    return np.frombuffer(text, np.uint8).copy()


def read(spill, offset, length):
    out = np.zeros(length + 2, np.uint8)
    spill.read_into(np.array([offset]), np.array([length]), out, np.array([1]))
    assert out[0] == out[-1] == 0
    return out[1:-1].tobytes()


@given(st.lists(st.binary(min_size=0, max_size=50) | st.none(), max_size=12), st.data())
def test_every_range_comes_back_wherever_it_lies(steps, data):
    spill = Spill(None)
    whole = b""
    for step in steps:
        if step is None:
            spill.to_disk()
            assert spill.in_memory == 0
        else:
            assert spill.append(octets(step)) == len(whole)
            whole += step
        assert spill.size == len(whole)
    for _ in range(3):
        begin = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(0, len(whole) - begin))
        assert read(spill, begin, length) == whole[begin : begin + length]
        assert (
            b"".join(part.tobytes() for part in spill.stretch(begin, begin + length)) == whole[begin : begin + length]
        )
    spill.close()
    assert (spill.size, spill.in_memory) == (0, 0)


def test_several_ranges_at_once():
    spill = Spill(None)
    spill.append(octets(b"abcdef"))
    spill.to_disk()
    spill.append(octets(b"ghij"))
    out = np.zeros(7, np.uint8)
    spill.read_into(np.array([4, 0]), np.array([4, 2]), out, np.array([3, 0]))
    assert out.tobytes() == b"ab\0efgh"
    spill.close()


def test_the_file_has_no_name(tmp_path):
    spill = Spill(tmp_path)
    spill.append(octets(b"abc"))
    spill.to_disk()
    assert list(tmp_path.iterdir()) == []
    assert read(spill, 0, 3) == b"abc"
    spill.close()


def test_a_full_disk_loses_nothing(tmp_path, caplog, monkeypatch):
    spill = Spill(tmp_path)
    spill.append(octets(b"abc"))
    spill.to_disk()
    spill.append(octets(b"def"))

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[:1])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    file = spill._file
    spill._file = Full(file)
    with caplog.at_level(logging.WARNING, "atlas"):
        spill.to_disk()
    assert "cannot spill" in caplog.text
    assert spill.in_memory == 3
    assert read(spill, 0, 6) == b"abcdef"
    spill._file = file
    spill.to_disk()
    assert spill.in_memory == 0
    assert read(spill, 0, 6) == b"abcdef"
    spill.close()


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path, caplog):
    spill = Spill(tmp_path / "missing")
    spill.append(octets(b"abc"))
    with caplog.at_level(logging.WARNING, "atlas"):
        spill.to_disk()
    assert "cannot spill" in caplog.text
    assert read(spill, 0, 3) == b"abc"


def test_a_file_cut_short_is_an_error_and_no_endless_loop(tmp_path):
    spill = Spill(tmp_path)
    spill.append(octets(b"abc"))
    spill.to_disk()
    spill._file.truncate(1)
    with pytest.raises(OSError, match="cut short"):
        read(spill, 0, 3)
    spill.close()
