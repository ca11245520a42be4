"""The caller of a request: the tenant, what the key may do, and the tenant's limits. `gate` notes it in the scope.

Routes read it with `caller_of`, and hand it on to whoever stores, lists or follows jobs. Pure.
"""

from typing import Any, cast

from litestar.types import Scope as RequestScope
from msgspec import Struct

from contracts.api_key import Scope
from contracts.tenant import DEFAULT_TENANT

CALLER = "caller"
"""The key of a request's scope under which its caller stands."""


class Caller(Struct, frozen=True, kw_only=True):
    """The maker of a request. `key_id` is None where no key is asked for.

    `jobs_max` is how many unfinished jobs the tenant may have over all edges, `submissions_a_minute` how many
    submissions this edge takes of the tenant; None for what the tenant's entry does not limit.
    """

    tenant: str
    scopes: tuple[Scope, ...]
    key_id: str | None
    jobs_max: int | None = None
    submissions_a_minute: int | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the caller may do what asks for this scope."""
        return scope in self.scopes or self.sees_all

    @property
    def sees_all(self) -> bool:
        """Return whether the jobs of all tenants are the caller's to see and to change."""
        return "admin" in self.scopes

    @property
    def only_tenant(self) -> str | None:
        """Return the tenant whose jobs alone the caller sees; None for a caller who sees all."""
        return None if self.sees_all else self.tenant


ANYBODY = Caller(tenant=DEFAULT_TENANT, scopes=("admin",), key_id=None)
"""The caller of every request where no key is asked for (`AUTH=off`)."""


def note_caller(scope: RequestScope, caller: Caller) -> None:
    """Note who makes a request."""
    cast("dict[str, Any]", scope)[CALLER] = caller


def caller_of(scope: RequestScope) -> Caller:
    """Return who makes a request."""
    return cast("dict[str, Any]", scope).get(CALLER, ANYBODY)
