"""The measured rate survives a restart; a transfer under way tells its speed."""

from __future__ import annotations

import pytest

from comfy_aws.rate import WINDOW, Speed, UploadRate

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


def test_the_speed_is_that_of_the_last_seconds():
    now = 0.0
    speed = Speed(lambda: now)
    assert speed.take(0) == 0
    now = 1.0
    assert speed.take(1) == 0, "the first second tells nothing"
    now = 2.0
    assert speed.take(200) == 100
    for second in range(3, 30):
        now = float(second)
        told = speed.take(200 + 10 * (second - 2))
    assert told == 10, f"what was more than {WINDOW} s ago counts no more"
    now = 31.0
    assert speed.take(5) == 0, "less than before is another transfer"
