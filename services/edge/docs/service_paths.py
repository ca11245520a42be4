"""The paths of the OpenAPI document that are about the service: probes, health, metrics, and the documentation."""

from services.edge import health
from services.edge.docs.components import refusals
from services.edge.docs.examples import HEALTHY, UNHEALTHY
from services.edge.docs.operation import answer, headers_of, operation, path, word
from services.edge.docs.schema import Json
from services.edge.payloads import ErrorBody
from services.edge.prometheus import prometheus

_TEXT = {"type": "string"}


def service_paths() -> Json:
    """Return the paths of the routes in `probes` and `docs.pages`, and what each one is answered with."""
    return {
        "/livez": {"get": _livez()},
        "/readyz": {"get": _readyz()},
        "/health": {"get": _health()},
        "/metrics": {"get": _metrics()},
        "/": {"get": _welcome()},
        "/docs": {"get": _docs()},
        "/docs/openapi.json": {"get": _docs_openapi("openapi")},
        "/openapi.json": {"get": _docs_openapi("openapiAtTheRoot")},
        "/docs/{name}": {"get": _docs_file()},
    }


def _livez() -> Json:
    return {
        **operation("livez", "operation", "Whether the process turns"),
        "responses": {"200": word("It does.", "alive")},
    }


def _readyz() -> Json:
    why = ErrorBody("UNAVAILABLE", "the broker does not answer, or is not provisioned")
    return {
        **operation("readyz", "operation", "Whether a submission could be accepted now"),
        "responses": {"200": word("It could.", "ready"), **refusals(500), "503": answer("It could not.", broker=why)},
    }


def _health() -> Json:
    return {
        **operation("health", "operation", "The whole service, for people and dashboards"),
        "responses": {
            "200": answer("Healthy or degraded.", healthy=HEALTHY),
            **refusals(500),
            "503": answer("The broker does not answer.", unhealthy=UNHEALTHY),
        },
    }


def _metrics() -> Json:
    numbers = answer("The numbers of now.", numbers=health.metrics(HEALTHY))
    for kind, openmetrics in (("text/plain", False), ("application/openmetrics-text", True)):
        text = prometheus(HEALTHY, openmetrics=openmetrics).decode()
        numbers["content"][kind] = {"schema": _TEXT, "example": text}
    meaning = "JSON, or Prometheus text where `Accept` names its type."
    return {
        **operation("metrics", "operation", "The service in numbers", meaning),
        "responses": {"200": numbers, **refusals(500)},
    }


def _docs() -> Json:
    return {
        **operation("docs", "documentation", "This contract, to read and to try"),
        "responses": _shipped(("text/html", _TEXT)),
    }


def _welcome() -> Json:
    headers = headers_of("Location")
    return {
        **operation("welcome", "documentation", "A way to this page"),
        "responses": {"307": {"description": "The page is at `/docs`.", "headers": headers}},
    }


def _docs_openapi(name: str) -> Json:
    return {
        **operation(name, "documentation", "This contract, for programs"),
        "responses": _shipped(("application/json", {"type": "object"})),
    }


def _docs_file() -> Json:
    return {
        **operation("docsFile", "documentation", "What the page is made of"),
        "parameters": [
            path("name", _TEXT, "swagger-ui.css"),
        ],
        "responses": {**_shipped(("text/css", _TEXT), ("text/javascript", _TEXT)), **refusals(404)},
    }


def _shipped(*contents: tuple[str, Json]) -> Json:
    """Return the answers with a file, for each of its content types and their schemas."""
    headers = headers_of("ETag", "Cache-Control", "Content-Security-Policy", "X-Content-Type-Options")
    content = {kind: {"schema": schema} for kind, schema in contents}
    return {
        "200": {"description": "The file.", "headers": headers, "content": content},
        "304": {"description": "Nothing new.", "headers": headers},
    }
