from __future__ import annotations

from pathlib import Path

import pytest

from tests.format.example import SEGMENT, example, example_store, segment_parts

PAGE = Path(__file__).parents[2] / "docs" / "format.md"


@pytest.mark.skipif(not PAGE.exists(), reason="docs are not part of an installed package")
def test_the_page_shows_what_is_written():
    assert PAGE.read_text(encoding="utf-8").endswith(example())


def test_the_parts_named_cover_every_byte_of_the_segment():
    end = 0
    for first, length, _ in segment_parts(data := example_store().read(SEGMENT)):
        assert first == end
        end += length
    assert end == len(data)
