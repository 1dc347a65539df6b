"""Every command of `deploy/paddle/README.md` is run, in the order of the page."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from ppghost.cli import main
from ppghost.export.paddle_inference import ENGINES
from ppghost.machine import cpu_flags
from ppghost.zoo import build_model
from tests.deploy.test_paddle_predict_cls import PADDLECLAS
from tests.export.toys import calibrated

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "paddle"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for line in re.findall(
        r"^    ((?:ppghost|python|pip|bash) .*)$", README.replace("\\\n", " "), re.MULTILINE
    )
]


def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paddle.seed(6)
    paddle.save(calibrated(build_model("GhostNet_x1_0"), 64).state_dict(), "output/best_model.pdparams")
    Path("inference_cls.yaml").write_text(PADDLECLAS)
    Path("pictures").mkdir()
    for name in ("picture.jpg", "pictures/a.jpg", "pictures/b.png"):
        cv2.imwrite(name, np.random.RandomState(1).randint(0, 256, (60, 80, 3)).astype(np.uint8))
    assert len(COMMANDS) == 10
    for words in COMMANDS:
        if words[0] == "pip":
            assert (ROOT / words[-1]).is_file()
        elif "bf16" in words and not {"avx512_bf16", "amx_bf16"} & cpu_flags():
            assert main(words[1:]) == 2
        elif words[0] == "python":
            ran = subprocess.run([sys.executable, str(ROOT / words[1]), *words[2:]], check=False)
            assert ran.returncode == 0, words
        else:
            assert main(words[1:]) == 0, words
    out, err = capfd.readouterr()
    assert re.search(r"Engine \w+, the fastest here: \w+ [\d.]+ ms, \w+ [\d.]+ ms", err)
    assert len(re.findall(r"^(?:a\.jpg|b\.png|picture\.jpg):\tclass id\(s\): \[", out, re.MULTILINE)) == 3
    assert len([line for line in out.splitlines() if line.startswith('{"class_ids"')]) == 3
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert [Path(row["file_name"]).name for row in rows] == ["a.jpg", "b.png"]
    assert Path("inference/tuning.json").is_file()
    _run_the_example(monkeypatch)


def _run_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed: list[object] = []
    exec(compile(example, "README.md", "exec"), {"print": lambda *words: printed.append(words)})
    assert len(printed) == 5


def test_every_engine_is_in_the_table() -> None:
    rows = {
        row[0]: row
        for row in re.findall(r"^\| `(\w+)` \| .* \| (.*) \| (.*) \| .* \|$", README, re.MULTILINE)
    }
    assert set(rows) == {*ENGINES, "auto"}
    for name, engine in ENGINES.items():
        assert re.findall(r"\w+", rows[name][1]) == list(engine.forms), name
        assert re.findall(r"\w+", rows[name][2]) == list(engine.precisions), name


def test_the_script_names_the_commands() -> None:
    script = (FOLDER / "run.sh").read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(FOLDER / "run.sh")], check=False).returncode == 0
    assert subprocess.run(["bash", str(FOLDER / "run.sh")], check=False, capture_output=True).returncode == 2
    for verb in ("export", "verify", "infer"):
        assert f"\nppghost {verb} " in script
