"""Draws which modules import which as one SVG, and prints how many circles there are: `python -m ops.imports [FILE]`.

The first panel has every folder. Each further panel has the rooms of one folder (its modules, and its sub-folders as
one room each) and the imports between them. Imports go downwards; those that form a circle are red. grimp reads the
imports, and Graphviz's `dot` lays each panel out.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import grimp

ROOTS = ("contracts", "services", "inference", "ops")
DEFAULT_FILE = Path(".wanjet/imports.svg")
DEPTH_MAX = 3  # of a folder in the first panel: services.edge.http
PANEL_DEPTH_MAX = 2
ROOMS_MIN = 3
ROW_PX, GAP_PX, TITLE_PX = 2000, 30, 26
NO_DOT = "Graphviz's `dot` is not installed; on Debian: apt-get install graphviz"
STYLE = (
    'rankdir=TB; ranksep=0.45; nodesep=0.18; bgcolor="transparent"; fontname="sans-serif"; fontsize=12;'
    ' node [shape=box, style="rounded,filled", fillcolor="white", color="#57606a", fontname="sans-serif", fontsize=12,'
    ' height=0.3, margin="0.09,0.04"]; edge [color="#8c959f", arrowsize=0.6];'
)
CIRCLE = ' [color="#cf222e", penwidth=2]'
COLOURS = {"contracts": "#ddf4ff", "services": "#dafbe1", "inference": "#fff8c5", "ops": "#fbefff"}

Edges = dict[str, set[str]]
"""For each room the rooms that it imports."""


def main(arguments: list[str]) -> None:
    """Write the SVG to the file that the arguments name, and print a line for each panel."""
    if shutil.which("dot") is None:
        sys.exit(NO_DOT)
    file = Path(arguments[0]) if arguments else DEFAULT_FILE
    sys.path.insert(0, str(Path.cwd()))  # the packages of the working directory, wherever this module lies
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}
    folders = [module for module in imports if graph.find_children(module)]
    panels = [_panel("every folder", folder_edges(imports, folders), nested=True)]
    for folder in folders:
        edges = room_edges(imports, folder)
        if folder.count(".") < PANEL_DEPTH_MAX and len(edges) >= ROOMS_MIN:
            panels.append(_panel(folder, edges))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_sheet(panels))
    print(f"drawn in {file}")


def folder_edges(imports: Mapping[str, Iterable[str]], folders: Iterable[str]) -> Edges:
    """Return the imports between folders. A module belongs to the nearest folder of at most `DEPTH_MAX` names above it.

    Imports between a folder's own modules and its sub-folders are left out: that folder's panel has them.
    """
    known = {folder for folder in folders if folder.count(".") < DEPTH_MAX}

    def folder_of(module: str) -> str:
        while module not in known:
            module = module.rpartition(".")[0]
        return module

    edges: Edges = {folder_of(module): set() for module in imports}
    for module, imported in imports.items():
        importer = folder_of(module)
        for each in map(folder_of, imported):
            if not (f"{importer}.".startswith(f"{each}.") or f"{each}.".startswith(f"{importer}.")):
                edges[importer].add(each)
    return edges


def room_edges(imports: Mapping[str, Iterable[str]], folder: str) -> Edges:
    """Return the imports between the rooms of a folder: its modules, and its sub-folders with all below them."""
    prefix = f"{folder}."

    def room_of(module: str) -> str:
        return prefix + module.removeprefix(prefix).partition(".")[0]

    inside = {module: imported for module, imported in imports.items() if module.startswith(prefix)}
    edges: Edges = {room_of(module): set() for module in inside}
    for module, imported in inside.items():
        rooms = {room_of(each) for each in imported if each in inside}
        edges[room_of(module)] |= rooms - {room_of(module)}
    return edges


def reachable(edges: Edges) -> Edges:
    """Return for each room every room that it imports, directly or through other rooms."""
    found = {room: set(imported) for room, imported in edges.items()}
    for middle, below in found.items():
        for all_below in found.values():
            if middle in all_below:
                all_below.update(below)
    return found


def in_circles(edges: Edges) -> set[tuple[str, str]]:
    """Return the imports that are part of a circle, as pairs of importer and imported."""
    found = reachable(edges)
    return {(room, each) for room, imported in edges.items() for each in imported if room in found[each]}


def floors(edges: Edges) -> int:
    """Return how many rooms stand on the longest way down, circles left out."""
    circles, depth = in_circles(edges), dict.fromkeys(edges, 1)
    for _ in edges:
        for room, imported in edges.items():
            below = [depth[each] for each in imported if (room, each) not in circles]
            depth[room] = max([1, *(1 + each for each in below)])
    return max(depth.values(), default=0)


def without_implied(edges: Edges) -> Edges:
    """Return the imports less those that a longer way implies (transitive reduction); circles stay whole."""
    found, circles = reachable(edges), in_circles(edges)

    def implied(room: str, each: str) -> bool:
        others = edges[room] - {each}
        return (room, each) not in circles and any(
            each in found[other] and other not in found[each] for other in others
        )

    return {room: {each for each in imported if not implied(room, each)} for room, imported in edges.items()}


def _panel(title: str, edges: Edges, *, nested: bool = False) -> tuple[str, str]:
    """Return the title and the drawing of one panel; print its measures."""
    circles, arrows = in_circles(edges), sum(map(len, edges.values()))
    measures = f"{len(edges)} rooms, {floors(edges)} floors, {arrows} arrows, {len(circles)} of them in circles"
    print(f"{title}: {measures}")
    return f"{title}: {measures}", _drawn(_dot(edges, circles, nested=nested))


def _dot(edges: Edges, circles: set[tuple[str, str]], *, nested: bool) -> str:
    """Return a panel in Graphviz's language; if `nested`, folders of one root stand in a box."""
    lines = [STYLE]
    for root in ROOTS:
        rooms = [room for room in edges if room.partition(".")[0] == root]
        nodes = [f'"{room}" [label="{_label(room, nested=nested)}", fillcolor="{COLOURS[root]}"];' for room in rooms]
        boxed = nested and rooms
        lines += [f'subgraph "cluster_{root}" {{ color="#d0d7de"; style=rounded;', *nodes, "}"] if boxed else nodes
    for room, imported in without_implied(edges).items():
        lines += [f'"{room}" -> "{each}"{CIRCLE if (room, each) in circles else ""};' for each in sorted(imported)]
    return "\n".join(["digraph {", *lines, "}"])


