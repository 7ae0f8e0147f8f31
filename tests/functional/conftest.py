from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_aws.stack import StackState
from tests.functional.parts import Parts
from tests.support.stack import running_stack


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackState]:
    """One stack for all tests that leave it running and its bucket empty."""
    with running_stack(tmp_path_factory.mktemp("shared-stack")) as state:
        yield state


@pytest.fixture
def parts(shared_stack: StackState, tmp_path: Path) -> Iterator[Parts]:
    """The services on an empty bucket, and a folder of models, inputs and node packs."""
    made = Parts(shared_stack, tmp_path / "designer")
    yield made
    made.store.delete(*made.keys())
    made.close()
