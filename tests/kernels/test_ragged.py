"""Planning the chunks of boxes of many arrays against a twin that looks at every cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels import Boxes, count_chunks, plan_chunks
from tests import reference


@st.composite
def boxes(draw):
    """Arrays of one rank with a box each, whose extents agree but along the first axis."""
    axes = draw(st.integers(1, 3))
    trailing = draw(st.lists(st.integers(0, 4), min_size=axes - 1, max_size=axes - 1))
    found = []
    for _ in range(draw(st.integers(0, 5))):
        extent = [draw(st.integers(0, 6)), *trailing]
        start = [draw(st.integers(0, 4)) for _ in extent]
        shape = [s + e + draw(st.integers(0, 4)) for s, e in zip(start, extent, strict=True)]
        chunk = [draw(st.integers(1, n + 2)) for n in shape]
        found.append(tuple(map(tuple, (shape, chunk, start, extent))))
    return axes, trailing, found


def columns(found, axes):
    return Boxes(*(np.array([box[at] for box in found], np.int64).reshape(-1, axes) for at in range(4)))


@given(boxes())
def test_any_boxes(drawn):
    axes, trailing, found = drawn
    lengths = [box[3][0] for box in found]
    targets = (np.cumsum(lengths, dtype=np.int64) - lengths).astype(np.int64)
    packed = columns(found, axes)
    counts = count_chunks(packed)
    plan = plan_chunks(packed, counts, targets, np.array([sum(lengths), *trailing]))
    expected = reference.plan_chunks(found, targets.tolist())
    assert counts.tolist() == [sum(row[0] == n for row in expected) for n in range(len(found))]
    made = zip(plan.geometry.boxes.transpose(1, 0, 2).tolist(), plan.chunk.tolist(), plan.cells.tolist(), strict=True)
    assert [(tuple(map(tuple, box)), chunk, cells) for box, chunk, cells in made] == [row[1:] for row in expected]
    assert plan.geometry.box.tolist() == [sum(lengths), *trailing]


def test_the_largest_numbers_are_not_exceeded():
    most = 2**63 - 1
    one = Boxes(*(np.array([[n]]) for n in (most, most, most - 5, 5)))
    plan = plan_chunks(one, count_chunks(one), np.array([most - 5]), np.array([most]))
    assert plan.geometry.boxes[:, 0, 0].tolist() == [most, most - 5, 5, most - 5]
    assert (plan.chunk.tolist(), plan.cells.tolist()) == ([0], [most])
    tiny = Boxes(*(np.array([[n]]) for n in (most, 1, 0, most)))
    assert count_chunks(tiny).tolist() == [most]


@pytest.mark.parametrize(
    "wrong",
    [(5, 2, -1, 2), (5, 2, 0, -1), (5, 2, 4, 2), (5, 2, 6, 0), (5, 0, 0, 2), (5, 2, 2**63 - 1, 2**63 - 1)],
)
def test_a_box_that_leaves_its_array_is_refused(wrong):
    packed = Boxes(*(np.array([[good], [bad]]) for good, bad in zip((4, 2, 1, 3), wrong, strict=True)))
    with pytest.raises(ValueError, match="box 1 leaves its array"):
        count_chunks(packed)


@pytest.mark.parametrize(
    ("targets", "counts", "box", "match"),
    [
        ([0, 3], [2, 2], [5, 2], "leaves the result"),
        ([-1, 3], [2, 2], [6, 2], "leaves the result"),
        ([0, 3], [2, 2], [6, 1], "leaves the result"),
        ([0, 3], [2, 1], [6, 2], "do not fit"),
        ([0], [2, 2], [6, 2], "do not fit"),
        ([0, 3], [2, 2], [6], "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(targets, counts, box, match):
    packed = Boxes(*(np.array([row, row]) for row in ([4, 2], [2, 2], [1, 0], [3, 2])))
    assert count_chunks(packed).tolist() == [2, 2]
    with pytest.raises(ValueError, match=match):
        plan_chunks(packed, np.array(counts), np.array(targets), np.array(box))


def test_columns_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="four matrices of one shape"):
        count_chunks(Boxes(*(np.ones((n, 1)) for n in (1, 2, 1, 1))))
    with pytest.raises(ValueError, match="four matrices of one shape"):
        count_chunks(Boxes(*(np.ones((2, 0)) for _ in range(4))))
