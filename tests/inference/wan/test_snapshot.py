"""A job that goes on from between two steps, in another process or on other ranks, as if it had never stopped."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import save

from contracts.job import Job
from inference.wan.attention_cache import cache_rule_for
from inference.wan.generate import denoise, generate
from inference.wan.load import Wan
from inference.wan.snapshot import (
    FORMAT,
    DenoisingSnapshot,
    Origin,
    Unusable,
    checked_steps,
    decode_snapshot,
    digest,
    encode_conditions,
    encode_state,
)
from tests.inference.wan.latents_of_a_rank import CACHED
from tests.kit.tiny import go_on, halves, image, job

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ORIGIN = Origin(job_fingerprint="a fingerprint", weights="3f1c")


def files(snapshot: DenoisingSnapshot, origin: Origin = ORIGIN) -> tuple[bytes, bytes]:
    conditions = encode_conditions(snapshot.conditions, origin)
    return conditions, encode_state(snapshot, origin, digest(conditions))


def again(wan: Wan, asked: Job, snapshot: DenoisingSnapshot) -> torch.Tensor:
    with torch.inference_mode():
        return denoise(wan, asked, snapshot.conditions, go_on, snapshot=snapshot)


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_solver": "unipc", "infer_steps": 6},
        {"sample_solver": "dpm++", "infer_steps": 6},
        {"sample_solver": "euler"},
        {"guidance_scale": 1.0},
        CACHED,
    ],
    ids=str,
)
def test_from_every_step_the_latents_are_those_of_a_job_that_never_stopped(wan: Wan, changes: dict[str, Any]) -> None:
    asked = job(**changes)
    whole, offered = halves(wan, asked, image())
    for snapshot in offered:
        assert torch.equal(again(wan, asked, decode_snapshot(*files(snapshot))), whole), snapshot.step


def test_it_can_go_on_wherever_the_next_step_computes(wan: Wan) -> None:
    asked = job(**CACHED)
    rule = cache_rule_for(asked)
    assert rule is not None
    _, offered = halves(wan, asked, image())
    computing = [step for step in range(1, asked.infer_steps + 1) if not rule.reuses(step)]
    assert [snapshot.step for snapshot in offered] == computing
    assert len(computing) < asked.infer_steps


def test_nothing_is_encoded_again_and_what_is_left_is_done(wan: Wan) -> None:
    asked = job()
    seen: list[tuple[str, int]] = []
    _, offered = halves(wan, asked, image())
    video = generate(wan, asked, image(), lambda *at: seen.append(at), snapshot=offered[1])
    assert seen == [("denoise", 0), ("denoise", 3), ("denoise", 4), ("decode", 0)]
    assert torch.equal(video, generate(wan, asked, image(), go_on))
    seen.clear()
    generate(wan, asked, image(), lambda *at: seen.append(at), snapshot=offered[-1])
    assert seen == [("denoise", 0), ("decode", 0)]


def test_its_bytes_say_how_far_it_is_and_are_nobody_elses(wan: Wan) -> None:
    _, offered = halves(wan, job(), image())
    conditions, step = files(offered[2])
    assert checked_steps(conditions, step, ORIGIN) == 3
    assert b'\\"origin\\":{\\"recipe\\":\\"a fingerprint\\"' in step  # the key that files of earlier versions have
    for other in (Origin("another fingerprint", "3f1c"), Origin("a fingerprint", "other weights")):
        with pytest.raises(Unusable, match="foreign"):
            checked_steps(conditions, step, other)
    with pytest.raises(Unusable, match="damaged"):
        checked_steps(encode_conditions(offered[2].conditions, ORIGIN)[:-1] + b"?", step, ORIGIN)
    for version in (FORMAT - 1, FORMAT + 1):
        other_step = step.replace(b'\\"format\\":%d' % FORMAT, b'\\"format\\":%d' % version)
        assert other_step != step
        with pytest.raises(Unusable, match="of another format"):
            checked_steps(conditions, other_step, ORIGIN)


def test_one_that_an_older_version_left_is_of_another_format_and_nothing_worse() -> None:
    facts = {"format": 1, "origin": {"recipe": "a recipe", "model": "tiny"}, "step": 3, "outputs": 0, "conditions": ""}
    older = save({"latents": torch.zeros(1)}, metadata={"wanjet": json.dumps(facts)})
    with pytest.raises(Unusable, match="of another format"):
        checked_steps(older, older, ORIGIN)


NESTED = b'{"x":' + b"[" * 50_000 + b"]" * 49_000
"""Brackets within brackets, in a header no longer than one may be."""


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", len(NESTED).to_bytes(8, "little") + NESTED]
)
def test_what_is_no_snapshot_is_damaged_and_nothing_worse(content: bytes) -> None:
    with pytest.raises(Unusable, match="damaged"):
        checked_steps(content, content, ORIGIN)
    with pytest.raises(Unusable, match="damaged"):
        decode_snapshot(content, content)


def test_what_a_card_has_left_in_half_precision_goes_on_in_full(wan: Wan) -> None:
    _, offered = halves(wan, job(), image())
    half = offered[1].to(torch.device("cpu"), torch.bfloat16)
    video = generate(wan, job(), image(), go_on, snapshot=decode_snapshot(*files(half)))
    assert video.isfinite().all()
