"""Makes prompts that ask for a motion, in many words and orders, in English and Chinese.

The text encoder, the tokenizer and the transformer train on them; the evaluation asks with them.
"""

from random import Random

from inference.pocket.data.motions import Kind, Motion
from inference.pocket.data.prompt_words import (
    CAMERAS,
    CAMERAS_ZH,
    DIRECTIONS,
    DIRECTIONS_ZH,
    LETTERS,
    OPENINGS,
    OPPOSITE,
    OTHERS,
    OTHERS_ZH,
    PAN_VERBS,
    PAN_VERBS_ZH,
    PICTURES,
    PICTURES_ZH,
    POLITE,
    SCENES,
    SCENES_ZH,
    SLIDE_VERBS,
    SPEEDS,
    SPEEDS_ZH,
    SUBJECTS,
    SUBJECTS_ZH,
    UPRIGHT_VERBS,
)

# The motion that a prompt without a word about motion gets: a slow zoom in.
DEFAULT_MOTION = Motion("in", "slow")


def prompt(motion: Motion, rng: Random) -> str:
    """Return a random prompt for this motion, with or without a subject; a quarter are Chinese."""
    if rng.random() < 0.25:
        return _chinese(motion, rng)
    asked = _phrase(motion, rng)
    subject = _subject(rng)
    text = rng.choice(
        (
            asked,
            f"{rng.choice(POLITE)}{asked}",
            f"{subject}, {asked}",
            f"{subject}. {asked}",
            f"{asked}, {subject}",
            f"{asked}: {subject}",
            f"{subject}, {asked}, {rng.choice(SCENES)}",
            f"{asked} over {subject}" if motion.kind in OPPOSITE else f"{asked} on {subject}",
        )
    )
    return _finish(text, rng)


def prompt_without_motion(rng: Random) -> str:
    """Return a random prompt that says nothing about motion."""
    if rng.random() < 0.25:
        return rng.choice(SUBJECTS_ZH) + rng.choice(("", "，")) + rng.choice(SCENES_ZH)
    return _finish(_subject(rng), rng)


def _subject(rng: Random) -> str:
    """Return a random subject; a quarter are made-up words, because most words of a client are new to the model too."""
    if rng.random() < 0.25:
        return " ".join("".join(rng.choices(LETTERS, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 8)))
    subject = rng.choice(OPENINGS) + rng.choice(SUBJECTS)
    if rng.random() < 0.3:
        subject += f" and {rng.choice(SUBJECTS)}"
    for _ in range(rng.choice((0, 1, 1, 2))):
        subject += rng.choice((" ", ", ")) + rng.choice(SCENES)
    return subject


def _finish(text: str, rng: Random) -> str:
    """Return the text, perhaps with a capital letter and a full stop or an exclamation mark."""
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    return text + rng.choice(("", "", ".", "!"))


def _phrase(motion: Motion, rng: Random) -> str:
    """Return a random English phrase that asks for the motion, speed included."""
    if motion.kind == "still":
        return rng.choice(OTHERS["still"])
    speed = rng.choice(SPEEDS[motion.speed])
    asked = _pan(motion.kind, rng) if motion.kind in OPPOSITE else rng.choice(OTHERS[motion.kind])
    if speed.endswith("ly") and rng.random() < 0.3:
        return f"{speed} {asked}"
    return f"{asked} {speed}".strip() if rng.random() < 0.8 else f"{asked}, {speed}".strip(" ,")


def _pan(kind: Kind, rng: Random) -> str:
    """Return a random phrase for a pan: the camera goes that way, or the picture goes the opposite way."""
    where = rng.choice(DIRECTIONS[kind])
    verb = rng.choice(PAN_VERBS if kind in ("left", "right") else UPRIGHT_VERBS)
    form = rng.random()
    if form < 0.3:
        return f"{verb} {where}"
    if form < 0.65:
        return f"{rng.choice(CAMERAS)} {_third_person(verb)} {where}"
    if form < 0.75:
        return f"{rng.choice(CAMERAS)} {_ing(verb)} {where}"
    if form < 0.85:
        return f"a {where} pan" if " " not in where else f"a pan {where}"
    return f"{rng.choice(PICTURES)} {rng.choice(SLIDE_VERBS)} {rng.choice(DIRECTIONS[OPPOSITE[kind]])}"


def _third_person(verb: str) -> str:
    return verb + ("es" if verb.endswith(("o", "sh", "ch")) else "s")


def _ing(verb: str) -> str:
    return "panning" if verb == "pan" else verb.removesuffix("e") + "ing"


def _chinese(motion: Motion, rng: Random) -> str:
    """Return a random Chinese prompt for this motion, with or without a subject."""
    if motion.kind == "still":
        asked = rng.choice(OTHERS_ZH["still"])
    else:
        speed = rng.choice(SPEEDS_ZH[motion.speed])
        if motion.kind not in OPPOSITE:
            asked = speed + rng.choice(OTHERS_ZH[motion.kind])
        elif rng.random() < 0.8:
            asked = _chinese_pan(motion.kind, speed, CAMERAS_ZH, rng)
        else:
            asked = _chinese_pan(OPPOSITE[motion.kind], speed, PICTURES_ZH, rng)
    about = rng.choice(SUBJECTS_ZH) + rng.choice(("", *SCENES_ZH))
    return rng.choice((asked, asked, f"{about}，{asked}", f"{asked}，{about}", f"{asked}。"))


def _chinese_pan(kind: Kind, speed: str, who: tuple[str, ...], rng: Random) -> str:
    """Return a random Chinese phrase by which one of `who`, cameras or pictures, goes in the direction of `kind`."""
    where = f"{rng.choice(('向', '往'))}{DIRECTIONS_ZH[kind]}{rng.choice(PAN_VERBS_ZH)}"
    return rng.choice(who) + rng.choice((speed + where, f"{where}，{speed}" if speed else where))
