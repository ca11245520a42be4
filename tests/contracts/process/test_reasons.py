"""A loop that fails again and again logs each reason once, until it has succeeded or fails in another way."""

from contracts.process.reasons import Reasons


def test_a_reason_is_new_until_it_is_repeated_and_again_after_another_one_or_a_success() -> None:
    reasons = Reasons()
    assert [reasons.is_new(reason) for reason in ("a", "a", "b", "b", "a")] == [True, False, True, False, True]
    reasons.over()
    assert [reasons.is_new(reason) for reason in ("a", "a")] == [True, False]
