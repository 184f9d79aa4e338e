"""What is timed, in the order in which it is: reads find what was written, and what changes a store comes last."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OPERATIONS", "Operation"]


@dataclass(frozen=True)
class Operation:
    """A line of the tables."""

    title: str
    workloads: tuple[str, ...] = ()
    """Those it is measured on, where the others would tell nothing more; empty for all."""
    once: bool = False
    """Whether the first run is the only one, and counts."""

    def on(self, workload: str) -> bool:
        return not self.workloads or workload in self.workloads


OPERATIONS = {
    "write": Operation("write all, flush"),
    "write_each": Operation("write all dataset by dataset, flush"),
    "write_unsynced": Operation("write all, flush, nothing synchronised", ("profile",)),
    "hash_written": Operation("checksums of what was written", ("profile",)),
    "write_dask": Operation("write 1 GiB of dask blocks of 4 MiB, flush", ("gridded",)),
    "open": Operation("open"),
    "open_slice": Operation("open + slice of all"),
    "slice": Operation("slice of all, warm handle"),
    "slice_lz4": Operation("slice of all, warm handle, codec lz4", ("profile", "gridded")),
    "hash_read": Operation("checksums of the blocks of that slice", ("profile",)),
    "read_plain": Operation("first variable of all, codec none", ("profile", "gridded")),
    "to_xarray_many": Operation("to_xarray_many"),
    "read_one": Operation("read_array of one"),
    "read_often": Operation("read_array of one, 1,000 times", ("sensors", "tiny")),
    "to_xarray": Operation("to_xarray of one, loaded"),
    "lazy": Operation("to_xarray of one of 1,000 chunks, lazy", ("sensors",)),
    "array_stats": Operation("array_stats of all"),
    "imports": Operation("import in a new process", ("sensors",)),
    "first_read_empty": Operation("import + first stacked read, empty JIT cache", ("sensors",), once=True),
    "first_read": Operation("import + first stacked read", ("sensors",)),
    "append": Operation("append one, flush"),
    "compact": Operation("compact, every other deleted"),
}
