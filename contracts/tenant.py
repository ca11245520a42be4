"""Whose a job is: the name of a tenant, in events and in subjects, and how many unfinished jobs it may have. Pure."""

from typing import Annotated

from msgspec import Meta, Struct

from contracts.words import form

TENANT_CHARS_MAX = 32
DEFAULT_TENANT = "default"
"""Whose every job is where nobody needs a key, and every job of before there were tenants."""
TenantName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z",
        extra=form(f"1 to {TENANT_CHARS_MAX} lower-case letters, digits and dashes, the first one no dash"),
    ),
]
"""It is one token of a subject and of a bucket's key."""
JOBS_MAX_LIMIT = 1000
"""The highest limit of a tenant's unfinished jobs: each submission reads all slots of its tenant."""
JobsMax = Annotated[int, Meta(ge=1, le=JOBS_MAX_LIMIT)]


class Tenant(Struct, frozen=True):
    """The owner of the jobs of some submissions. `jobs_max` bounds the tenant's unfinished jobs; None for no limit."""

    name: TenantName = DEFAULT_TENANT
    jobs_max: JobsMax | None = None
