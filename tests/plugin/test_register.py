"""The rules of registration, on a stand-in with PaddleClas' layout; the real one is in test_paddleclas.py."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppghost
from ppghost.errors import ToolMissingError

OWN = "def GhostNet_x1_0(**kwargs):\n    return 'theirs'\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, without any PaddleClas before and after."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in {"ppcls", "paddleclas"}]:
        del sys.modules[name]


def install(site: Path, package: str, content: str = OWN) -> None:
    folder = site.joinpath(*package.split("."))
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(content)
    importlib.invalidate_caches()


@pytest.mark.parametrize("package", ["ppcls.arch", "paddleclas.ppcls.arch"])
def test_new_names_are_added_and_existing_ones_left(site: Path, package: str) -> None:
    install(site, package)
    done = ppghost.register()
    assert done.modules == (package,)
    assert done.registered == ("GhostNet_x0_5", "GhostNet_x1_3", "GhostNet_x1_3_ssld")
    assert done.left == ("GhostNet_x1_0",)
    arch = sys.modules[package]
    assert arch.GhostNet_x1_0() == "theirs"
    net = arch.GhostNet_x1_3_ssld(pretrained=False, use_ssld=False, class_num=3)
    assert net.fc_1.weight.shape == [1280, 3]
    assert ppghost.register() == done


def test_existing_names_are_replaced_where_that_is_asked(site: Path) -> None:
    install(site, "ppcls.arch")
    done = ppghost.register(force=True)
    assert (done.registered, done.left) == (tuple(ppghost.list_models()), ())
    assert sys.modules["ppcls.arch"].GhostNet_x1_0(class_num=2).fc_1.weight.shape == [1280, 2]


def test_what_is_loaded_is_served_and_nothing_else_is_imported(site: Path) -> None:
    install(site, "ppcls.arch")
    install(site, "paddleclas.ppcls.arch")
    importlib.import_module("paddleclas.ppcls.arch")
    assert ppghost.register().modules == ("paddleclas.ppcls.arch",)
    assert "ppcls.arch" not in sys.modules
    importlib.import_module("ppcls.arch")
    assert ppghost.register().modules == ("ppcls.arch", "paddleclas.ppcls.arch")


def test_without_paddleclas_the_error_says_how_to_get_it(site: Path) -> None:
    with pytest.raises(ToolMissingError, match=r"found none.*source tree.*paddleclas==2\.6\.0"):
        ppghost.register()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("import numpy; numpy.bool_x", "bool_x"),
    ],
)
def test_a_paddleclas_that_cannot_be_imported_is_not_taken_for_absent(
    site: Path, content: str, message: str
) -> None:
    install(site, "ppcls.arch", content)
    with pytest.raises(ToolMissingError, match=f"importing ppcls.arch fails.*{message}"):
        ppghost.register()
