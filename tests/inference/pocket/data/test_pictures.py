"""Drawn pictures: the same from the same seed, different from another."""

import numpy as np

from inference.pocket.data.pictures import picture


def test_a_seed_always_draws_the_same_picture():
    assert np.array_equal(picture(3, 64, 48), picture(3, 64, 48))


def test_every_seed_draws_another_picture_of_the_asked_size():
    pictures = [picture(seed, 64, 48) for seed in range(6)]
    assert {(drawn.shape, drawn.dtype) for drawn in pictures} == {((48, 64, 3), np.dtype(np.uint8))}
    assert len({drawn.tobytes() for drawn in pictures}) == len(pictures)
    assert np.mean([drawn.std() for drawn in pictures]) > 20
