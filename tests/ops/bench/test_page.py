"""The example of `ops/bench/README.md`, which needs an accelerator: here its arguments alone are read."""

import shlex

from ops.bench import engine
from tests.kit.pages import example


def test_the_example_of_the_page_is_understood() -> None:
    words = shlex.split(example("ops/bench/README.md", "bench-engine"))
    assert words[:2] == [".venv/bin/just", "bench-engine"]
    asked = engine._parser(engine.ON_A_CARD).parse_args(words[2:])
    setup = engine._setup(asked)
    assert (setup.shape, setup.size, setup.frames) == ("14b", "1280*720", 81)
