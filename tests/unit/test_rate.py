"""The measured rate survives a restart, and small uploads do not spoil it."""

from __future__ import annotations

import pytest

from comfy_aws.rate import UploadRate

MIB = 1024 * 1024


def test_the_last_measure_counts(tmp_path):
    path = tmp_path / "state" / "rate.json"
    rate = UploadRate(path)
    assert rate.seconds_for(0) == 0
    assert rate.seconds_for(MIB) is None
    rate.measured(100 * MIB, 50.0)
    rate.measured(100, 50.0)
    rate.measured(MIB, 0.0)
    assert rate.seconds_for(10 * MIB) == 5.0
    assert UploadRate(path).seconds_for(10 * MIB) == 5.0


@pytest.mark.parametrize("value", ["0", "-1", "null", '"NaN"', "1e999", "[]"])
def test_a_damaged_file(tmp_path, value):
    (tmp_path / "rate.json").write_text(f'{{"bytes_per_second": {value}}}')
    assert UploadRate(tmp_path / "rate.json").seconds_for(MIB) is None
    (tmp_path / "rate.json").write_text("{")
    assert UploadRate(tmp_path / "rate.json").seconds_for(MIB) is None
