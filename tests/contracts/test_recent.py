from contracts.recent import Recent


def test_past_its_size_the_entry_that_was_set_longest_ago_is_forgotten() -> None:
    recent = Recent[str, int](2)
    recent["a"], recent["b"] = 1, 2
    recent["a"] = 3
    recent["c"] = 4
    assert dict(recent) == {"a": 3, "c": 4}


def test_to_set_an_entry_again_forgets_no_other() -> None:
    recent = Recent[str, int](2)
    recent["a"], recent["b"] = 1, 2
    recent["a"] = 3
    assert dict(recent) == {"a": 3, "b": 2}
