"""Measures how wrong `eta_seconds` is: `python -m ops.bench.service.eta [--jobs N]` (`just bench-eta`).

A real service with clusters of different speed whose ranks sleep (`sleeper`). All jobs are submitted at once, so that
they queue; they differ in size, steps and guidance. Every unfinished job's status is asked for every `POLL_S`, and what
it said is compared with when the job ended.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import msgspec
from msgspec import Struct

from contracts.status import State
from ops.bench.service.processes import Process, cores_of
from ops.bench.service.sleeper import SIZES
from ops.bench.service.stack import Service, this_tree
from ops.bench.turns import say
from ops.local import demo
from ops.local.sample_image import sample
from ops.local.submission import request, submit

RESULTS = Path(__file__).parents[1] / "results"
PROMPT = "the camera pans left over a calm sea"
SPEEDS = (1.0, 1.6)
"""How much longer than the first each cluster takes for a job."""
STEPS = (20, 30, 40, 60)
GUIDANCE = (1.0, 1.5)
POLL_S = 1.0
ENDED_WITHIN_S = 3600.0


class Said(Struct, frozen=True):
    """An answer with a job's status: `at` in seconds since the first submission."""

    job: int
    at: float
    status: State
    eta_seconds: float | None


class Run(Struct, frozen=True):
    """Answers of a run, and when each job ended, by the job's number."""

    jobs: int
    said: list[Said]
    ended_at: dict[int, float]


def measured(folder: Path, jobs: int) -> Run:
    """Run the jobs, and return what their statuses said. Raises `TimeoutError` after `ENDED_WITHIN_S`."""
    cores = cores_of(sorted(os.sched_getaffinity(0)))
    service = Service(this_tree(), folder / "service", cores)
    clusters = [_cluster(service, number, speed) for number, speed in enumerate(SPEEDS)]
    try:
        with service.running():
            for cluster in clusters:
                cluster.start().wait_for(lambda cluster=cluster: "cluster_ready" in cluster.text)
            url = f"http://127.0.0.1:{service.port}"
            warm = [submit(url, _body(0, size, steps=20, guidance=1.5)) for size in SIZES for _ in clusters]
            while not all(demo.status_of(url, job_id).ended for job_id in warm):
                time.sleep(POLL_S)
            say("the first jobs have ended, of which nothing is asked")
            return _followed(url, jobs)
    finally:
        for cluster in clusters:
            cluster.stop()


def _cluster(service: Service, number: int, speed: float) -> Process:
    """Return a cluster of the service, not started."""
    command = [service.tree.python, "-m", "ops.bench.service.sleeper", str(speed)]
    log = service.folder / f"cluster-{number}.log"
    named = {**service.variables, "CLUSTER_NAME": f"sleeper-{number}"}
    return Process(command, log, cores=service.cores.rest, folder=service.tree.folder, **named)


def _followed(url: str, jobs: int) -> Run:
    """Submit the jobs, ask for their statuses until all have ended, and return what was said."""
    draw, began = random.Random(1), time.monotonic()
    bodies = [
        _body(number, draw.choice(SIZES), steps=draw.choice(STEPS), guidance=draw.choice(GUIDANCE))
        for number in range(jobs)
    ]
    unfinished = {number: submit(url, body) for number, body in enumerate(bodies)}
    said, ended_at = list[Said](), dict[int, float]()
    while unfinished:
        if time.monotonic() - began > ENDED_WITHIN_S:
            raise TimeoutError(f"{len(unfinished)} jobs have not ended within {ENDED_WITHIN_S:.0f} s")
        for number, job_id in list(unfinished.items()):
            at, status = time.monotonic() - began, demo.status_of(url, job_id)
            if status.ended:
                ended_at[number] = at - max(0.0, time.time() - status.updated_at)
                del unfinished[number]
                say(f"{len(unfinished)} jobs are left")
            else:
                said.append(Said(number, round(at, 2), status.status, status.eta_seconds))
        time.sleep(POLL_S)
    return Run(jobs, said, ended_at)


def _body(number: int, size: str, *, steps: int, guidance: float) -> bytes:
    """Return the body of a submission."""
    body = msgspec.json.decode(request(sample(), f"{PROMPT}, wave {number}"))
    changes = {"image_size": size, "infer_steps": steps, "guidance_scale": guidance, "seed": number}
    return msgspec.json.encode({**body, **changes})


def table(run: Run) -> str:
    """Return the errors as a table: of waiting jobs, also by how far off their end was, and of running ones."""
    waiting = [each for each in run.said if each.status == "InQueue"]
    near = [each for each in waiting if run.ended_at[each.job] - each.at <= 60]
    rows = {
        "waiting": waiting,
        "waiting, end within 60 s": near,
        "waiting, end later": [each for each in waiting if each not in near],
        "running": [each for each in run.said if each.status == "InProgress"],
    }
    head = f"{'statuses':<26}{'asked':>7}{'null':>6}{'median error':>14}{'90 %':>8}{'of what was left':>18}{'90 %':>8}"
    lines = [head, *(_line(what, said, run) for what, said in rows.items())]
    whole_s = max(run.ended_at.values())
    return "\n".join([f"{run.jobs} jobs at once on {len(SPEEDS)} clusters, {whole_s:.0f} s in all", "", *lines, ""])


def _line(what: str, said: Sequence[Said], run: Run) -> str:
    """Return a row: how many statuses, how many without an estimate, and how wrong the others were."""
    known = [(each.eta_seconds, run.ended_at[each.job] - each.at) for each in said if each.eta_seconds is not None]
    if len(known) < 2:
        return f"{what:<26}{len(said):>7}{len(said) - len(known):>6}"
    errors_s = [abs(eta_s - left_s) for eta_s, left_s in known]
    shares = [abs(eta_s - left_s) / max(left_s, POLL_S) for eta_s, left_s in known]
    return (
        f"{what:<26}{len(said):>7}{len(said) - len(known):>6}{median(errors_s):>12.1f} s{_p90(errors_s):>6.1f} s"
        f"{median(shares):>17.0%} {_p90(shares):>7.0%}"
    )


def _p90(values: Sequence[float]) -> float:
    return quantiles(values, n=10)[-1]


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table, and leave it in a folder."""
    parser = argparse.ArgumentParser(prog="just bench-eta", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for what is left")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run = measured(Path(folder), options.jobs)
    (options.out / "eta.txt").write_text(table(run))
    print(table(run))


if __name__ == "__main__":
    main(sys.argv[1:])
