"""An artifact names the preprocessing that its accuracy is for; nobody can change one without the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ppghost.artifact import read_artifact
from ppghost.errors import ArtifactError
from ppghost.vision.variants import VARIANTS
from tests.export.test_artifact import write


@pytest.mark.parametrize("way", sorted(VARIANTS))
def test_the_facts_name_the_way_and_give_its_numbers(tmp_path: Path, way: str) -> None:
    artifact = write(tmp_path / "inference", VARIANTS[way].to_list(), None, "ghost")
    assert artifact.preprocessing == way
    assert artifact.pipeline == VARIANTS[way]
    tree = yaml.safe_load((artifact.folder / "inference.yml").read_bytes())
    assert tree["Global"] == {"model_name": "ghost", "preprocessing": way}


def edited(folder: Path, old: str, new: str) -> None:
    facts = folder / "inference.yml"
    text = facts.read_text(encoding="utf-8")
    assert old in text
    facts.write_text(text.replace(old, new), encoding="utf-8")


def test_a_name_and_ops_that_disagree_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", VARIANTS["torchvision"].to_list(), None, "ghost").folder
    edited(folder, "preprocessing: torchvision", "preprocessing: paddleclas")
    with pytest.raises(ArtifactError, match="those of 'torchvision'"):
        read_artifact(folder)
    folder = write(tmp_path / "b", VARIANTS["torchvision"].to_list(), None, "ghost").folder
    edited(folder, "backend: pil", "backend: cv2")
    with pytest.raises(ArtifactError, match="those of 'other'"):
        read_artifact(folder)


def test_an_artifact_of_before_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", VARIANTS["paddleclas"].to_list(), None, "ghost").folder
    edited(folder, "  preprocessing: paddleclas\n", "")
    assert read_artifact(folder).preprocessing == "paddleclas"
