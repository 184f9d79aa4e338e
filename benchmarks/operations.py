"""What is timed, in the order in which it is: reads find what was written, and what changes a store comes last."""

from __future__ import annotations

__all__ = ["OPERATIONS"]

OPERATIONS = {
    "write": "write all, flush",
    "write_each": "write all dataset by dataset, flush",
    "open": "open",
    "open_slice": "open + slice of all",
    "slice": "slice of all, warm handle",
    "to_xarray_many": "to_xarray_many",
    "read_one": "read_array of one",
    "to_xarray": "to_xarray of one, loaded",
    "array_stats": "array_stats of all",
    "first_read_empty": "import + first read, empty JIT cache",
    "first_read": "import + first read",
    "append": "append one, flush",
    "compact": "compact, every other deleted",
}
