import pytest

from luss_mm.terminal import format_duration


@pytest.mark.parametrize(
    'seconds, text', [(0.04, '0.0 s'), (12.4, '12 s'), (200, '3 min 20 s'), (7500, '2 h 5 min')]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text
