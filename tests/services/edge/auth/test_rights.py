import pytest

from services.edge.auth.rights import Action, action_of, is_open, job_ids_in, scope_for


@pytest.mark.parametrize(
    "path",
    ["/", "/livez", "/readyz", "/health", "/metrics", "/docs", "/docs/openapi.json", "/docs/events", "/openapi.json",
     "/docs/page.js"],
)  # fmt: skip
def test_probes_and_documentation_are_open_to_whoever_only_reads(path: str) -> None:
    assert is_open("GET", path) and is_open("HEAD", path)
    assert not any(is_open(method, path) for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "docs"))


@pytest.mark.parametrize(
    "path",
    ["/video/submit", "/v1/models", "/new", "/docs/../video/status", "/docs/a/b", "//docs", "/healthz", "/health/x",
     "/videos/docs", "/Docs", "/docs\n", "", "*"],
)  # fmt: skip
def test_every_other_path_is_closed(path: str) -> None:
    assert not is_open("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("GET", "/video/status/x", None),
        ("HEAD", "/v1/videos", None),
        ("POST", "/video/status", None),
        ("POST", "/video/status/", None),
        ("POST", "/video/submit", Action.SUBMIT),
        ("POST", "/v1/videos", Action.SUBMIT),
        ("POST", "/v1/videos/", Action.SUBMIT),
        ("POST", "/video/cancel", Action.CANCEL),
        ("DELETE", "/v1/videos/video_1", Action.DELETE),
        ("POST", "/v1/videos/video_1/remix", Action.REMIX),
        ("POST", "/new", Action.SUBMIT),
        ("PUT", "/video/status", Action.SUBMIT),
        ("BREW", "/video/status", Action.SUBMIT),
    ],
)
def test_what_is_not_known_to_read_only_is_a_change(method: str, path: str, action: Action | None) -> None:
    assert action_of(method, path) is action
    assert scope_for(action) == ("read" if action is None else "submit")


def test_ids_are_found_wherever_they_stand_in_a_path() -> None:
    one, other = "0" * 31 + "a", "f" * 32
    assert job_ids_in(f"/videos/{one}.mp4") == job_ids_in(f"/v1/videos/video_{one}/content") == [one]
    assert job_ids_in(f"/video/{one}/{other}") == [one, other]
    assert job_ids_in("/video/submit") == []


def test_a_longer_run_of_hex_characters_is_no_id_and_is_left_to_the_route_to_explain() -> None:
    assert job_ids_in(f"/video/status/{'0' * 33}") == job_ids_in(f"/videos/{'0' * 64}.mp4") == []
