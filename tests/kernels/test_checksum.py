"""XXH3 against the xxhash package."""

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from atlas.kernels.checksum import hash_bytes


def test_every_tail_and_alignment():
    data = np.random.default_rng(1).integers(0, 256, 400, np.uint8)
    data.flags.writeable = False
    for begin in (0, 1, 3, 8):
        for size in range(300):
            want = xxhash.xxh3_64_intdigest(data[begin : begin + size].tobytes())
            assert int(hash_bytes(data, begin, begin + size)) == want


@given(st.binary(max_size=2000))
def test_any_bytes(raw):
    assert int(hash_bytes(np.frombuffer(raw, np.uint8), 0, len(raw))) == xxhash.xxh3_64_intdigest(raw)
