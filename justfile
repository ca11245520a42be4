# What people run. Each recipe sets up what it needs; `just` alone lists them.
# `exec` puts the command in the place of the shell, which would not pass on the signal that `just` passes to it.
# `ops.local.die_with_parent` has the kernel pass a signal on if `just` is killed, and holds Ctrl-C back while Python
# starts; it needs no packages itself (-IS).

set positional-arguments := true

python := ".venv/bin/python"

# Compiled modules are kept even if the shell forbids it: without them every worker rewrites all tests' assertions anew.
export PYTHONDONTWRITEBYTECODE := ""

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

# Which status every route answers with which kind of key, where keys are asked for: a table
[group('test')]
[no-exit-message]
access: setup
    @exec {{ python }} -m pytest --quiet --capture=no tests/services/edge/auth/test_every_route.py

# Write ops/configuration.md anew: every setting, its bounds and what a wrong value prints
[group('code')]
configuration: setup
    @{{ python }} -m tests.ops.test_configuration

# Write ops/logs.md anew: every event that a process logs, with its level and its fields
[group('code')]
logs: setup
    @{{ python }} -m tests.ops.test_logs

# Write ops/metrics.md anew: every metric that a process serves, with its labels
[group('code')]
metrics: setup
    @{{ python }} -m tests.ops.test_metrics

# Write the table of ops/nats/README.md anew: which user of the broker may do what
[group('code')]
rights: setup
    @{{ python }} -m ops.nats.page

# Write the catalogue of events anew: contracts/events.asyncapi.json, and a JSON Schema for each type of event
[group('code')]
catalogue: setup
    @{{ python }} -m ops.catalogue

# Install AsyncAPI's own parser from npm into .wanjet/node, by which a test judges the catalogue; needs npm
[group('code')]
asyncapi-parser:
    @npm install --silent --no-audit --no-fund --no-save --prefix .wanjet/node @asyncapi/parser@3.6.6

# Lock what is shipped, with hashes, in ops/locks; --upgrade takes the newest versions, --check only compares
[group('shipped')]
[no-exit-message]
lock *arguments: _supply
    @{{ python }} -m ops.lock "$@"

# List the licences of all packages that services need, each in .wanjet/licences.csv; fails if one is GPL or AGPL
[group('shipped')]
[no-exit-message]
licences: _shipped
    @.venv/bin/pip-licenses --python {{ shipped }}/bin/python --from mixed --with-urls --format csv \
        --partial-match --fail-on "GNU General Public;GNU Affero;AGPL" > .wanjet/licences.csv
    @.venv/bin/pip-licenses --python {{ shipped }}/bin/python --from mixed --summary --order count | grep -E '^ +[0-9]+ |^ Count'

# Write what is shipped as CycloneDX, checked by its schema, into .wanjet/sbom-services.json, …-inference.json, …-npu.json
[group('shipped')]
[no-exit-message]
sbom: _shipped
    @.venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
        --output-file .wanjet/sbom-services.json {{ shipped }}/bin/python
    @for each in inference npu; do \
        PYTHONWARNINGS=ignore .venv/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --validate \
            --output-file .wanjet/sbom-$each.json ops/locks/$each.txt || exit 1; \
    done

# Ask PyPI whether a locked version has a known weakness; fails if one has, and if one cannot be judged, as without the internet
[group('shipped')]
[no-exit-message]
audit: _supply
    @failed=0; for each in services inference npu; do \
        echo "$each:"; .venv/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
            -r ops/locks/$each.txt || failed=1; \
    done; exit $failed

[private]
_supply: setup
    @test -x .venv/bin/pip-audit || {{ python }} -m pip install --quiet -c constraints.txt -e '.[supply]'

shipped := ".wanjet/shipped"

# An environment with nothing in it but what services need, installed by the lock: with its hashes, and from no other place.
[private]
_shipped: _supply
    @mkdir -p .wanjet && .venv/bin/uv venv --quiet --clear --no-config {{ shipped }}
    @.venv/bin/uv pip sync --quiet --no-config --default-index https://pypi.org/simple --require-hashes \
        --python {{ shipped }}/bin/python ops/locks/services.txt

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

# What waits and runs, in the queue's order: id, age, attempt, cluster, progress, size
[group('operate')]
[no-exit-message]
queue: setup
    @exec {{ python }} -m ops.queue

# How many slots each tenant has taken, of those that may have so many unfinished jobs
[group('operate')]
[no-exit-message]
slots: setup
    @exec {{ python }} -m ops.slots

# The events of all jobs as they happen, or of one: ID; until Ctrl-C
[group('operate')]
[no-exit-message]
watch *id: setup
    @exec {{ python }} -m ops.watch "$@"

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

# API keys of edges with AUTH=keys: create NAME --tenant T, list, revoke ID, limits TENANT --jobs N; --help says more
[group('operate')]
[no-exit-message]
key *arguments: setup
    @exec {{ python }} -m ops.key "$@"

# A key for each user of the broker, and its configuration with their rights, into a folder; keeps the keys that are there
[group('operate')]
[no-exit-message]
keys folder: setup
    @{{ python }} -m ops.nats.keys "$1"

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

# Requests that nobody would think of, by the API's own document, for so many seconds without keys and with: --auth, --seed
[group('chaos')]
[no-exit-message]
fuzz seconds="60" *options: setup
    @test -x .venv/bin/schemathesis || {{ python }} -m pip install --quiet -c constraints.txt -e '.[fuzz]'
    @exec {{ python }} -m tests.fuzz.run "$@"

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

# What previews show of a video to come, and what previews, thumbnails and spritesheets cost; minutes of one core
[group('bench')]
[no-exit-message]
bench-previews: setup
    @exec {{ python }} -m ops.bench.previews

# How wrong eta_seconds is: 50 jobs at once on a service of its own, with clusters that sleep; minutes
[group('bench')]
[no-exit-message]
bench-eta *arguments: setup
    @exec {{ python }} -m ops.bench.service.eta "$@"

# All that needs a card, on one H100 or H200, in 12 minutes; --dry tries the script at tiny sizes, as where no card is
[group('bench')]
[no-exit-message]
gpu *arguments: _gpu-setup
    @exec {{ python }} -m ops.bench.gpu "$@"

# Where the machine's own python3 has torch, .venv takes that one and is given only what else is missing. The folder of
# torch is named in a .pth: a python3 that is of a virtual environment itself does not pass its packages on.
[private]
_gpu-setup:
    @if ! test -x {{ python }} && python3 -c "import torch" 2>/dev/null; then \
        python3 -m venv --system-site-packages .venv && python3 -c "import torch; print(*torch.__path__)" \
        | sed 's,/torch$,,' > "$({{ python }} -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth"; \
    fi
    @if grep -q "include-system-site-packages = true" .venv/pyvenv.cfg 2>/dev/null; then \
        {{ python }} -m ops.bench.gpu.packages install; \
    else \
        '{{ just_executable() }}' setup; \
    fi

# How fast the service is, against the usual way, bare limits and, with --against, an older checkout: a table; PART names
[group('bench')]
[no-exit-message]
bench-service *parts: setup
    @exec {{ python }} -m ops.bench.service.run "$@"

# Whether no sturdy ratio of the service is worse by more than 30 % than in the committed results, in minutes
[group('bench')]
[no-exit-message]
bench-check: setup
    @exec {{ python }} -m ops.bench.service.check

# Write ops/capacity.md anew: clusters for so many videos an hour, and the formula against the real queue
[group('bench')]
[no-exit-message]
capacity: setup
    @exec {{ python }} -m ops.bench.service.capacity
