from __future__ import annotations

import logging
import os
import tempfile
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.write.spill import Spill


def opener(folder):
    return lambda: tempfile.TemporaryFile(dir=folder, buffering=0)


def octets(text):
    return np.frombuffer(text, np.uint8).copy()


def read(spill, offset, length):
    out = np.zeros(length + 2, np.uint8)
    spill.read_into(np.array([offset]), np.array([length]), out, np.array([1]))
    assert out[0] == out[-1] == 0
    return out[1:-1].tobytes()


@given(st.lists(st.binary(min_size=0, max_size=50) | st.none(), max_size=12), st.data())
def test_every_range_comes_back_wherever_it_lies(steps, data):
    spill = Spill(opener(None))
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
            b"".join(part.tobytes() for part in spill.read_range(begin, begin + length))
            == whole[begin : begin + length]
        )


def test_several_ranges_at_once():
    spill = Spill(opener(None))
    spill.append(octets(b"abcdef"))
    spill.to_disk()
    spill.append(octets(b"ghij"))
    out = np.zeros(7, np.uint8)
    spill.read_into(np.array([4, 0]), np.array([4, 2]), out, np.array([3, 0]))
    assert out.tobytes() == b"ab\0efgh"


def test_the_file_has_no_name(tmp_path):
    spill = Spill(opener(tmp_path))
    spill.append(octets(b"abc"))
    spill.to_disk()
    assert read(spill, 0, 3) == b"abc"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_loses_nothing(tmp_path, caplog, monkeypatch):
    spill = Spill(opener(tmp_path))
    spill.append(octets(b"abc"))
    spill.to_disk()
    spill.append(octets(b"def"))

    original = os.pwrite

    def fill(descriptor, view, offset):
        original(descriptor, view[:1], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patches, caplog.at_level(logging.WARNING, "atlas"):
        patches.setattr(os, "pwrite", fill)
        spill.to_disk()
        spill.append(octets(b"ghi"))
        assert read(spill, 0, 9) == b"abcdefghi"
        assert spill.hand_over(b"tail", lambda file: True) is False
        assert "cannot spill" in caplog.text
        assert spill.in_memory == 6
        assert read(spill, 0, 9) == b"abcdefghi"
    spill.to_disk()
    assert spill.in_memory == 0
    assert read(spill, 0, 9) == b"abcdefghi"


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path, caplog):
    spill = Spill(opener(tmp_path / "missing"))
    spill.append(octets(b"abc"))
    with caplog.at_level(logging.WARNING, "atlas"):
        spill.to_disk()
    assert "cannot spill" in caplog.text
    assert read(spill, 0, 3) == b"abc"


def test_a_file_cut_short_is_an_error_and_no_endless_loop(tmp_path):
    spill = Spill(opener(tmp_path))
    spill.append(octets(b"abc"))
    spill.to_disk()
    assert read(spill, 0, 3) == b"abc"
    assert spill.is_spilled(0)  # waits for it
    spill._file.file.truncate(1)
    with pytest.raises(OSError, match="cut short"):
        read(spill, 0, 3)


def content(file):
    return os.pread(file.fileno(), 100, 0)


def test_the_file_given_away_is_whole_and_not_written_to_again(tmp_path):
    spill = Spill(opener(tmp_path), b"head")
    assert spill.append(octets(b"abc")) == 4
    taken = []

    def take(file):
        taken.append(os.dup(file.fileno()))
        return True

    assert spill.hand_over(b"tail", take) is False  # all of it is in memory still
    spill.to_disk()
    spill.append(octets(b"def"))
    assert spill.hand_over(b"tail", take)
    (given,) = taken
    assert os.pread(given, 100, 0) == b"headabcdeftail"
    assert spill.hand_over(b"tail", take) is False
    spill.append(octets(b"ghi"))
    spill.to_disk()
    assert read(spill, 4, 9) == b"abcdefghi"
    assert os.pread(given, 100, 0) == b"headabcdeftail"
    assert spill.hand_over(b"end", take)
    assert os.pread(taken[1], 100, 0) == b"headabcdefghiend"
    for descriptor in taken:
        os.close(descriptor)


def test_a_file_that_nobody_takes_is_written_on(tmp_path):
    spill = Spill(opener(tmp_path), b"head")
    spill.append(octets(b"abc"))
    spill.to_disk()
    seen = []
    assert spill.hand_over(b"a long tail", lambda file: seen.append(content(file))) is None
    spill.append(octets(b"def"))
    spill.to_disk()
    assert spill.hand_over(b"tail", lambda file: seen.append(content(file)) or True)
    assert seen == [b"headabca long tail", b"headabcdeftail"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_what_was_being_spilled(tmp_path, monkeypatch):
    began, go = threading.Event(), threading.Event()
    original = os.pwrite

    def slow(descriptor, view, offset):
        began.set()
        go.wait()
        return original(descriptor, view, offset)

    spill = Spill(opener(tmp_path))
    monkeypatch.setattr(os, "pwrite", slow)
    spill.append(octets(b"abc"))
    spill.to_disk()
    began.wait()
    child = os.fork()
    if child == 0:
        os._exit(read(spill, 0, 3) != b"abc")
    assert os.waitpid(child, 0)[1] == 0
    go.set()
    assert read(spill, 0, 3) == b"abc"
