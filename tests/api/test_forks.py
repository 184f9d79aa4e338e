"""A handle that both sides of a fork write on with: what one has or commits is never touched by the other."""

from __future__ import annotations

import os
import shutil
import sys
import traceback

import numpy as np
import pytest

import atlas
from atlas.errors import ConflictError

pytestmark = [
    pytest.mark.bulky,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

NOISE = np.random.default_rng(5).integers(0, 2**63, (3, 3 << 20))  # 24 MiB a row: each is spilled when it is written
BEFORE, PARENT, CHILD = NOISE


def write(store, name, values):
    view = store.create_dataset(name)
    view.define_array("t", "int64", ["x"], [len(values)], [1 << 18])
    view.write_array("t", [0], values)


def check(store, **expected):
    assert store.list_datasets() == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(store.open_dataset(name).read_array("t"), values)


class Fork:
    """A child that runs one function after another, each when it is told to."""

    def __init__(self, *steps):
        self._told, tell = os.pipe()
        answer, self._answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                for step in steps:
                    os.read(self._told, 1)
                    step()
                    os.write(self._answer, b".")
                status = 0
            except BaseException:  # noqa: BLE001 - nothing may leave the child but its status
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        os.close(self._told)
        os.close(self._answer)
        self._tell, self._answered = tell, answer

    def step(self):
        os.write(self._tell, b".")
        assert os.read(self._answered, 1) == b".", "the child failed"

    def end(self):
        os.close(self._tell)
        os.close(self._answered)
        assert os.waitpid(self.pid, 0)[1] == 0


@pytest.mark.parametrize("first", ["parent", "child"])
def test_parent_and_child_write_on_and_flush_into_one_store(tmp_path, first):
    place = tmp_path / "s"
    store = atlas.Atlas.create(place)
    write(store, "before", BEFORE)

    def flush(*, wins):
        if wins:
            store.flush()
            return
        with pytest.raises(ConflictError):  # both have made the dataset "before"
            store.flush()

    def flush_in_child():
        flush(wins=first == "child")
        check(store, before=BEFORE, child=CHILD)

    child = Fork(lambda: write(store, "child", CHILD), flush_in_child)
    write(store, "parent", PARENT)
    child.step()
    if first == "child":
        child.step()
        check(store, before=BEFORE, parent=PARENT)
        write(store, "later", CHILD[::-1])
        flush(wins=False)
        check(store, before=BEFORE, parent=PARENT, later=CHILD[::-1])
        check(atlas.Atlas.open(place), before=BEFORE, child=CHILD)
    else:
        flush(wins=True)
        child.step()
        check(atlas.Atlas.open(place), before=BEFORE, parent=PARENT)
        check(store, before=BEFORE, parent=PARENT)
    child.end()


@pytest.mark.parametrize("first", ["parent", "child"])
def test_parent_and_child_write_on_and_flush_into_two_copies_of_a_store(tmp_path, first):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    store = atlas.Atlas.create(ours)
    shutil.copytree(ours, theirs)
    write(store, "before", BEFORE)

    def move():
        store._session.view.storage._root = str(theirs)

    child = Fork(
        move, lambda: write(store, "child", CHILD), store.flush, lambda: check(store, before=BEFORE, child=CHILD)
    )
    child.step()
    if first == "parent":
        write(store, "parent", PARENT)
        store.flush()
    child.step()
    child.step()
    if first == "child":
        write(store, "parent", PARENT)
        store.flush()
    child.step()
    child.end()
    check(atlas.Atlas.open(ours), before=BEFORE, parent=PARENT)
    check(atlas.Atlas.open(theirs), before=BEFORE, child=CHILD)
    check(store, before=BEFORE, parent=PARENT)
