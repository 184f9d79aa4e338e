"""Native and Python codecs, compiled and plain kernels: the same values, in files that each can read."""

from __future__ import annotations

import pytest

from tests.api.subprocesses import run_python

WRITE = """
    import sys, numpy as np, atlas
    from tests.api.samples import DTYPES, make_cells, put
    for codec in ("zstd", "lz4", "none"):
        for chosen in ("none", "byteshuffle", "bitshuffle", "auto"):
            with atlas.Atlas.create(f"{sys.argv[1]}/{codec}-{chosen}", codec, filter=chosen) as store:
                view = store.create_dataset("d")
                for seed, dtype in enumerate(DTYPES):
                    put(view, dtype, make_cells(dtype, (6, 9), seed), dtype, (4, 5))
    print("written")
"""
READ = """
    import sys, numpy as np, atlas
    from pathlib import Path
    from tests.api.samples import DTYPES, make_cells
    from tests.model import identical
    stores = sorted(Path(sys.argv[1]).iterdir())
    for path in stores:
        store = atlas.Atlas.open(path)
        view = store.open_dataset("d")
        for seed, dtype in enumerate(DTYPES):
            cells = make_cells(dtype, (6, 9), seed)
            assert identical(view.read_array(dtype), cells), (path, dtype)
            assert identical(view.read_array(dtype, [1, 2], [4, 5]), cells[1:5, 2:7].copy()), (path, dtype)
            assert store.read_array_across_stacked(dtype, ["d", "d"]).shape == (2, 6, 9)
    print(len(stores), sorted(map(repr, view.array_stats("float32").values())))
"""
WAYS = {
    "native": {"ATLAS_CODECS": "native"},
    "python": {"ATLAS_CODECS": "python"},
    "interpreted": {"NUMBA_DISABLE_JIT": "1", "ATLAS_CODECS": ""},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folders = {way: tmp_path_factory.mktemp(way) for way in WAYS}
    for way, folder in folders.items():
        assert run_python(WRITE, folder, **WAYS[way]) == "written"
    return folders


@pytest.mark.parametrize("reader", WAYS)
def test_each_way_reads_what_the_others_wrote(written, reader):
    answers = {run_python(READ, folder, **WAYS[reader]) for folder in written.values()}
    assert len(answers) == 1
    assert answers.pop().startswith("12 ")


def test_an_unknown_way_is_refused():
    with pytest.raises(AssertionError, match="ATLAS_CODECS must be"):
        run_python("import tempfile, atlas; atlas.Atlas.create(tempfile.mkdtemp() + '/s')", ATLAS_CODECS="rust")
