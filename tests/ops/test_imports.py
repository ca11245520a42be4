"""The picture of the imports shows every cycle, and leaves out only what a longer way implies."""

import shutil
from pathlib import Path

import pytest

from ops import imports
from ops.imports import child_edges, folder_edges, in_cycles, layers, reachable, without_implied

TREE = {
    "a": set[str](),
    "a.one": {"a.sub.deep", "b", "b.two"},
    "a.sub": set[str](),
    "a.sub.deep": {"a.two"},
    "a.two": set[str](),
    "b": set[str](),
    "b.two": set[str](),
}
CHAIN = {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": set[str]()}
CYCLE = {"top": {"middle", "bottom"}, "middle": {"bottom"}, "bottom": {"middle"}}


def test_the_nodes_of_a_folder_are_its_modules_and_its_sub_folders() -> None:
    assert child_edges(TREE, "a") == {"a.one": {"a.sub"}, "a.sub": {"a.two"}, "a.two": set()}


def test_between_folders_their_own_modules_and_sub_folders_do_not_count() -> None:
    assert folder_edges(TREE, ["a", "a.sub", "b"]) == {"a": {"b"}, "a.sub": set(), "b": set()}


def test_what_a_longer_way_implies_is_left_out() -> None:
    assert without_implied(CHAIN) == {"top": {"middle"}, "middle": {"bottom"}, "bottom": set()}
    assert reachable(CHAIN)["top"] == {"middle", "bottom"}
    assert layers(CHAIN) == 3
    assert in_cycles(CHAIN) == set()


def test_a_cycle_is_drawn_whole() -> None:
    assert in_cycles(CYCLE) == {("middle", "bottom"), ("bottom", "middle")}
    assert without_implied(CYCLE)["middle"] == {"bottom"}
    assert without_implied(CYCLE)["bottom"] == {"middle"}
    assert without_implied(CYCLE)["top"] == {"middle", "bottom"}


def test_without_graphviz_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="Graphviz"):
        imports.main([str(tmp_path / "imports.svg")])


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_drawing_has_every_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imports.main([str(tmp_path / "new" / "imports.svg")])
    drawn = (tmp_path / "new" / "imports.svg").read_text()
    assert all(folder in drawn for folder in ("services.edge.http", "contracts.broker", "inference.wan.vae"))
    assert "ops.local: " in capsys.readouterr().out
