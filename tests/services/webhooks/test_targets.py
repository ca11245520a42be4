from contextlib import ExitStack

from services.webhooks.targets import (
    FAILING_HELD_MAX,
    FAILING_SHARE,
    HELD_MAX,
    PROVEN_SHARE,
    UNPROVEN_HELD_MAX,
    UNPROVEN_SHARE,
    Targets,
)


def taken(targets: Targets, held: ExitStack, name: str, tries: int) -> int:
    """Return how many of so many places a target gets, which it keeps."""
    return sum(held.enter_context(targets.place(name)) for _ in range(tries))


def test_a_target_gets_its_share_by_how_it_has_answered() -> None:
    targets = Targets()
    targets.note("well", is_well=True)
    targets.note("dead", is_well=False)
    with ExitStack() as held:
        assert taken(targets, held, "new", 50) == UNPROVEN_SHARE
        assert taken(targets, held, "dead", 50) == FAILING_SHARE
        assert taken(targets, held, "well", 50) == PROVEN_SHARE
        assert not any(targets.has_place(name) for name in ("new", "dead", "well"))


def test_a_place_is_free_again_after_its_block() -> None:
    targets = Targets()
    for _ in range(3):
        with ExitStack() as held:
            assert taken(targets, held, "new", 50) == UNPROVEN_SHARE
    assert not targets._taken
    assert set(targets.held.values()) == {0}


def test_dead_and_new_targets_leave_places_for_the_others_however_many_they_are() -> None:
    targets = Targets()
    for number in range(HELD_MAX):
        targets.note(f"dead-{number}", is_well=False)
    targets.note("well", is_well=True)
    with ExitStack() as held:
        assert sum(taken(targets, held, f"dead-{number}", 1) for number in range(HELD_MAX)) == FAILING_HELD_MAX
        assert sum(taken(targets, held, f"new-{number}", 1) for number in range(HELD_MAX)) == UNPROVEN_HELD_MAX
        assert taken(targets, held, "well", PROVEN_SHARE) == PROVEN_SHARE
    assert FAILING_HELD_MAX + UNPROVEN_HELD_MAX < HELD_MAX


def test_a_dead_target_that_answers_well_again_has_its_share_again() -> None:
    targets = Targets()
    for is_well in (False, True):
        targets.note("a", is_well=is_well)
    with ExitStack() as held:
        assert taken(targets, held, "a", 50) == PROVEN_SHARE
