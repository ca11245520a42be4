"""The parts of a form that are no short texts: which part is the picture, and which may refer to one. Pure.

`dialect` has one `Parts` for each dialect, and `form` reads by it.
"""

from msgspec import Struct


class Parts(Struct, frozen=True):
    """The parts that a dialect's forms may have beside short texts.

    `picture` names the part with the file; if `is_always_file`, also one that does not say that it is a file. `field`
    is where the picture stands in JSON. Parts named in `references` hold an address, which may be a `data:` URI.
    `strings` are the fields that are text whatever they look like.
    """

    picture: str
    field: str
    is_always_file: bool
    references: frozenset[str]
    strings: frozenset[str]
