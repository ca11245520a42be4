"""Draws which modules import which as an SVG: `python -m ops.imports [FILE]` (`just imports`).

The first panel shows all folders. Each further panel shows one folder: its modules, its sub-folders as one node each,
and the imports between these nodes. Arrows go from importer down to imported; those in a cycle are red. For each panel
the numbers of nodes, layers, imports and imports in cycles are printed. grimp reads the imports, and Graphviz's `dot`
lays the panels out.
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
NODES_MIN = 3
ROW_PX, GAP_PX, TITLE_PX = 2000, 30, 26
NO_DOT = "Graphviz's `dot` is not installed; on Debian: apt-get install graphviz"
STYLE = (
    'rankdir=TB; ranksep=0.45; nodesep=0.18; bgcolor="transparent"; fontname="sans-serif"; fontsize=12;'
    ' node [shape=box, style="rounded,filled", fillcolor="white", color="#57606a", fontname="sans-serif", fontsize=12,'
    ' height=0.3, margin="0.09,0.04"]; edge [color="#8c959f", arrowsize=0.6];'
)
CYCLE = ' [color="#cf222e", penwidth=2]'
COLOURS = {"contracts": "#ddf4ff", "services": "#dafbe1", "inference": "#fff8c5", "ops": "#fbefff"}

Edges = dict[str, set[str]]
"""The nodes that each node imports."""


def main(arguments: list[str]) -> None:
    """Write the SVG to the file that the arguments name, else to `DEFAULT_FILE`, and print a line for each panel.

    Reads the packages of the working directory. Ends the process if `dot` is not installed.
    """
    if shutil.which("dot") is None:
        sys.exit(NO_DOT)
    file = Path(arguments[0]) if arguments else DEFAULT_FILE
    sys.path.insert(0, str(Path.cwd()))  # the packages of the working directory, wherever this module lies
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}
    folders = [module for module in imports if graph.find_children(module)]
    panels = [_panel("every folder", folder_edges(imports, folders), nested=True)]
    for folder in folders:
        edges = child_edges(imports, folder)
        if folder.count(".") < PANEL_DEPTH_MAX and len(edges) >= NODES_MIN:
            panels.append(_panel(folder, edges))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_sheet(panels))
    print(f"drawn in {file}")


def folder_edges(imports: Mapping[str, Iterable[str]], folders: Iterable[str]) -> Edges:
    """Return the imports between folders.

    A module belongs to the nearest of the `folders` of at most `DEPTH_MAX` names. Imports between a folder's own
    modules and its sub-folders are left out: that folder's panel has them.
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


def child_edges(imports: Mapping[str, Iterable[str]], folder: str) -> Edges:
    """Return the imports between a folder's children: its modules, and its sub-folders with all below them.

    Imports from or to modules outside the folder are left out.
    """
    prefix = f"{folder}."

    def child_of(module: str) -> str:
        return prefix + module.removeprefix(prefix).partition(".")[0]

    inside = {module: imported for module, imported in imports.items() if module.startswith(prefix)}
    edges: Edges = {child_of(module): set() for module in inside}
    for module, imported in inside.items():
        nodes = {child_of(each) for each in imported if each in inside}
        edges[child_of(module)] |= nodes - {child_of(module)}
    return edges


def reachable(edges: Edges) -> Edges:
    """Return for each node every node that it imports, directly or through others; a node in a cycle reaches itself."""
    found = {node: set(imported) for node, imported in edges.items()}
    for middle, below in found.items():
        for all_below in found.values():
            if middle in all_below:
                all_below.update(below)
    return found


def in_cycles(edges: Edges) -> set[tuple[str, str]]:
    """Return the imports that are part of a cycle, as pairs of importer and imported."""
    found = reachable(edges)
    return {(node, each) for node, imported in edges.items() for each in imported if node in found[each]}


def layers(edges: Edges) -> int:
    """Return the number of nodes on the longest path of imports, without those in cycles; 0 if there are no nodes."""
    cycles, depth = in_cycles(edges), dict.fromkeys(edges, 1)
    for _ in edges:
        for node, imported in edges.items():
            below = [depth[each] for each in imported if (node, each) not in cycles]
            depth[node] = max([1, *(1 + each for each in below)])
    return max(depth.values(), default=0)


def without_implied(edges: Edges) -> Edges:
    """Return the imports without those that a longer path implies (transitive reduction); cycles stay whole."""
    found, cycles = reachable(edges), in_cycles(edges)

    def implied(node: str, each: str) -> bool:
        others = edges[node] - {each}
        return (node, each) not in cycles and any(each in found[other] and other not in found[each] for other in others)

    return {node: {each for each in imported if not implied(node, each)} for node, imported in edges.items()}


def _panel(title: str, edges: Edges, *, nested: bool = False) -> tuple[str, str]:
    """Return the title, with the panel's measures, and the panel's drawing as SVG; print the title."""
    cycles, imports = in_cycles(edges), sum(map(len, edges.values()))
    measures = f"{len(edges)} nodes, {layers(edges)} layers, {imports} imports, {len(cycles)} of them in cycles"
    print(f"{title}: {measures}")
    return f"{title}: {measures}", _drawn(_dot(edges, cycles, nested=nested))


def _dot(edges: Edges, cycles: set[tuple[str, str]], *, nested: bool) -> str:
    """Return a panel in Graphviz's language, without implied imports; if `nested`, with a box around each root."""
    lines = [STYLE]
    for root in ROOTS:
        names = [node for node in edges if node.partition(".")[0] == root]
        nodes = [f'"{node}" [label="{_label(node, nested=nested)}", fillcolor="{COLOURS[root]}"];' for node in names]
        lines += (
            [f'subgraph "cluster_{root}" {{ color="#d0d7de"; style=rounded;', *nodes, "}"]
            if nested and nodes
            else nodes
        )
    for node, imported in without_implied(edges).items():
        lines += [f'"{node}" -> "{each}"{CYCLE if (node, each) in cycles else ""};' for each in sorted(imported)]
    return "\n".join(["digraph {", *lines, "}"])


def _label(node: str, *, nested: bool) -> str:
    """Return the text in a node's box: its full dotted name if `nested`, else the last part."""
    return node if nested else node.rpartition(".")[2]


def _drawn(dot: str) -> str:
    """Return Graphviz's SVG of a graph, without the lines before its `<svg>`."""
    svg = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout
    return svg[svg.index("<svg") :]


def _sheet(panels: list[tuple[str, str]]) -> str:
    """Return one SVG with the panels, pairs of title and SVG, side by side, in rows of at most `ROW_PX`."""
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
