"""Read what a process serves to Prometheus, as Prometheus would."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


class Scraped(dict[Sample, float]):
    """The samples of one scrape, by name and labels."""

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels, among others; KeyError for none."""
        found = [value for (sample, all_), value in self.items() if sample == name and labels.items() <= set(all_)]
        if not found:
            raise KeyError(name, labels)
        return sum(found)

    def has(self, name: str) -> bool:
        return any(sample == name for sample, _ in self)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self}


def read(text: str) -> Scraped:
    return Scraped(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


async def scrape(client: aiohttp.ClientSession, port: int) -> Scraped | None:
    """Return what a port of this machine serves now; None if nobody answers."""
    try:
        async with client.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "text/plain"}) as answer:
            assert answer.status == 200, answer.status
            return read(await answer.text())
    except aiohttp.ClientError:
        return None
