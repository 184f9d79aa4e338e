"""Finds the integers of cells: floats that are decimals, and differences of neighbours, as planes of bytes.

Each cell is compared bit by bit with what a reader will make of its integer: see `integers` for what becomes of those
that differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from atlas.kernels.integers import (
    BASE,
    CORRECTIONS,
    EXCEPTIONS,
    EXPONENT,
    FIELDS,
    INTERVALS,
    MASKS,
    MASKS_AT,
    MAX_MASKS,
    POWER,
    RARE,
    START_BASE,
    STARTS,
    STARTS_AT,
    TAIL_AT,
    WIDTH,
    Views,
    make_floats,
    set_integer_sizes,
    views_of,
)
from atlas.kernels.jit import ONE, ZERO, inner, kernel
from atlas.kernels.layouts import DELTA, I64, U8
from atlas.kernels.memcpy import write_uint
from atlas.kernels.planes import INTERVAL, LENGTH_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from atlas.kernels.jit import Int

__all__ = ["IntegerFilter", "find_exponent", "is_promising"]

_MOST: Final = {4: 2.0**24, 8: 2.0**51}
"""Integers below which floats of so many bytes hold every one: past that, any float would be a decimal. (Those of 8
bytes hold them up to 2 ** 53, of which `_ROUND` rounds a quarter.)"""
_MOST_NEAR: Final = {4: 2.0**20, 8: 2.0**47}
"""Integers below which a float that is no decimal hardly ever is a unit in the last place beside one."""
_FAR = 127
"""The largest correction, in units in the last place."""
_FEW_NEAR = 64
"""Where only one item in so many needs a correction, positions take less."""
_LARGEST: Final = {4: 8, 8: 15}
"""The largest exponents that are tried."""
_TRIED = 64
"""Items on which the exponent is looked for."""
_LOOKED = 1024
"""Items of which the steps are looked at."""
_ENOUGH = 7 / 8
"""The share of them that must be decimals of it."""
_COMMON = 32
"""Items of the same bits from which on a mask takes less than their positions."""
_ROUND = 1.5 * 2**52
"""A float64 below 2 ** 51 is rounded to the nearest integer, halves to even, where this is added and subtracted."""
_SPARE = 128
"""Numbers that a row of the memory of `_filter` has beside one an item."""


Memory: TypeAlias = tuple[I64, Views, I64, U8]
"""`head`, int64 (12,); views, which hold the items and are overwritten; and scratch: int64 (5, items + 128), and uint8
(items,)."""


class IntegerFilter:
    """One of the filters of integers, with memory for blocks of up to `largest` bytes."""

    def __init__(self, filter_: int, itemsize: int, fill: bytes | None, largest: int) -> None:
        self.head = np.empty(FIELDS, np.int64)
        """The head of the block that was filtered last, int64 (12,)."""
        self._filter, self._itemsize = filter_, itemsize
        items = largest // itemsize
        self._views = views_of(largest // 8 + 1)
        self._work = np.empty((5, items + _SPARE), np.int64)
        self._apart = np.empty(items, np.uint8)
        self._missing = fill
        self._fill = int.from_bytes((fill or b"").ljust(8, b"\0"), "little", signed=True), int(fill is not None)

    def apply(self, block: U8, shuffled: U8, sizes: I64) -> bool:
        """Filter a block, uint8, to planes and tail in `shuffled`, of `integers_room` bytes, and fill `sizes`.

        Returns whether that is worth while: not where too few cells are decimals, or their integers take as many bytes.
        """
        size, head = self._itemsize, self.head
        items = block.size // size
        if items == 0 or block.size % size:
            return False
        self._views[5][: block.size] = block
        head[:] = 0
        most = 0.0
        if self._filter != DELTA:
            exponent = find_exponent((self._views[1] if size == 8 else self._views[2])[:items], self._missing)
            if exponent < 0:
                return False
            head[EXPONENT], most = exponent, _MOST[size]
        fill, has_fill = self._fill
        memory = head, self._views, self._work, self._apart
        return bool(_filter(items, self._filter, size, most, fill, has_fill, memory, sizes, shuffled))


def find_exponent(values: NDArray[np.floating[Any]], fill: bytes | None) -> int:
    """The least exponent of which most floats, (items,) of 4 or 8 bytes, of a sample are decimals; -1 for none.

    `fill` is the float that means missing, if there is one.
    """
    sample = values[np.linspace(0, len(values) - 1, min(_TRIED, len(values))).astype(np.int64)]
    sample = sample[np.isfinite(sample) & (sample != 0)]
    if fill is not None:
        sample = sample[sample != np.frombuffer(fill, sample.dtype)[0]]
    size = values.itemsize
    large = np.abs(sample) >= _MOST[size]
    if len(np.unique(sample[large])) <= MAX_MASKS:
        sample = sample[~large]  # values such as 1e20, which mean missing though no fill says so
    exponents = np.arange(_LARGEST[size] + 1)
    with np.errstate(all="ignore"):
        scaled = sample.astype(np.float64) * POWER[exponents, None]
        whole = np.rint(scaled)
        back = whole * (1 / POWER[exponents, None]) if size == 4 else whole / POWER[exponents, None]
        found = back.astype(values.dtype)
        fits = (found == sample) & (np.abs(scaled) < _MOST[size])
        fits |= (np.abs(found - sample) <= np.spacing(np.abs(sample))) & (np.abs(scaled) < _MOST_NEAR[size])
    share = fits.mean(axis=1) if len(sample) else np.ones(1)
    best = int(share.argmax())
    return best if share[best] >= _ENOUGH else -1


def is_promising(raw: U8, start: I64, length: I64, dtype: np.dtype[Any], fill: bytes | None) -> bool:
    """Whether cells of `dtype` in blocks `raw[start:start + length]` all look like decimals, or like integers in steps.

    A look takes less than to filter a few blocks, and much less than to compile what does.
    """
    for begin, size in zip(start.tolist(), length.tolist(), strict=True):
        cells = raw[begin : begin + size - size % dtype.itemsize].view(dtype)
        if len(cells) > 1 and not (find_exponent(cells, fill) >= 0 if dtype.kind == "f" else _has_steps(cells)):
            return False
    return True


def _has_steps(cells: NDArray[Any]) -> bool:
    """Whether most differences of neighbours are at most a quarter of the largest difference of any two."""
    some = cells[:_LOOKED].view(f"i{cells.itemsize}")
    steps = np.diff(some.view(f"u{cells.itemsize}")).view(some.dtype).astype(np.float64)
    return bool(np.median(np.abs(steps)) <= (float(some.max()) - float(some.min())) / 4)


@kernel
def _filter(
    items: Int, filter_: Int, itemsize: Int, most: Any, fill: Int, has_fill: Int, memory: Memory, sizes: I64, out: U8
) -> bool:
    """Filter the items that lie packed in `views` to planes and tail in `out`, of the sizes that `sizes` is left with.

    `head` holds the exponent of decimals; `most`, float64, is what their integers stay below; `fill` has the bits of
    the fill value where `has_fill` is 1. `out` is uint8 of `integers_room` bytes; `sizes`, int64 (257,): see `planes`.

    Returns whether it is worth while: not where too few cells are decimals, or their integers take as many bytes.
    """
    head, views, work, apart = memory
    bits, integers, steps, few, corrections = work[0], work[1], work[2], work[3], work[4]
    _widen(views, itemsize, items, bits)
    if filter_ == DELTA:
        for i in range(items):
            integers[i] = bits[i]
            apart[i] = 0
    else:
        _find_decimals(views, itemsize, items, head[EXPONENT], most, bits, integers, corrections)
        _take_corrections(corrections, items, head, apart)
    kept = ZERO
    for i in range(items):
        apart[i] |= has_fill & (bits[i] == fill)
        kept += apart[i]
    if kept > 0:
        _find_common(bits, apart, items, kept, few, head)
        if head[EXCEPTIONS] * RARE > items:
            return False
        _repeat_neighbours(apart, items, integers, corrections)
    starts = few[2 * MAX_MASKS :]
    if filter_ >= DELTA:
        _take_differences(integers, items, (64 - 8 * itemsize) if filter_ == DELTA else ZERO, head, steps)
        _find_starts(integers, steps, items, head, starts)
    else:
        steps = integers
        low, high = _range_of(integers, items)
        head[BASE], head[WIDTH] = low, _width(high - low)
    if filter_ == DELTA:
        head[WIDTH] = min(head[WIDTH], itemsize)
    elif head[WIDTH] + head[CORRECTIONS] >= itemsize:
        return False
    set_integer_sizes(items, itemsize, head, sizes)
    _write_planes(steps, items, head[BASE], head[WIDTH], out, ZERO)
    _write_planes(corrections, items, ZERO, head[CORRECTIONS], out, head[WIDTH] * items)
    for mask in range(head[MASKS]):
        _write_mask(bits, apart, items, few[mask], out, head[MASKS_AT] + mask * ((items + 7) // 8))
    _write_planes(starts, head[INTERVALS], head[START_BASE], head[STARTS], out, head[STARTS_AT])
    _write_tail(bits, apart, items, itemsize, few, head, out, head[TAIL_AT])
    return True


@inner
def _widen(views: Views, itemsize: Int, items: Int, bits: I64) -> None:
    """Write the bits of the items that lie packed in `views` to `bits[:items]`, the rest of each 0."""
    eights, _, _, fours, twos, ones = views
    if itemsize == 8:
        for i in range(items):
            bits[i] = eights[i]
    elif itemsize == 4:
        for i in range(items):
            bits[i] = fours[i]
    elif itemsize == 2:
        for i in range(items):
            bits[i] = twos[i]
    else:
        for i in range(items):
            bits[i] = ones[i]


@inner
def _find_decimals(
    views: Views, itemsize: Int, items: Int, exponent: Int, most: Any, bits: I64, integers: I64, apart: I64
) -> None:
    """Find the integers of the floats in `views`, and how far `bits` are apart from what a reader makes of them."""
    _, doubles, singles, _, _, _ = views
    power = POWER[exponent]
    for i in range(items):
        scaled = (np.float64(singles[i]) if itemsize == 4 else doubles[i]) * power
        integers[i] = np.int64(scaled + _ROUND - _ROUND if -most < scaled < most else 0.0)
    make_floats(integers, np.uint64(items), itemsize, exponent, views)
    _widen(views, itemsize, items, apart)
    for i in range(items):
        apart[i] = bits[i] - apart[i]


@inner
def _take_corrections(corrections: I64, items: Int, head: I64, apart: U8) -> None:
    """Decide which items a correction reproduces, and which are kept `apart`; leave in `head` whether there are any."""
    near = ZERO
    for i in range(items):
        far = corrections[i] < -_FAR or corrections[i] > _FAR
        apart[i] = far
        near += corrections[i] != 0 and not far
    if near * _FEW_NEAR > items:
        head[CORRECTIONS] = 1
    else:
        for i in range(items):
            apart[i] = corrections[i] != 0


@inner
def _find_common(bits: I64, apart: U8, items: Int, kept: Int, few: I64, head: I64) -> None:
    """Find which bits are common among the `kept` items that are kept apart, and leave them in `few`.

    `head` is left with the number of masks, one for each, and of the other items.
    """
    # Misra and Gries: whatever is more than a fifth of all is among the four that are left.
    count = few[MAX_MASKS:]
    count[:MAX_MASKS] = 0
    for i in range(items):
        if apart[i]:
            place = free = -ONE
            for kind in range(MAX_MASKS):
                if count[kind] == 0:
                    free = ZERO + kind
                elif few[kind] == bits[i]:
                    place = ZERO + kind
            if place >= 0:
                count[place] += 1
            elif free >= 0:
                few[free], count[free] = bits[i], 1
            else:
                for kind in range(MAX_MASKS):
                    count[kind] -= 1
    masks, others = ZERO, kept
    for kind in range(MAX_MASKS):
        found, value = ZERO, few[kind]
        if count[kind] > 0:
            for i in range(items):
                found += apart[i] & (bits[i] == value)
        if found >= _COMMON:
            few[masks] = value
            others -= found
            masks += 1
    head[MASKS], head[EXCEPTIONS] = masks, others


@inner
def _repeat_neighbours(apart: U8, items: Int, integers: I64, corrections: I64) -> None:
    """Give each item that is kept apart the integer before it, and no correction; those in front the first integer."""
    here = ZERO
    while here < items and apart[here]:
        here += 1
    last = integers[here] if here < items else ZERO
    for i in range(items):
        if apart[i]:
            integers[i], corrections[i] = last, 0
        last = integers[i]


@inner
def _take_differences(integers: I64, items: Int, unused: Int, head: I64, steps: I64) -> None:
    """Write the differences of `integers[:items]` to `steps`, and leave their base and the number of planes in `head`.

    `unused` is how many bits of the integers have no meaning: differences wrap without them.
    """
    for i in range(1, items):
        steps[i] = (integers[i] - integers[i - 1]) << unused >> unused
    usual = _median(steps, items)
    steps[0] = usual
    low, high = _range_of(steps, items)
    width = _width(high - low)
    if 1 < width < 8 and usual - 128 > low:
        # The usual ones end in bytes around 128: the planes above are the same for all of them.
        low = usual - 128 - (usual - 128 - low + 255) // 256 * 256
    head[BASE], head[WIDTH] = low, _width(high - low)


@inner
def _median(steps: I64, items: Int) -> Int:
    """The median of a sample of `steps[1:items]`, 0 where there are none."""
    few = steps[items : items + _TRIED]
    count = min(few.size, items - 1)
    if count < 1:
        return ZERO
    for sample in range(count):
        value = steps[1 + sample * (items - 1) // count]
        at = ZERO + sample
        while at > 0 and few[at - 1] > value:
            few[at] = few[at - 1]
            at -= 1
        few[at] = value
    median: Int = few[count // 2]
    return median


@inner
def _find_starts(integers: I64, steps: I64, items: Int, head: I64, starts: I64) -> None:
    """Write to `starts` the integer before each interval, and leave their base and the number of planes in `head`."""
    starts[0] = integers[0] - steps[0]
    count = (items + INTERVAL - 1) // INTERVAL
    for interval in range(1, count):
        starts[interval] = integers[interval * INTERVAL - 1]
    low, high = _range_of(starts, count)
    head[START_BASE], head[STARTS] = low, _width(high - low)


@inner
def _range_of(values: I64, count: Int) -> tuple[Int, Int]:
    """The smallest and the largest of `values[:count]`."""
    low = high = values[0]
    for i in range(count):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@inner
def _width(span: Int) -> Int:
    """Bytes that an unsigned integer takes; it is given as the int64 of its bits."""
    if span < 0:
        return ZERO + 8
    width = ZERO
    while span > 0:
        span >>= 8
        width += 1
    return width


@inner
def _write_planes(values: I64, count: Int, base: Int, planes: Int, out: U8, at: Int) -> None:
    """Write the lowest bytes of `values[:count] - base` to as many planes, from `out[at]` on."""
    for j in range(planes):
        plane, shift = np.uint64(at + j * count), 8 * j
        for i in range(np.uint64(count)):
            out[plane + i] = np.uint8((values[i] - base) >> shift & 255)


@inner
def _write_mask(bits: I64, apart: U8, items: Int, value: Int, out: U8, at: Int) -> None:
    """Write to `out[at:]` a bit an item: whether it is kept apart and its bits are `value`."""
    for byte in range((items + 7) // 8):
        marked = ZERO
        for i in range(8 * byte, min(8 * byte + 8, items)):
            marked |= (apart[i] & (bits[i] == value)) << (i - 8 * byte)
        out[at + byte] = np.uint8(marked)


@inner
def _write_tail(bits: I64, apart: U8, items: Int, itemsize: Int, few: I64, head: I64, out: U8, at: Int) -> None:
    """Write the values of the masks, and the positions and the bits of the other exceptions, to `out[at:]`."""
    for mask in range(head[MASKS]):
        write_uint(out, at + mask * itemsize, few[mask], itemsize)
    position = at + head[MASKS] * itemsize
    value = position + LENGTH_BYTES * head[EXCEPTIONS]
    if head[EXCEPTIONS] > 0:
        for i in range(items):
            masked = apart[i] == 0
            for mask in range(head[MASKS]):
                masked |= few[mask] == bits[i]
            if not masked:
                write_uint(out, position, ZERO + i, LENGTH_BYTES)
                write_uint(out, value, bits[i], itemsize)
                position += LENGTH_BYTES
                value += itemsize
