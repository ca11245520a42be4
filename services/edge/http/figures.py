"""The requests of one edge by groups of routes, for who asks by `nats service stats`, from the edge's metrics."""

from collections import Counter, defaultdict

from services.edge.numbers import LEFT, EdgeNumbers

GROUPS = {
    "/video/submit": "submit",
    "/video/status": "status",
    "/video/status/{job_id}": "status",
    "/video/cancel": "cancel",
    "/videos/{name}": "videos",
    "/v1/videos": "v1",
    "/v1/videos/{video_id}": "v1",
    "/v1/videos/{video_id}/remix": "v1",
    "/v1/videos/{video_id}/content": "videos",
    "/livez": "probes",
    "/readyz": "probes",
    "/health": "probes",
    "/metrics": "probes",
}
"""The group of each template; what has none, documents and unknown paths, is `OTHER`."""
OTHER = "other"
OUR_FAULT = 500


def by_group(numbers: EdgeNumbers) -> dict[str, dict[str, float]]:
    """Return requests, errors (answers of 500 and above) and average milliseconds of each group of routes.

    Requests whose clients left before the answer are none of the requests, and their seconds count in the average.
    """
    asked, failed, timed = Counter[str](), Counter[str](), Counter[str]()
    seconds = defaultdict[str, float](float)
    for (_, route, code), count in numbers.requests.values.items():
        asked[group_of(route)] += int(count) if code != LEFT else 0
        failed[group_of(route)] += int(count) if code.isdecimal() and int(code) >= OUR_FAULT else 0
    for (route,), spread in numbers.request_s.values.items():
        timed[group_of(route)] += sum(spread.counts)
        seconds[group_of(route)] += spread.total
    return {
        group: {
            "requests": asked[group],
            "errors": failed[group],
            "average_ms": round(1000 * seconds[group] / max(1, timed[group]), 3),
        }
        for group in sorted(asked)
    }


def group_of(route: str) -> str:
    """Return the group that a template of a route is counted in."""
    return GROUPS.get(route, OTHER)
