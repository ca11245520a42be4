"""The paths of the OpenAPI document that are about the service: probes, health, metrics, and the documentation."""

from contracts.process.exposition import exposed
from services.edge import health
from services.edge.docs.components import refusals
from services.edge.docs.examples import HEALTHY, UNHEALTHY
from services.edge.docs.operation import answer, headers_of, operation, path, word
from services.edge.docs.schema import Json
from services.edge.numbers import EdgeNumbers
from services.edge.payloads import ErrorBody

TEXTS = ("text/plain", "application/openmetrics-text")
_TEXT = {"type": "string"}


def service_paths() -> Json:
    """Return the path items of the routes in `probes` and `docs.pages`, by path: parameters and answers."""
    return {
        "/livez": {"get": _livez_get()},
        "/readyz": {"get": _readyz_get()},
        "/health": {"get": _health_get()},
        "/metrics": {"get": _metrics_get()},
        "/": {"get": _root_get()},
        "/docs": {"get": _docs_get()},
        "/docs/events": {"get": _events_get()},
        "/docs/events.json": {"get": _event_document_get()},
        "/docs/openapi.json": {"get": _openapi_get("openapi")},
        "/openapi.json": {"get": _openapi_get("openapiAtTheRoot")},
        "/docs/{name}": {"get": _docs_file_get()},
    }


def _livez_get() -> Json:
    """Return the OpenAPI operation of `/livez`."""
    return {
        **operation("livez", "operation", "Whether the process turns"),
        "responses": {"200": word("It does.", "alive")},
    }


def _readyz_get() -> Json:
    """Return the OpenAPI operation of `/readyz`."""
    why = ErrorBody("UNAVAILABLE", "the broker does not answer, or is not provisioned")
    return {
        **operation("readyz", "operation", "Whether a submission could be accepted now"),
        "responses": {"200": word("It could.", "ready"), **refusals(500), "503": answer("It could not.", broker=why)},
    }


def _health_get() -> Json:
    """Return the OpenAPI operation of `/health`."""
    return {
        **operation("health", "operation", "The whole service, for people and dashboards"),
        "responses": {
            "200": answer("Healthy or degraded.", healthy=HEALTHY),
            **refusals(500),
            "503": answer("The broker does not answer.", unhealthy=UNHEALTHY),
        },
    }


def _metrics_get() -> Json:
    """Return the OpenAPI operation of `/metrics`, with an example in each of its three formats."""
    numbers = answer("The numbers of now.", numbers=health.metrics(HEALTHY))
    example = EdgeNumbers()
    example.served("GET", "/livez", 200, 0.0004, "")
    for kind in TEXTS:
        text, _ = exposed(example.metrics, kind, of_process=False)
        numbers["content"][kind] = {"schema": _TEXT, "example": text.decode()}
    meaning = (
        "The whole service in JSON, or, where `Accept` names the type of Prometheus' text, the numbers of this edge "
        "alone: the state service serves those of the whole service on a port of its own."
    )
    return {
        **operation("metrics", "operation", "The service in numbers", meaning),
        "responses": {"200": numbers, **refusals(500)},
    }


def _docs_get() -> Json:
    """Return the OpenAPI operation of `/docs`, the page."""
    return {
        **operation("docs", "documentation", "This contract, to read and to try"),
        "responses": _shipped(("text/html", _TEXT)),
    }


def _root_get() -> Json:
    """Return the OpenAPI operation of `/`, which redirects to the page."""
    headers = headers_of("Location")
    return {
        **operation("welcome", "documentation", "A way to this page"),
        "responses": {"307": {"description": "The page is at `/docs`.", "headers": headers}},
    }


def _openapi_get(name: str) -> Json:
    """Return the OpenAPI operation of this name for a path of the OpenAPI document."""
    return {
        **operation(name, "documentation", "This contract, for programs"),
        "responses": _shipped(("application/json", {"type": "object"})),
    }


def _events_get() -> Json:
    """Return the OpenAPI operation of the catalogue of events."""
    meaning = (
        "Every event that other services may hear on the broker, with its subjects, fields and an example: a page "
        "where `Accept` prefers `text/html`, else an AsyncAPI 3 document."
    )
    answers = _shipped(("application/json", {"type": "object"}), ("text/html", _TEXT))
    for each in answers.values():
        each["headers"] |= headers_of("Vary")
    return {
        **operation("eventCatalogue", "documentation", "The events on the broker", meaning),
        "responses": answers,
    }


def _event_document_get() -> Json:
    """Return the OpenAPI operation of the AsyncAPI document alone."""
    return {
        **operation("eventDocument", "documentation", "The events on the broker, for programs, as AsyncAPI 3"),
        "responses": _shipped(("application/json", {"type": "object"})),
    }


def _docs_file_get() -> Json:
    """Return the OpenAPI operation for a file that the page is made of."""
    return {
        **operation("docsFile", "documentation", "What the page is made of"),
        "parameters": [
            path("name", _TEXT, "swagger-ui.css"),
        ],
        "responses": {**_shipped(("text/css", _TEXT), ("text/javascript", _TEXT)), **refusals(404)},
    }


def _shipped(*contents: tuple[str, Json]) -> Json:
    """Return the answers 200 and 304, by status, of a file of one of these content types, each with its schema."""
    headers = headers_of("ETag", "Cache-Control", "Content-Security-Policy", "X-Content-Type-Options")
    content = {kind: {"schema": schema} for kind, schema in contents}
    return {
        "200": {"description": "The file.", "headers": headers, "content": content},
        "304": {"description": "Nothing new.", "headers": headers},
    }
