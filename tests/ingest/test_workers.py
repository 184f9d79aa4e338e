"""Processes that read files: what they return, and how they crash, hang, are stopped and end."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import netCDF4
import numpy as np
import pytest
import xarray as xr

import atlas
from atlas.ingest.provenance import fingerprint
from atlas.ingest.reading import ReadOptions, read_file
from atlas.ingest.workers import ReadError, Worker

OPTIONS = ReadOptions((), raw=False, drop_unsupported=False)


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "a.nc", 1)


@pytest.fixture
def fifo(tmp_path):
    """A file whose reader waits until there is something to read."""
    os.mkfifo(tmp_path / "fifo.nc")
    return tmp_path / "fifo.nc"


def written(path, first):
    xr.Dataset({"t": ("x", np.arange(first, first + 4.0))}, attrs={"first": first}).to_netcdf(path)
    return path


def read(worker, path):
    return worker.call("file", path, OPTIONS)


@pytest.fixture(scope="module")
def worker():
    with Worker(60) as one:
        yield one


@contextmanager
def hanging(worker, fifo):
    """A thread in which the process of a worker waits for a FIFO, and what the call returns or raises."""
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(read, worker, fifo)
        wait_until(lambda: is_waited_for(fifo))
        yield call


def is_waited_for(fifo):
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # no reader
        return False
    return True


def wait_until(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


class TestAnswers:
    def test_they_are_what_a_call_in_this_process_returns(self, worker, file):
        found, wanted = read(worker, file), read_file(file, OPTIONS)
        xr.testing.assert_identical(found.contents.variables["t"], wanted.contents.variables["t"].to_variable())
        assert found.contents.encoding == wanted.contents.encoding
        # A NaN equals none.
        assert str(found.contents.variables["t"].encoding) == str(wanted.contents.variables["t"].encoding)
        assert (found.fingerprint, found.order, found.contents.coords) == (wanted.fingerprint, ["t"], frozenset())
        assert (found.dims, found.variables, found.large) == (frozenset("x"), frozenset("t"), {})
        block = worker.call("block", file, OPTIONS, None, fingerprint(file, digest=False), (), (), "t", (slice(1, 3),))
        np.testing.assert_array_equal(block, [2.0, 3.0])

    def test_one_process_reads_file_after_file(self, worker, tmp_path):
        process = None
        for first in range(20):
            path = written(tmp_path / f"{first}.nc", first)
            assert read(worker, path).contents.attrs["first"] == first
            assert process in {None, worker._process.pid}
            process = worker._process.pid

    def test_threads_may_share_one(self, worker, tmp_path):
        paths = [written(tmp_path / f"{first}.nc", first) for first in range(24)]
        (tmp_path / "no.nc").write_bytes(b"no NetCDF")

        def first_of(path):
            try:
                return int(read(worker, path).contents.variables["t"][0])
            except ReadError:
                return None

        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(first_of, [*paths, tmp_path / "no.nc", *paths]))
        assert found == [*range(24), None, *range(24)]


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("none.nc", r"\[Errno 2\] No such file or directory: '.*/none\.nc'"),
            ("folder.nc", r"\[Errno 21\] Is a directory: '.*/folder\.nc'"),
            ("text.nc", r"\[Errno -51\] NetCDF: Unknown file format: '.*/text\.nc'"),
            ("cut.nc", r"cut\.nc has \d+ bytes and its header says \d+: it was cut short, .* fetch it again"),
            ("groups.nc", r"groups\.nc has the group g; only files whose variables are all in the root .*"),
        ],
    )
    def test_those_of_files_arrive_with_their_text(self, worker, tmp_path, name, said):
        (tmp_path / "folder.nc").mkdir()
        (tmp_path / "text.nc").write_text("no NetCDF")
        xr.Dataset({"a": ("x", [1, 2])}).to_netcdf(tmp_path / "cut.nc", format="NETCDF3_CLASSIC")
        (tmp_path / "cut.nc").write_bytes((tmp_path / "cut.nc").read_bytes()[:-8])
        with netCDF4.Dataset(tmp_path / "groups.nc", "w") as made:
            made.createGroup("g")
        process = worker._process and worker._process.pid
        with pytest.raises(ReadError, match=f"^{said}$"):
            read(worker, tmp_path / name)
        assert process in {None, worker._process.pid}

    def test_those_of_other_kinds_say_their_kind(self, worker, file):
        with pytest.raises(ReadError, match=r"^KeyError: 'none'$"):
            worker.call("block", file, OPTIONS, None, fingerprint(file, digest=False), (), (), "none", (slice(1),))
        with pytest.raises(ReadError, match=r"^TypeError: .* missing 1 required positional argument: 'options'$"):
            worker.call("file", file)
        with pytest.raises(ReadError, match=r"^KeyError: 'write'$"):
            worker.call("write", file)
        assert isinstance(ReadError(""), atlas.errors.AtlasError)

    def test_what_does_not_fit_in_memory(self, worker, tmp_path):
        with netCDF4.Dataset(tmp_path / "huge.nc", "w") as made:
            made.createDimension("x", 1 << 44)
            made.createVariable("a", "i1", ("x",), chunksizes=(1 << 20,))  # unwritten chunks take no place
        with pytest.raises(ReadError, match=r"^it does not fit in memory$"):
            worker.call("file", tmp_path / "huge.nc", ReadOptions((), False, False, large_bytes=1 << 50))

    def test_a_process_that_cannot_be_started(self, file, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with Worker(60) as one, pytest.raises(ReadError, match=r"^no process could be begun to read it: .*nowhere"):
            read(one, file)

    def test_a_process_that_ends_as_it_starts(self, file, monkeypatch, tmp_path, capfd):
        (tmp_path / "xarray.py").write_text("raise SystemExit(3)")
        monkeypatch.syspath_prepend(tmp_path)
        with Worker(60) as one, pytest.raises(ReadError, match=r"^the process that read it ended: exit code 3$"):
            read(one, file)


class TestCrashes:
    @pytest.mark.parametrize(
        ("sent", "said"),
        [
            (signal.SIGSEGV, "SIGSEGV, as a damaged file may make it"),
            (signal.SIGKILL, "SIGKILL; it may have run out of memory"),
            (35, "signal 35, as a damaged file may make it"),
        ],
    )
    def test_a_crash_costs_the_file_that_is_read_and_no_other(self, worker, file, fifo, sent, said):
        if sys.platform == "darwin" and sent == 35:
            pytest.skip("has no signal without a name")
        with hanging(worker, fifo) as call:
            os.kill(worker._process.pid, sent)
            with pytest.raises(ReadError, match=f"^the process that read it ended: {said}$"):
                call.result()
        assert read(worker, file).contents.attrs["first"] == 1

    def test_a_process_that_ends_between_two_files_costs_none(self, worker, file):
        read(worker, file)
        process = worker._process
        process.kill()
        process.wait()
        assert read(worker, file).contents.attrs["first"] == 1
        assert worker._process.pid != process.pid

    def test_an_interrupt_of_a_call_loses_no_answer_to_the_next(self, worker, file, fifo, tmp_path, monkeypatch):
        def interrupt(*_):
            monkeypatch.undo()
            raise KeyboardInterrupt

        read(worker, file)
        monkeypatch.setattr(worker, "_waiting", SimpleNamespace(poll=interrupt))
        with pytest.raises(KeyboardInterrupt):
            read(worker, written(tmp_path / "b.nc", 7))
        assert read(worker, file).contents.attrs["first"] == 1


class TestTimes:
    def test_a_file_that_takes_longer_than_its_time_is_stopped_and_the_next_one_is_read(self, file, fifo):
        with Worker(0.3) as one:
            for _ in range(2):
                begun = time.monotonic()
                with pytest.raises(ReadError, match=r"^reading it took longer than 0\.3 s and was stopped$"):
                    read(one, fifo)
                assert time.monotonic() - begun < 20
            one._seconds = 60
            assert read(one, file).contents.attrs["first"] == 1

    def test_the_start_of_a_process_is_no_time_of_a_file(self, tmp_path, file, monkeypatch):
        (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(1.8)")
        monkeypatch.syspath_prepend(tmp_path)
        with Worker(1.5) as one:
            assert read(one, file).contents.attrs["first"] == 1

    @pytest.mark.parametrize("seconds", [1e9, 1e300, math.inf])
    def test_times_without_end(self, worker, file, seconds, monkeypatch):
        monkeypatch.setattr(worker, "_seconds", seconds)
        assert read(worker, file).contents.attrs["first"] == 1


def test_what_is_printed_in_the_process_is_no_answer(file, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            import os, sys
            def show(event, arguments):
                if event == "open" and str(arguments[0]) == {str(file)!r}:
                    print("opened", arguments[0], flush=True)
                    os.write(1, b"as the C library prints")
                    sys.stdout.write("not flushed")
            print("started", flush=True)
            sys.addaudithook(show)
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    read_end, write_end = os.pipe()
    stderr = os.dup(2)
    os.dup2(write_end, 2)
    try:
        with Worker(60) as one:
            assert [read(one, file).contents.attrs["first"] for _ in range(3)] == [1, 1, 1]
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write_end)
    with os.fdopen(read_end, "rb") as printed:
        said = printed.read().decode()
    assert said.count(f"opened {file}") == said.count("as the C library prints") >= 3


def test_modules_come_from_where_this_process_has_them(file, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "xarray.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Worker(60) as one:
        assert read(one, file).contents.attrs["first"] == 1


class TestEnds:
    def test_leaving_ends_the_process_at_once_also_while_it_reads(self, file, fifo):
        with Worker(600) as one:
            read(one, file)
            with hanging(one, fifo) as call:
                process, begun = one._process, time.monotonic()
                one.__exit__(None, None, None)
                assert time.monotonic() - begun < 10
                with pytest.raises(ReadError, match=r"^the process that read it ended: SIGKILL"):
                    call.result()
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
        with pytest.raises(ReadError, match=r"^reading was stopped$"):
            read(one, file)

    def test_one_that_read_nothing_has_no_process(self):
        with Worker(1) as one:
            assert one._process is None

    @pytest.mark.parametrize("name", ["a.nc", "fifo.nc"])
    def test_it_ends_with_its_parent_also_while_it_reads(self, file, fifo, name):
        script = f"""
            import sys, time
            from pathlib import Path
            from atlas.ingest.reading import ReadOptions
            from atlas.ingest.workers import Worker
            one, options = Worker(600), ReadOptions((), False, False)
            one.call("file", Path({str(file)!r}), options)
            print(one._process.pid, flush=True)
            one.call("file", Path({str(file.parent / name)!r}), options)
            print("read", flush=True)
            time.sleep(600)
        """
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", textwrap.dedent(script)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment, start_new_session=True) as parent:
            process = int(parent.stdout.readline())
            if name == "fifo.nc":
                wait_until(lambda: is_waited_for(fifo))
            else:
                assert parent.stdout.readline() == b"read\n"
            os.kill(process, 0)
            parent.kill()
            # The stderr of both: it ends once both have.
            assert parent.communicate(timeout=30)[1] == b""


def test_processes_begin_in_threads_that_end(file):
    """A process outlives the thread that began it."""
    with Worker(60) as one:
        thread = threading.Thread(target=read, args=(one, file))
        thread.start()
        thread.join()
        process = one._process.pid
        assert read(one, file).contents.attrs["first"] == 1
        assert one._process.pid == process


class TestManyCalls:
    """One request for several files."""

    def calls(self, *paths):
        return [(path, OPTIONS) for path in paths]

    def test_each_has_its_answer_in_their_order(self, worker, tmp_path):
        paths = [written(tmp_path / f"{first}.nc", first) for first in range(20)]
        paths[7].write_text("no NetCDF")
        answers = worker.call_each("file", self.calls(*paths))
        assert isinstance(answers.pop(7), ReadError)
        assert [answer.contents.attrs["first"] for answer in answers] == [*range(7), *range(8, 20)]

    def test_one_that_ends_the_process_or_hangs_costs_none_of_the_others(self, tmp_path, fifo):
        first, last = written(tmp_path / "1.nc", 1), written(tmp_path / "2.nc", 2)
        with Worker(5) as one:
            read(one, first)  # the process has begun
            answers = one.call_each("file", self.calls(first, fifo, last))
            assert str(answers[1]) == "reading it took longer than 5 s and was stopped"
            assert [answers[at].contents.attrs["first"] for at in (0, 2)] == [1, 2]

    def test_a_process_that_is_killed_within_them(self, tmp_path, fifo):
        paths = [written(tmp_path / "1.nc", 1), fifo, written(tmp_path / "2.nc", 2)]
        with Worker(60) as one, ThreadPoolExecutor(1) as threads:
            call = threads.submit(one.call_each, "file", self.calls(*paths))
            wait_until(lambda: is_waited_for(fifo))
            one._process.kill()
            answers = call.result()
        assert str(answers[1]) == "the process that read it ended: SIGKILL; it may have run out of memory"
        assert [answers[at].contents.attrs["first"] for at in (0, 2)] == [1, 2]

    def test_leaving_ends_them(self, tmp_path, fifo):
        paths = [written(tmp_path / "1.nc", 1), fifo, written(tmp_path / "2.nc", 2)]
        with ThreadPoolExecutor(1) as threads:
            with Worker(60) as one:
                call = threads.submit(one.call_each, "file", self.calls(*paths))
                wait_until(lambda: is_waited_for(fifo))
            answers = call.result()
        assert answers[0].contents.attrs["first"] == 1
        assert str(answers[2]) == "reading was stopped"

    def test_answers_that_take_much_memory_leave_out_the_others_and_the_next_call_is_answered(self, worker, tmp_path):
        paths = []
        for at in range(4):
            paths.append(tmp_path / f"{at}.nc")
            cells = xr.Dataset({"t": ("x", np.zeros(700_000))}, attrs={"first": at})
            cells.to_netcdf(paths[-1], encoding={"t": {"zlib": True}})
            assert paths[-1].stat().st_size < 100_000
        answers = worker.call_each("file", self.calls(*paths))
        assert [answer.contents.attrs["first"] for answer in answers] == [0, 1]
        assert read(worker, paths[3]).contents.attrs["first"] == 3
