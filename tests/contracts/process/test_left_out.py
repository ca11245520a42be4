import sys

import pytest

from contracts.process.left_out import left_out


def test_a_package_that_is_left_out_cannot_be_imported_meanwhile_and_can_afterwards() -> None:
    with left_out("wave"), pytest.raises(ImportError):
        import wave  # noqa: PLC0415
    import wave  # noqa: PLC0415

    assert sys.modules["wave"] is wave


def test_a_package_that_is_imported_already_stays() -> None:
    with left_out("sys"):
        import sys as same  # noqa: PLC0415

        assert same is sys
    assert sys.modules["sys"] is sys
