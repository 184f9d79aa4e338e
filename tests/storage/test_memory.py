from __future__ import annotations

import pickle

import pytest

from atlas.errors import AtlasError
from atlas.storage import MemoryStorage
from tests.storage.contract import StorageContract


class TestMemoryStorage(StorageContract):
    rounds = 200

    @pytest.fixture
    def storage(self):
        return MemoryStorage()

    def test_does_not_pickle(self, storage):
        with pytest.raises(TypeError, match="only the process that made") as caught:
            pickle.dumps(storage)
        assert isinstance(caught.value, AtlasError)

    def test_two_are_two_places(self, storage):
        assert storage.token != MemoryStorage().token
        with storage.spill_file() as file:
            assert storage.link_file("x", file) is False