def _label(room: str, *, nested: bool) -> str:
    return room if nested else room.rpartition(".")[2]


def _drawn(dot: str) -> str:
    """Return Graphviz's SVG of a graph, without the lines before its `<svg>`."""
    svg = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout
    return svg[svg.index("<svg") :]


def _sheet(panels: list[tuple[str, str]]) -> str:
    """Return one SVG with the panels side by side, in rows of at most `ROW_PX`."""
    x = y = row_height = width = 0
    placed: list[str] = []
    for title, svg in panels:
        panel_width, panel_height = _size(svg)
        if x and x + panel_width > ROW_PX:
            x, y, row_height = 0, y + row_height, 0
        at = f'x="{x + GAP_PX}" y="{y + GAP_PX + TITLE_PX}"'
        text_at = f'x="{x + GAP_PX}" y="{y + GAP_PX + TITLE_PX // 2}"'
        placed.append(f'<text {text_at} font-weight="bold">{escape(title)}</text>')
        placed.append(svg.replace("<svg", f"<svg {at}", 1))
        x += max(panel_width, 8 * len(title)) + GAP_PX
        width, row_height = max(width, x + GAP_PX), max(row_height, panel_height + TITLE_PX + 2 * GAP_PX)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}"'
    font = 'font-family="sans-serif" font-size="14"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([f'{head} height="{y + row_height}" {font}>', background, *placed, "</svg>\n"])


def _size(svg: str) -> tuple[int, int]:
    """Return width and height of Graphviz's SVG in pixels; it gives them in points."""
    width, height = re.findall(r'(?:width|height)="(\d+)pt"', svg)[:2]
    return int(width) * 4 // 3, int(height) * 4 // 3


if __name__ == "__main__":
    main(sys.argv[1:])
