"""A few hundred damaged and forged stores; and what the campaign stands on: that it would see what it looks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.independent_reader import read_store
from tests.reliability import damage
from tests.reliability.hostile import documents, judging
from tests.reliability.hostile.damaging import Mutant
from tests.reliability.hostile.segments import named_anew
from tests.reliability.hostile.stores import STORES, make_storage, sound

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/statm").exists(), reason="needs Linux")


def test_a_few_hundred_damaged_and_forged_stores_are_read_right_or_refused():
    figures = damage.run(full=False)
    assert figures["mutants"] == damage.QUICK
    assert figures["refused"] > damage.QUICK // 3
    assert figures["forged and read"] > damage.QUICK // 10


@pytest.mark.parametrize("name", STORES)
def test_stores_that_are_taken_apart_and_put_together_are_sound(name):
    """Forged checksums fit: else every forgery would be refused for that alone."""
    origin = sound(name)
    files, trees = dict(origin.files), dict(origin.trees)
    for key in origin.segments:
        segment = origin.segment(key)
        for block in range(segment.blocks):
            segment.sign(block)
        files[key], says = segment.close(segment.index(Random(name)))
        named_anew(files, trees, key, says)
    for key, tree in trees.items():
        if not tree.get("segments"):
            files[key] = documents.encode(key, tree)
    storage = make_storage(files)
    assert read_store(storage.read).keys() == read_store(make_storage(origin.files).read).keys()
    found = judging.observe(storage, [], [], Random(0), share=2.0, most=1000)
    right = judging.observe(make_storage(origin.files), [], [], Random(0), share=2.0, most=1000)
    assert found.seen.items() - right.seen.items() <= {item for item in found.seen.items() if item[0] == "describe"}
    assert found.refused == right.refused


def test_a_value_that_differs_is_seen():
    origin = sound("joined")
    right = judging.expected("joined")[0][1]
    found = judging.Observation(dict(right.seen))
    assert judging._compared(origin, Mutant("bytes damaged", origin.files), found) == "read right"
    found.seen["read day 1/t"] = "another"
    with pytest.raises(judging.Broken, match="other values"):
        judging._compared(origin, Mutant("bytes damaged", origin.files), found)


MISCHIEF = {
    "os.kill(os.getpid(), 11)": ("crashed", "SIGSEGV"),
    "bytearray(2 << 30)": ("failed", "MemoryError"),
    "open('/etc/hostname')": ("failed", "outside of the store"),
    "{}['a']": ("failed", "KeyError"),
    "time.sleep(60)": ("crashed", "seconds"),
}


def test_the_zygote_sees_children_that_crash_stray_hang_or_take_all_memory():
    code = (
        "import os, sys, time, types\n"
        "from tests.reliability.hostile import judging, zygote\n"
        f"does = {list(MISCHIEF)!r}\n"
        "def judge(seed, number, folder):\n"
        "    if number % 2:\n"
        "        exec(does[number // 2])\n"
        "    return 'kind', 'refused'\n"
        "judging.judge, zygote.SECONDS = judge, 4.0\n"
        # What has failed is made again to be named; in a child the kernels for that might have to be compiled.
        "judging.make_mutant = lambda seed, number: (None, types.SimpleNamespace(kind='kind'))\n"
        f"zygote._run(1, range({2 * len(MISCHIEF) + 1}))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    told = {number: (what, why) for number, _, what, why, _ in map(json.loads, done.stdout.splitlines())}
    assert sorted(told) == list(range(2 * len(MISCHIEF) + 1))
    assert {told[number] for number in told if number % 2 == 0} == {("refused", "")}
    for number, (outcome, says) in enumerate(MISCHIEF.values()):
        assert told[2 * number + 1][0] == outcome
        assert says in told[2 * number + 1][1]
