"""An S3-compatible server for tests, over real HTTP: `moto`, in a process of its own."""

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from uuid import uuid4

import pytest

from contracts.stores import Store, open_store
from tests.kit.machine import free_port
from tests.kit.process import environment
from tests.kit.waiting import eventually

START_WITHIN_S = 30


class ObjectStore:
    """An S3-compatible server that is running elsewhere: makes buckets, and stores on them."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.variables = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def bucket(self) -> str:
        """The URL of a new, empty bucket."""
        name = f"b{uuid4().hex[:12]}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")  # noqa: S310  # the test's own server
        urllib.request.urlopen(request).close()  # noqa: S310
        return f"s3://{name}"

    def fresh(self, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Store:
        """A store in a new bucket, by way of this process's environment."""
        for name, value in {**self.variables, **variables}.items():
            monkeypatch.setenv(name, value)
        return open_store(self.bucket())

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url).close()  # noqa: S310
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


@pytest.fixture(scope="session")
def object_store() -> Generator[ObjectStore, None, None]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store = ObjectStore(port)
    try:
        asyncio.run(eventually(store.answers, within_s=START_WITHIN_S))
        yield store
    finally:
        process.kill()
        process.wait()
