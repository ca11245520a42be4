"""The catalogue of events is what the processes run by, and tools read it as AsyncAPI and JSON Schema."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from contracts import event_names, subjects, wire
from contracts.broker import Bus
from ops import catalogue, streams
from tests.kit.machine import REPOSITORY

GOLDEN = sorted((REPOSITORY / "tests" / "contracts" / "golden").glob("*.json"))
PARSER = REPOSITORY / ".wanjet" / "node" / "node_modules"
PARSED_WITHIN_S = 60
ERROR, WARNING = "0", "1"
DOCUMENT = catalogue.document()


def schema(kind: str) -> Draft202012Validator:
    """Return the validator of a type's schema, as the repository has it."""
    found = json.loads((catalogue.FOLDER / "schemas" / f"{kind}.json").read_text())
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def test_the_files_in_the_repository_are_what_just_catalogue_writes() -> None:
    there = {
        str(path.relative_to(catalogue.FOLDER)): path.read_text()
        for path in [catalogue.FOLDER / catalogue.DOCUMENT, *(catalogue.FOLDER / "schemas").iterdir()]
    }
    assert there == catalogue.files(), "run `just catalogue`"


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_event_ever_published_fits_its_schema(file: Path) -> None:
    schema(file.stem.partition(".")[0]).validate(json.loads(file.read_text()))


@pytest.mark.parametrize("name", event_names.names())
def test_every_event_has_an_example_that_is_one(name: str) -> None:
    (example,) = DOCUMENT["components"]["messages"][name]["examples"]
    kind = event_names.names()[name]
    schema(kind.__name__).validate(example["payload"])
    event = wire.decode_event(json.dumps(example["payload"]).encode())
    assert isinstance(event, kind)
    assert event_names.name_of(event) == name


@pytest.mark.parametrize(
    ("field", "wrong"), [("requestId", "f" * 31 + "\n"), ("attempt", 0), ("width", 1.5), ("type", "JobEnded")]
)
def test_an_event_with_a_wrong_value_does_not(field: str, wrong: object) -> None:
    event = json.loads((REPOSITORY / "tests/contracts/golden/JobSucceeded.json").read_text())
    schema("JobSucceeded").validate(event)
    with pytest.raises(ValidationError):
        schema("JobSucceeded").validate({**event, field: wrong})


def test_a_channel_is_where_the_broker_is_told_to_put_the_event() -> None:
    channels = DOCUMENT["channels"]
    assert set(channels) == {"queue"} | {f"{place}.{name}" for place in ("log", "live") for name in event_names.names()}
    for name in event_names.names():
        address = channels[f"log.{name}"]["address"].replace("{requestId}", "f" * 32)
        assert subjects.job_id_of(address) == "f" * 32
        assert address.rpartition(".")[2] == name


async def test_streams_and_durables_are_those_of_a_provisioned_broker(link: Bus) -> None:
    found = DOCUMENT["x-wanjet-jetstream"]
    for name, said in found["streams"].items():
        config = (await link.stream(name)).config
        assert (config.subjects, config.retention) == (said["subjects"], said["retention"])
        assert config.duplicate_window == said["duplicateWindowSeconds"]
        assert (config.max_age or None, config.max_msg_size) == (said["maxAgeSeconds"], said["maxMessageBytes"])
    for name, said in found["durables"].items():
        assert (await link.consumer(said["stream"], name)).config.ack_wait == said["ackWaitSeconds"]
    assert subjects.STATE_DURABLE in found["durables"]
    assert streams.Settings().event_retention == found["streams"][subjects.EVENTS_STREAM]["maxAgeSeconds"]


@pytest.mark.skipif(
    shutil.which("node") is None or not PARSER.exists(),
    reason="AsyncAPI's parser is not installed: it needs node, npm and `just asyncapi-parser`",
)
@pytest.mark.parametrize("damaged", [False, True])
def test_asyncapis_own_parser_finds_nothing_wrong(damaged: bool) -> None:
    document = json.loads((catalogue.FOLDER / catalogue.DOCUMENT).read_text())
    if damaged:
        document["channels"]["queue"]["messages"]["submitted"]["$ref"] = "#/components/messages/nothing"
    done = subprocess.run(
        ["node", "tests/ops/parse_asyncapi.cjs"],
        cwd=REPOSITORY,
        env={"NODE_PATH": str(PARSER), "PATH": str(Path(shutil.which("node") or "").parent)},
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=PARSED_WITHIN_S,
    )
    wrong = [line for line in done.stdout.splitlines() if line.startswith((ERROR, WARNING))]
    assert bool(wrong) is damaged, done.stdout + done.stderr
    if not damaged:
        assert int(done.stderr) == len(document["operations"])
