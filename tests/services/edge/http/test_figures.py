"""What an edge has served, by groups of routes."""

from services.edge.app import ROUTERS
from services.edge.http.figures import GROUPS, by_group
from services.edge.numbers import EdgeNumbers


def test_requests_are_counted_by_group() -> None:
    numbers = EdgeNumbers()
    numbers.served("GET", "/video/status", 200, 0.010, "")
    numbers.served("GET", "/video/status/{job_id}", 404, 0.030, "not_found")
    numbers.served("POST", "/video/submit", 503, 0.5, "unavailable")
    numbers.served("POST", "none", 404, 0.001, "not_found")
    assert by_group(numbers) == {
        "other": {"requests": 1, "errors": 0, "average_ms": 1.0},
        "status": {"requests": 2, "errors": 0, "average_ms": 20.0},
        "submit": {"requests": 1, "errors": 1, "average_ms": 500.0},
    }


def test_a_request_whose_client_left_is_no_answered_one() -> None:
    numbers = EdgeNumbers()
    numbers.served("POST", "/video/submit", 0, 0.2, "")
    assert by_group(numbers) == {"submit": {"requests": 0, "errors": 0, "average_ms": 200.0}}


def test_nothing_is_shown_before_the_first_request() -> None:
    assert by_group(EdgeNumbers()) == {}


def test_every_template_that_has_a_group_is_of_a_route() -> None:
    templates = {path.replace(":str", "") for router in ROUTERS for route in router.routes for path in (route.path,)}
    assert set(GROUPS) <= templates
