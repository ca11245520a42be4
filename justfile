# What people run. Each recipe sets up what it needs; `just` alone lists them.
# `exec` puts the command in the place of the shell, which would not pass on the signal that `just` passes to it.
# `ops.local.die_with_parent` has the kernel pass a signal on if `just` is killed, and holds Ctrl-C back while Python
# starts; it needs no packages itself (-IS).

set positional-arguments := true

python := ".venv/bin/python"

[private]
default:
    @'{{ just_executable() }}' --list --unsorted

# One picture becomes a video in generated_videos/, on a stack of its own; --help says what may be given
[group('run')]
[no-exit-message]
demo *picture_and_prompt: setup
    @exec {{ python }} -IS ops/local/die_with_parent.py --hold-interrupts {{ python }} -m ops.local.demo "$@"

# The whole service on this machine, until Ctrl-C
[group('run')]
[no-exit-message]
up: setup
    @exec {{ python }} -m ops.local.die_with_parent {{ python }} -m ops.local.up

# Make what the rest needs, .venv and what is installed in it; quick when nothing has changed
[group('run')]
setup:
    @test -x {{ python }} || python3 -m venv .venv
    @wanted="$({{ python }} -V; cat pyproject.toml constraints.txt | cksum)"; \
    if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then \
        echo "installing into .venv: the first time takes minutes"; \
        {{ python }} -m pip install --quiet -c constraints.txt -e '.[dev]' && echo "$wanted" > .venv/installed; \
    fi

# Every test, or those that the arguments of pytest name
[group('test')]
[no-exit-message]
test *arguments: setup
    @exec {{ python }} -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder "$@"

# More than half of all tests in seconds: those that need no broker, process, torch or browser
[group('test')]
[no-exit-message]
unit *arguments: setup
    @exec {{ python }} -m pytest -m unit --numprocesses 2 --dist loadfile "$@"

# Only the tests of the whole road, from HTTP to mp4
[group('test')]
[no-exit-message]
flow *arguments: setup
    @exec {{ python }} -m pytest tests/flow "$@"

# Only the tests in a browser: they need Debian's chromium, and are skipped without it
[group('test')]
[no-exit-message]
test-browser *arguments: setup
    @exec {{ python }} -m pytest tests/browser "$@"

# Every test, and which lines none of them reaches
[group('test')]
[no-exit-message]
cover *arguments: setup
    @{{ python }} -m pytest --cov --cov-report=term-missing:skip-covered "$@"

# Style, types and who may import whom; changes nothing
[group('code')]
[no-exit-message]
check: setup
    @.venv/bin/ruff check
    @.venv/bin/ruff format --check
    @.venv/bin/pyright
    @.venv/bin/lint-imports

# Mend what ruff can mend by itself
[group('code')]
fix: setup
    @.venv/bin/ruff check --fix
    @.venv/bin/ruff format

# Write ops/configuration.md anew: every setting, its bounds and what a wrong value prints
[group('code')]
configuration: setup
    @{{ python }} -m tests.ops.test_configuration

# Draw which modules import which as an SVG, .wanjet/imports.svg or the file named; needs Graphviz's dot
[group('code')]
[no-exit-message]
imports *file: setup
    @{{ python }} -m ops.imports "$@"

# Everything that must hold before a merge, from a fresh clone on: a .venv, all tests, style, types, imports
[group('code')]
[no-exit-message]
ci:
    @exec .ci/run

# One job's log, from the broker of `just up` or of NATS_URL
[group('operate')]
[no-exit-message]
events id: setup
    @{{ python }} -m ops.events "$1"

# What it starts has the settings that `just up` was started with, not those of this shell.
# Speak to the supervisord of a running `just up`: status, restart inference, tail edge, …
[group('operate')]
[no-exit-message]
ctl *arguments: setup
    @WANJET_SOCKET="$({{ python }} -m ops.local.stack)" .venv/bin/supervisorctl -c ops/local/supervisord.conf "$@"

# Bring the broker to this shell's settings, as in MAX_CONCURRENT_TASKS=12 just provision, until the next `just up`
[group('operate')]
[no-exit-message]
provision: setup
    @{{ python }} -m ops.provision

# Make every status anew from the log
[group('operate')]
[no-exit-message]
replay: setup
    @{{ python }} -m ops.replay

# Make the log anew from the records beside the videos, after the broker has lost its disk
[group('operate')]
rebuild: setup
    @{{ python }} -m ops.rebuild

# What a checkpoint folder is and whether it runs here, in seconds: sizes, gigabytes, plans, or why not
[group('model')]
[no-exit-message]
checkpoint folder: setup
    @{{ python }} -m inference.checkpoint "$1"

