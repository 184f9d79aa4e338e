"""Copying boxes out of decoded blocks against the twin that gathers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import kernels
from atlas.kernels import BlockError, copy_boxes
from tests import reference
from tests.kernels.test_gather import COLUMNS, DTYPES, LARGEST, SHAPES, Fleet


def decoded(fleet, lead=3):
    """Return the blocks of a fleet back to back, and where each begins."""
    data = np.frombuffer(b"".join([b"\x5a" * lead, *fleet.blocks]), np.uint8)
    lengths = np.array([len(block) for block in fleet.blocks], np.int64)
    return data, np.cumsum(lengths) - lengths + lead


def wanted(pieces, offset):
    blocks = pieces[kernels.PIECE_BLOCK]
    heads = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1])[: blocks.size])
    rows = blocks[heads]
    return np.array([[*rows, 0], [*offset[rows.clip(0, len(offset) - 1)], 0], [*heads, blocks.size]], np.int64)


def copied(fleet, geo, pieces, out):
    data, offset = decoded(fleet)
    names = wanted(pieces, offset)
    middle = (names.shape[1] - 1) // 2
    copy_boxes(data, fleet.table, names, 0, middle, pieces, geo, out)
    copy_boxes(data, fleet.table, names, middle, names.shape[1] - 1, pieces, geo, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "chunk", "start", "box"), SHAPES)
@pytest.mark.parametrize("pack", [16, 100000])
def test_boxes_of_all_shapes(dtype, shape, chunk, start, box, pack):
    fleet = Fleet(shape, chunk, 3, dtype, pack)
    for datasets in ([0, 1, 2], [2, 0, 2], []):
        geo, pieces = fleet.request(start, box, datasets)
        out, want = (np.zeros((len(datasets), *box), fleet.values.dtype) for _ in range(2))
        reference.gather(fleet.blocks, pieces, geo, want)
        assert copied(fleet, geo, pieces, out).tobytes() == want.tobytes()


@given(st.data())
def test_boxes_of_anything(data):
    ndim = data.draw(st.integers(0, 4))
    shape = [data.draw(st.integers(1, (30, 30, 9, 5, 4)[ndim])) for _ in range(ndim)]
    chunk = [data.draw(st.integers(1, n)) for n in shape]
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    box = [data.draw(st.integers(0, n - s)) for n, s in zip(shape, start, strict=True)]
    fleet = Fleet(shape, chunk, 2, data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from([8, 40, 5000])))
    geo, pieces = fleet.request(start, box, data.draw(st.lists(st.integers(0, 1), max_size=3)))
    targets = int(pieces[kernels.PIECE_TARGET].max(initial=-1)) + 1
    out, want = (np.zeros((targets, *box), fleet.values.dtype) for _ in range(2))
    reference.gather(fleet.blocks, pieces, geo, want)
    assert copied(fleet, geo, pieces, out).tobytes() == want.tobytes()


@pytest.mark.parametrize(
    "values", [{"offset": -1}, {"offset": LARGEST}, {"begin": -1}, {"begin": 1}, {"count": -1}, {"count": LARGEST}]
)
def test_pieces_outside_their_block(values):
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    for name, value in values.items():
        pieces[COLUMNS[name], -1] = value
    data, offset = decoded(fleet)
    names, out = wanted(pieces, offset), np.zeros((2, 18, 22), "f4")
    with pytest.raises(BlockError) as fault:
        copy_boxes(data, fleet.table, names, 0, names.shape[1] - 1, pieces, geo, out)
    assert (fault.value.block, fault.value.reason) == (int(pieces[0, -1]), "offset")
    assert not out.any()


@pytest.mark.parametrize("offset", [-1, 4, LARGEST, -LARGEST])
def test_blocks_outside_of_the_decoded_bytes(offset):
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    data, begin = decoded(fleet)
    names, out = wanted(pieces, begin), np.zeros((2, 18, 22), "f4")
    names[kernels.WANTED_OFFSET, -2] = begin[-1] + offset if offset == 4 else offset
    with pytest.raises(BlockError) as fault:
        copy_boxes(data, fleet.table, names, 0, names.shape[1] - 1, pieces, geo, out)
    assert (fault.value.block, fault.value.reason) == (len(fleet.blocks) - 1, "bounds")
    assert not out.any()


@pytest.mark.parametrize("values", [{"block": -1}, {"block": 99}, {"chunk": 99}, {"target": -1}, {"target": 2}])
def test_requests_for_what_is_not_there(values):
    fleet = Fleet([18, 22], [9, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    for name, value in values.items():
        pieces[COLUMNS[name], -1] = value
    with pytest.raises(ValueError):
        copied(fleet, geo, pieces, np.zeros((2, 18, 22), "f4"))


def test_results_and_ranges_that_do_not_fit():
    fleet = Fleet([18, 22], [18, 22], 2, "f4", 1000)
    geo, pieces = fleet.request([0, 0], [18, 22], [0, 1])
    for out in (np.zeros((2, 18, 21), "f4"), np.zeros(2, "f4"), np.zeros((2, 22, 18), "f4").swapaxes(1, 2)):
        with pytest.raises(ValueError):
            copied(fleet, geo, pieces, out)
    data, offset = decoded(fleet)
    names = wanted(pieces, offset)
    for begin, end in ((-1, 1), (1, 0), (0, names.shape[1])):
        with pytest.raises(ValueError):
            copy_boxes(data, fleet.table, names, begin, end, pieces, geo, np.zeros((2, 18, 22), "f4"))
