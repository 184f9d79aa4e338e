"""What is timed, in order: writes first, then reads, then operations that change the store."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OPERATIONS", "Operation"]


@dataclass(frozen=True)
class Operation:
    """One operation: a row of the tables."""

    title: str
    workloads: tuple[str, ...] = ()
    """Workloads that it is measured on; empty for all."""
    once: bool = False
    """Whether it runs only once, and that run counts."""
    times: int = 1
    """Factor on the number of runs, for small differences."""
    cost: bool = False
    """Whether it measures what safety costs us; no peer does it, and it has its own table."""

    def on(self, workload: str) -> bool:
        return not self.workloads or workload in self.workloads


OPERATIONS = {
    "write": Operation("write all, flush"),
    "write_unsynced": Operation("write all, flush, `durable=False`", ("profile", "gridded")),
    "write_each": Operation("write all dataset by dataset, flush"),
    "write_even": Operation("write as many cells in rows of one length, flush", ("ragged",)),
    "write_dask": Operation("write 1 GiB of dask blocks of 4 MiB, flush", ("gridded",)),
    "open": Operation("open"),
    "open_slice": Operation("open + slice of all"),
    "slice": Operation("slice of all, warm handle"),
    "read_all": Operation("all of all, warm handle"),
    "slice_lz4": Operation("slice of all, warm handle, codec lz4", ("profile", "gridded")),
    "read_plain": Operation("first variable of all, codec none", ("profile", "gridded")),
    "to_xarray_many": Operation("to_xarray_many"),
    "read_one": Operation("read_array of one"),
    "read_often": Operation("read_array of one, 1,000 times", ("sensors", "tiny")),
    "boxes": Operation("slice of one dataset after another, warm handle"),
    "small_chunks": Operation("1,000 chunks of 256 bytes one after another, warm handle", ("sensors",)),
    "dask_first": Operation("dask mean of 125 MB, first read", ("gridded",)),
    "dask_mean": Operation("dask mean of 125 MB, third read", ("gridded",)),
    "dask_sum": Operation("dask sum of 125 MB, third read", ("gridded",)),
    "dask_rechunk": Operation("dask rechunk of 125 MB, third read", ("gridded",)),
    "to_xarray": Operation("to_xarray of one, loaded"),
    "lazy": Operation("to_xarray of one of 1,000 chunks, lazy", ("sensors",)),
    "array_stats": Operation("array_stats of all"),
    "imports": Operation("import in a new process", ("sensors",)),
    "first_read_empty": Operation("import + first stacked read, empty JIT cache", ("sensors",), once=True),
    "first_read": Operation("import + first stacked read", ("sensors",)),
    "cost_write": Operation("write all, flush", ("profile",), times=5, cost=True),
    "cost_slice": Operation("slice of all, warm handle", ("profile",), times=5, cost=True),
    "cost_read": Operation("all of all, warm handle", ("profile",), times=5, cost=True),
    "open_flat": Operation("open + values and row sizes of all", ("ragged",)),
    "read_flat": Operation("values and row sizes of all, warm handle", ("ragged",)),
    "read_list": Operation("list of all, warm handle", ("ragged",)),
    "part_flat": Operation("values and row sizes of every 20th, warm handle", ("ragged",)),
    "part_list": Operation("list of every 20th, warm handle", ("ragged",)),
    "in_turn": Operation("read_array of 1,000, one after another", ("ragged",)),
    "first_list": Operation("list of the same 1,000", ("ragged",)),
    "append": Operation("append one, flush"),
    "compact": Operation("compact, every other deleted"),
}