# Which plans of a model fit which cards, in gigabytes: --model 14b --ranks 8 --card 32; --help lists the rest
[group('model')]
[no-exit-message]
fit *arguments: setup
    @{{ python }} -m ops.fit "$@"

# Every motion that the pocket model knows, on a picture of yours, as rows of a sheet: PICTURE SHEET
[group('model')]
[no-exit-message]
showcase *picture_and_sheet: setup
    @exec {{ python }} -m inference.pocket.evaluation.showcase "$@"

# Train the pocket model, or go on with it, on one thread; Ctrl-C stops it and loses nothing
[group('model')]
[no-exit-message]
train *arguments: _photographs
    @OMP_NUM_THREADS=1 exec nice {{ python }} -m inference.pocket.training.train "$@"

# Write what is trained so far as a checkpoint into a new folder, for MODEL_CKPT_DIR
[group('model')]
[no-exit-message]
export *arguments: _photographs
    @exec {{ python }} -m inference.pocket.training.export "$@"

# Train a checkpoint further, for minutes of a GPU: CHECKPOINT FOLDER STATE 16 cuda
[group('model')]
[no-exit-message]
finish *arguments: _photographs
    @exec {{ python }} -m inference.pocket.training.finish "$@"

# How good a pocket model is on what it has not seen: figures, after half an hour of one core
[group('model')]
[no-exit-message]
evaluate *arguments: _photographs
    @OMP_NUM_THREADS=1 exec {{ python }} -m inference.pocket.evaluation.evaluate "$@"

[private]
_photographs: setup
    @{{ python }} -c "import skimage, sklearn" 2>/dev/null || {{ python }} -m pip install --quiet -c constraints.txt -e '.[train]'

# Requests that nobody would think of, made from the API's own document, for so many seconds
[group('chaos')]
[no-exit-message]
fuzz seconds="60": setup
    @test -x .venv/bin/schemathesis || {{ python }} -m pip install --quiet -c constraints.txt -e '.[fuzz]'
    @exec {{ python }} -m tests.fuzz.run "$1"

# Thousands of histories of the whole service in a few seconds, each from a seed
[group('chaos')]
[no-exit-message]
simulate count="10000" first="0": setup
    @{{ python }} -m tests.simulation.run "$1" "$2"

# Kill every process of the stack so many times, and race so many cancels with completion; hours, and a table
[group('chaos')]
[no-exit-message]
endings kills="20" races="100": setup
    @exec {{ python }} -m tests.chaos.kills.run "$1" "$2"

# Every fault at every phase of a job's life, or a shard of them such as 1/4; an hour, and a table
[group('chaos')]
[no-exit-message]
faults *arguments: setup
    @exec {{ python }} -m tests.chaos.faults.run "$@"

# Three brokers, two edges, two states, three clusters; so many jobs, and a kill every ten seconds for so long
[group('chaos')]
[no-exit-message]
many jobs="200" seconds="300" seed="1": setup
    @exec {{ python }} -m tests.chaos.soak.run "$1" "$2" "$3"

# Three brokers; so many cancels as a video is stored, calm and with leaders that step down every second
[group('chaos')]
[no-exit-message]
cancels count="100": setup
    @{{ python }} -m tests.chaos.soak.cancels "$1"

# Three brokers, each in a network of its own, and one frozen or cut off for so long under load; root, and a table
[group('chaos')]
[no-exit-message]
partition seconds="45" *faults: setup
    @{{ python }} -m tests.chaos.soak.partition "$@"

# Attacks on a real edge, all or those that are named: what they cost it, and what legitimate clients see; a table
[group('chaos')]
[no-exit-message]
attacks *names: setup
    @exec {{ python }} -m tests.attacks.run "$@"

# How fast the engine is, against the stock pipeline and one rank, in one run; --help lists what may be asked for
[group('bench')]
[no-exit-message]
bench-engine *arguments: setup
    @exec {{ python }} -m ops.bench.engine "$@"

# How fast so many ranks load a checkpoint of so many gigabytes, against cat, and what that takes of main memory
[group('bench')]
[no-exit-message]
bench-load ranks="4" gigabytes="2": setup
    @exec {{ python }} -m ops.bench.load "$1" "$2"

# The memory of a 14B as estimated and as its code takes it, on tensors without storage; minutes, and no card
[group('bench')]
[no-exit-message]
bench-memory: setup
    @exec {{ python }} -m ops.bench.fit

# What it costs in quality to save: a table and a plot in ops/bench/results
[group('bench')]
[no-exit-message]
bench-quality *arguments: setup
    @exec {{ python }} -m ops.bench.quality "$@"
