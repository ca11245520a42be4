"""The process that `Sandbox` starts: `python -m services.edge.sandboxed`, with the edge's socket as standard input.

A fork server: it imports what is needed to decode pictures and to parse bodies, once, and forks a child for each.
"""

import socket
from contextlib import suppress
from importlib import import_module

from PIL import Image

from contracts.process.die_with_parent import die_with_parent
from services.edge.body import body_reader
from services.edge.image import decode
from services.edge.image.picture.kinds import HEIF_PACKAGE
from services.edge.resources.fork_server import serve

IMPORTED_LATE = ("PIL.AvifImagePlugin", "PIL.ImageCms", "PIL.TiffImagePlugin", "PIL.WebPImagePlugin", HEIF_PACKAGE)
"""Modules that a decoder would import at its first picture of a kind."""
WORKS = {"decode": decode.main, "read_body": body_reader.main}


def main() -> None:
    """Import everything, and serve the edge until it is gone."""
    die_with_parent()
    Image.preinit()
    for module in IMPORTED_LATE:
        with suppress(ImportError):  # an extra, or a Pillow without that format
            import_module(module)
    serve(socket.socket(fileno=0), WORKS)


if __name__ == "__main__":
    main()
