"""Tracing: nothing while it is off; spans with the right parents while it is on; a collector that delays nobody."""

import json
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from contracts.process import tracing
from tests.kit.process import completed, output_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
WITHIN_S = 30
START = "from contracts.process import tracing, log; log.configure('test'); tracing.configure('test')"


def spans_of(code: str, folder: Path, **variables: str) -> list[dict[str, Any]]:
    """What a process that runs this code has written of its spans, in the order of their ends."""
    file = folder / "spans.jsonl"
    variables = {"OTEL_TRACES_EXPORTER": "console", "TRACES_FILE": str(file), **variables}
    output_of("-c", f"{START}\n{code}", within_s=WITHIN_S, **variables)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize(
    "variables", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}]
)
def test_while_it_is_off_nothing_is_imported_and_nothing_is_known(variables: dict[str, str]) -> None:
    code = f"""
import sys
with tracing.span("job", {{}}, parent="{PARENT}") as span, tracing.joined("{PARENT}"):
    span.note({{"a": 1}}); span.event("step", {{}}); span.rename("b"); span.failed("c")
    print(tracing.is_on(), tracing.current().traceparent, [name for name in sys.modules if "opentelemetry" in name])
"""
    assert output_of("-c", f"{START}\n{code}", within_s=WITHIN_S, **variables) == "False None []\n"


def test_without_the_extra_there_is_a_warning_and_no_trace() -> None:
    code = (
        """
import sys
sys.modules["opentelemetry"] = None
"""
        + START
        + """
print(tracing.is_on())
"""
    )
    said = output_of("-c", code, within_s=WITHIN_S, OTEL_TRACES_EXPORTER="otlp").splitlines()
    assert [json.loads(said[0])[name] for name in ("event", "level", "needs")] == [
        "tracing_not_installed", "warning", "wanjet[otel]",
    ]  # fmt: skip
    assert said[1:] == ["False"]


def test_spans_have_their_parents_and_times_and_attributes(tmp_path: Path) -> None:
    code = f"""
with tracing.span("request", {{"left": None, "size": 3}}, parent="{PARENT}", kind="server") as request:
    with tracing.span("fetch") as fetch:
        fetch.event("step", {{"n": 1}})
    later = tracing.begin("attempt", parent=request.traceparent, ago_s=2)
    later.end(ago_s=1)
    later.end()
    request.rename("POST /submit")
"""
    fetch, attempt, request = spans_of(code, tmp_path)
    assert [span["name"] for span in (fetch, attempt, request)] == ["fetch", "attempt", "POST /submit"]
    assert {span["trace_id"] for span in (fetch, attempt, request)} == {TRACE}
    assert request["parent_id"] == PARENT.split("-")[2]
    assert fetch["parent_id"] == attempt["parent_id"] == request["span_id"]
    assert request["attributes"] == {"size": 3}
    assert fetch["events"][0]["n"] == 1
    assert attempt["ms"] == pytest.approx(1000, abs=50)
    assert request["service"] == "wanjet-test"


def test_an_exception_marks_its_span_by_its_name_alone(tmp_path: Path) -> None:
    code = """
from contextlib import suppress
with suppress(ValueError), tracing.span("job"):
    raise ValueError("a secret")
"""
    (span,) = spans_of(code, tmp_path)
    assert span["failed"] == "ValueError"
    assert "secret" not in json.dumps(span)


def test_log_lines_within_a_span_have_its_trace(tmp_path: Path) -> None:
    code = f"""
log.get().info("before")
with tracing.joined("{PARENT}"):
    log.get().info("joined")
with tracing.span("job"):
    log.line("within")
log.get().info("after")
"""
    variables = {"OTEL_TRACES_EXPORTER": "console", "TRACES_FILE": str(tmp_path / "spans")}
    lines = [
        json.loads(line) for line in output_of("-c", f"{START}\n{code}", within_s=WITHIN_S, **variables).splitlines()
    ]
    (span,) = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    assert [line.get("trace_id") for line in lines] == [None, TRACE, span["trace_id"], None]


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_written(tmp_path: Path) -> None:
    code = """
with tracing.span("job") as span:
    sampled = int(span.traceparent.rpartition("-")[2], 16) & 1
    assert not sampled, span.traceparent
"""
    assert spans_of(code, tmp_path, OTEL_TRACES_SAMPLER="always_off") == []


def test_the_standard_variables_name_the_service(tmp_path: Path) -> None:
    (span,) = spans_of("tracing.begin('job').end()", tmp_path, OTEL_SERVICE_NAME="mine")
    assert span["service"] == "mine"


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (PARENT, True),
        (PARENT.replace("00-4", "cc-4") + "-more", True),  # of a later version
        (None, False),
        ("", False),
        (PARENT.upper(), False),
        (PARENT.replace("00-4", "ff-4"), False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT + "\n", False),
        (PARENT + " ", False),
        ("x" * 5000, False),
    ],
)
def test_only_a_traceparent_as_w3c_has_it_is_taken(header: str | None, taken: bool) -> None:
    assert (tracing.accepted(header) is not None) is taken


@contextmanager
def collector(answer_after_s: float = 0.0) -> Generator[tuple[str, list[tuple[str, bytes]]], None, None]:
    """A collector of OTLP over HTTP, and what it has been sent."""
    sent: list[tuple[str, bytes]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(answer_after_s)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002, ARG002  # as the base class has it
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", sent
    server.shutdown()
    server.server_close()


def test_otlp_is_sent_to_where_the_standard_variables_say() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    with collector() as (url, sent):
        variables = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        code = "import time\ntracing.begin('job').end()\ntime.sleep(0.3)"
        output_of("-c", f"{START}\n{code}", within_s=WITHIN_S, **variables)
    path, body = sent[0]
    request = ExportTraceServiceRequest.FromString(body)
    assert path == "/v1/traces"
    assert [span.name for span in request.resource_spans[0].scope_spans[0].spans] == ["job"]


@pytest.mark.slow
def test_a_collector_that_does_not_answer_delays_neither_work_nor_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code = """
import sys, time
began = time.monotonic()
for _ in range(20_000):
    with tracing.span("job"):
        pass
print(time.monotonic() - began, time.time(), file=sys.stderr)
"""
        variables = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        done = completed("-c", f"{START}\n{code}", within_s=WITHIN_S, **variables)
        ended_at = time.time()
    assert done.returncode == 0, done.stderr
    worked_s, left_at = map(float, done.stderr.split())
    assert worked_s < 10
    assert ended_at - left_at < 2
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["Queue full, dropping Span."]
