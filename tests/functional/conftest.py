from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfy_aws import cli
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


@pytest.fixture
def terminal(
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Runs a command on the bucket of `parts`; gives what it prints, errors where it fails."""
    state = parts.state
    for name, value in {
        "COMFY_AWS_HOME": tmp_path / "home", "COMFY_AWS_BUCKET": state.bucket,
        "AWS_REGION": state.region, "AWS_ENDPOINT_URL": state.endpoint_url,
        "AWS_ENDPOINT_URL_S3": state.s3_endpoint_url, "AWS_ACCESS_KEY_ID": state.access_key_id,
        "AWS_SECRET_ACCESS_KEY": state.secret_access_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("COMFY_AWS_TARGET", raising=False)

    def told(*arguments: str, status: int = 0) -> str:
        assert cli.main(arguments) == status
        output = capsys.readouterr()
        return output.out if status == 0 else output.err

    return told
