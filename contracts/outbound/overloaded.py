"""The exception of a process that has too much in hand. It imports nothing, for children that import little."""


class Overloaded(Exception):
    """Too much work is in hand to take some more; nothing was stored, and a later try may succeed.

    A text, if there is one, is shown.
    """
