"""The fuzzer's seeds, and a few mutations of each: parsed or refused, always the same ones."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from tests.reliability import fuzz
from tests.reliability.hostile import parsers


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_seeds_and_their_mutations_are_parsed_or_refused(name):
    assert fuzz.replay(name) > 100


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_seeds_reach_what_stands_behind_the_checksums(name, monkeypatch):
    """A seed that is refused at the door would test the door alone."""
    refused = []

    class Noted(AtlasError):
        pass

    monkeypatch.setattr(parsers, "AtlasError", Noted)
    monkeypatch.setattr(parsers, "BlockError", Noted)
    for seed in fuzz.seeds(name):
        try:
            fuzz.PARSERS[name](seed)
        except Exception as error:  # noqa: BLE001 - of any kind: here they are counted
            refused.append(str(error))
    # Pages are asked for by ids they do not have, commits applied without what is before them, numbers read as text.
    expected = ("does not hold", "not known", "offset")
    assert [told for told in refused if not any(words in told for words in expected)] == []
