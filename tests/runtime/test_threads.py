from __future__ import annotations

import ast
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atlas.errors import InvalidValueError
from atlas.runtime import threads as runtime_threads
from atlas.runtime.threads import IO_THREADS, run_all, run_behind, run_io, thread_count
from tests.api.subprocesses import run_python


@pytest.fixture(params=["1", "2", "5"])
def threads(request, monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", request.param)
    return int(request.param)


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", " 3 ")
    assert thread_count() == 3
    for unset in ("", "  "):
        monkeypatch.setenv("ATLAS_NUM_THREADS", unset)
        assert 1 <= thread_count() <= os.cpu_count()
    monkeypatch.delenv("ATLAS_NUM_THREADS")
    assert 1 <= thread_count() <= os.cpu_count()


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_threads_that_is_none(monkeypatch, text):
    monkeypatch.setenv("ATLAS_NUM_THREADS", text)
    with pytest.raises(InvalidValueError, match="ATLAS_NUM_THREADS is"):
        thread_count()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 300])
def test_results_come_in_the_order_of_the_items(threads, count):
    assert run_all(lambda n: n * n, range(count)) == [n * n for n in range(count)]


def test_tasks_run_side_by_side(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "3")
    together = threading.Barrier(3, timeout=20)
    assert sorted(run_all(lambda _: together.wait(), range(3))) == [0, 1, 2]


def test_the_calling_thread_takes_part(threads):
    me = threading.get_ident()
    seen = run_all(lambda _: (time.sleep(0.002), threading.get_ident())[1], range(40))
    assert me in seen
    assert len(set(seen)) <= threads


def test_nested_calls_end(threads):
    def outer(n):
        return sum(run_all(lambda m: sum(run_all(lambda k: k, range(m))), range(n)))

    for _ in range(20):
        assert run_all(outer, range(8)) == [sum(sum(range(m)) for m in range(n)) for n in range(8)]


def test_many_callers_share_the_pool(threads):
    results = []

    def call():
        results.append(run_all(lambda n: n + 1, range(50)))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert results == [list(range(1, 51))] * 8


def test_an_error_is_raised_when_all_tasks_have_ended(threads):
    running = []

    def task(n):
        running.append(n)
        try:
            time.sleep(0.001)
            if n in {3, 4}:
                raise ValueError(n)
        finally:
            running.remove(n)
        return n

    for _ in range(10):
        with pytest.raises(ValueError, match=r"3|4"):
            run_all(task, range(100))
        assert running == []


def test_of_several_errors_the_first_in_order_is_raised(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "3")
    together = threading.Barrier(3, timeout=20)

    def task(n):
        together.wait()
        raise ValueError(str(n))

    with pytest.raises(ValueError, match=r"^0$"):
        run_all(task, range(3))


def test_no_task_begins_after_an_error(threads):
    begun = []

    def task(n):
        begun.append(n)
        if n == 0:
            raise KeyboardInterrupt
        time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        run_all(task, range(500))
    assert len(begun) < 100


def test_waits_are_made_side_by_side_however_many_processors_there_are(monkeypatch):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "1")
    together = threading.Barrier(IO_THREADS, timeout=20)
    assert sorted(run_io(lambda _: together.wait(), range(IO_THREADS))) == list(range(IO_THREADS))


def test_no_more_waits_are_made_at_once_than_asked_for():
    lock = threading.Lock()
    running, most = 0, 0

    def task(n):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return n

    assert run_io(task, range(30), 3) == list(range(30))
    assert most == 3


def test_work_that_waits_has_threads_enough(threads):
    """Each working thread makes waits of its own, as a read of many batches does."""
    assert run_all(lambda n: sum(run_io(lambda m: m, range(n))), range(40)) == [sum(range(n)) for n in range(40)]


@pytest.mark.parametrize("run", ["run_all", "run_io"])
@pytest.mark.parametrize("before", ["pass", "run(str, range(4))"])
def test_tasks_still_run_when_the_interpreter_exits(run, before):
    """As those of a store that `atexit` closes: no thread begins then."""
    script = f"""
        import atexit
        from atlas.runtime.threads import {run} as run
        atexit.register(lambda: print(run(lambda n: n * n, range(4))))
        {before}
    """
    assert run_python(script, ATLAS_NUM_THREADS="3") == "[0, 1, 4, 9]"


@pytest.mark.parametrize("run", [run_all, run_io])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(monkeypatch, run):
    monkeypatch.setenv("ATLAS_NUM_THREADS", "3")
    run(lambda n: n, range(10))
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if run(lambda n: n, range(10)) == list(range(10)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_task_in_the_background_runs_beside_its_caller():
    begun, go_on = threading.Event(), threading.Event()

    def task():
        begun.set()
        go_on.wait(20)

    thread = run_behind(task)
    assert begun.wait(20)
    assert thread.is_alive()
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_task_in_the_background_runs_in_the_caller_where_no_thread_begins(monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    assert not run_behind(lambda: done.append(threading.get_ident())).is_alive()
    assert done == [threading.get_ident()]


def test_a_store_that_spills_is_flushed_when_the_interpreter_exits(tmp_path):
    script = f"""
        import atexit, atlas, numpy as np
        from atlas.runtime.limits import Limits
        store = atlas.Atlas.create({str(tmp_path / "s")!r}, "none", limits=Limits(encoded_bytes=1000))

        def last():
            view = store.create_dataset("d")
            view.define_array("t", "int64", ["x"], [1 << 18], [1 << 16])
            view.write_array("t", [0], np.arange(1 << 18))
            store.close()
            print(int(atlas.Atlas.open({str(tmp_path / "s")!r}).open_dataset("d").read_array("t").sum()))

        atexit.register(last)
    """
    assert run_python(script) == str(sum(range(1 << 18)))


def test_threads_begin_in_one_module():
    package = Path(runtime_threads.__file__).parents[1]
    starters = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"Thread", "ThreadPoolExecutor"}
    }
    assert starters == {"runtime/threads.py"}


def test_a_thread_of_the_pool_keeps_nothing_of_what_it_has_run(monkeypatch):
    class Item:
        pass

    held = []
    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda pool, work: (held.append(work), submit(pool, work))[1])
    monkeypatch.setenv("ATLAS_NUM_THREADS", "3")
    items = [Item() for _ in range(8)]
    left = weakref.ref(items[5])
    found = run_all(lambda item: item, items)
    assert found == items
    assert held
    del items, found
    assert left() is None
