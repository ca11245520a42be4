from pathlib import Path

import pytest

from contracts.outbound.about import Project, project, user_agent
from contracts.process import env
from services.edge.settings import Settings


def test_a_checkout_knows_its_version_and_the_address_of_its_project(tmp_path: Path) -> None:
    assert project().address.startswith("https://")
    bare = tmp_path / "pyproject.toml"
    bare.write_text('[project]\nname = "wanjet"\nversion = "3.1"\n')
    assert project(bare) == Project("3.1", "")


def test_without_a_checkout_the_installed_package_is_asked_and_without_one_nothing_is_claimed(tmp_path: Path) -> None:
    installed = project(tmp_path / "none", package="pytest")
    assert installed.version == pytest.__version__
    assert installed.address.startswith("https://")
    assert project(tmp_path / "none", package="no-such-package-here") == Project("0", "")


def test_an_operator_gives_a_contact_of_printable_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        env.read(Settings, {"OUTBOUND_CONTACT": "https://example.org/bot"}).outbound_contact
        == "https://example.org/bot"
    )
    assert user_agent("ops@example.org").endswith(" (+ops@example.org)")
    for wrong in ("a\r\nX-Evil: 1", "a\n", "\x00abc", "bücher@example.org", "(nested)", "a" * 201, "ab", " a "):
        with pytest.raises(env.BadSetting, match="OUTBOUND_CONTACT"):
            env.read(Settings, {"OUTBOUND_CONTACT": wrong})
