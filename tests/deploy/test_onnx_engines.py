"""The engines of ONNX: right against golden, wherever they run; crashes and bad files are sentences."""

from __future__ import annotations

import dataclasses
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ppghost.artifact import Artifact, read_artifact, read_golden, write_artifact
from ppghost.cli import main
from ppghost.engines import ENGINES, EngineNetwork, open_engine
from ppghost.engines.files import model_files, rows_of
from ppghost.engines.process import EngineProcess
from ppghost.engines.table import is_at_hand, is_importable
from ppghost.environments import ensure_environment
from ppghost.errors import ArtifactError, GhostError, VerificationError
from ppghost.export.target import load_target
from ppghost.export.tuning import Wish, recall
from ppghost.export.verify import check_predictor, verify
from tests.deploy.conftest import SIZE
from tests.deploy.onnx_tools import engine_params, needs_paddle2onnx, remedy
from tests.deploy.tiny_onnx import needs_onnxruntime, scores_of, tiny_onnx

TARGET = load_target("onnx")
pytestmark = [needs_paddle2onnx, needs_onnxruntime]


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal((count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("engine", engine_params())
@pytest.mark.parametrize(("threads", "batch_size"), [(1, 1), (2, 2)])
def test_golden(onnx_ghostnet: Artifact, engine: str, threads: int, batch_size: int) -> None:
    golden = read_golden(onnx_ghostnet)
    options = {"engine": engine, "threads": threads, "batch_size": batch_size}
    with TARGET.open(onnx_ghostnet, **options) as network:
        rtol = TARGET.engine_rtol[engine]
        for check in check_predictor(network, onnx_ghostnet, golden, TARGET.atol, rtol, engine):
            assert check.passed, check


@pytest.mark.parametrize("engine", engine_params())
def test_rows_do_not_depend_on_their_company(onnx_ghostnet: Artifact, engine: str) -> None:
    images = rows(5)
    with TARGET.open(onnx_ghostnet, engine=engine, threads=1, batch_size=2) as network:
        together = network(images)
        alone = np.concatenate([network(images[place : place + 1]) for place in (3, 0)])
        first = together.copy()
        network(rows(5, seed=9))
        # An answer is an array of its own, which the next call leaves alone.
        np.testing.assert_array_equal(together, first)
    assert together.shape == (5, onnx_ghostnet.facts.class_num)
    np.testing.assert_allclose(alone, together[[3, 0]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", engine_params())
def test_clones_live_by_themselves(onnx_ghostnet: Artifact, engine: str) -> None:
    images = rows(2)
    with TARGET.open(onnx_ghostnet, engine=engine) as network:
        assert isinstance(network, EngineNetwork)
        expected = network(images)
        other = network.clone()
    with pytest.raises(GhostError, match="was released"):
        network(images)
    with other:
        np.testing.assert_allclose(other(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", engine_params())
@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "foreign"])
def test_a_bad_file_is_a_sentence(onnx_ghostnet: Artifact, tmp_path: Path, engine: str, kind: str) -> None:
    model = tmp_path / "model.onnx"
    whole = (onnx_ghostnet.folder / "inference.onnx").read_bytes()
    contents = {"empty": b"", "text": b"no model\n" * 9, "truncated": whole[: len(whole) // 2]}
    if kind == "foreign":
        model.write_bytes((onnx_ghostnet.folder / "golden.npz").read_bytes())
    elif kind != "missing":
        model.write_bytes(contents[kind])
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        open_engine(engine, model, (3, SIZE, SIZE))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 3, SIZE, SIZE + 1), np.float32),
        np.zeros((3, SIZE, SIZE), np.float32),
        np.zeros((0, 3, SIZE, SIZE), np.float32),
    ],
)
def test_rows_of_another_shape_are_refused(onnx_ghostnet: Artifact, images: np.ndarray) -> None:
    with TARGET.open(onnx_ghostnet, engine="onnxruntime") as network:
        with pytest.raises(GhostError, match="accepted: "):
            network(images)
        assert len(network(rows(1))) == 1


def test_a_crash_of_the_process_is_a_sentence(onnx_ghostnet: Artifact) -> None:
    network = in_process(onnx_ghostnet.folder / "inference.onnx")
    images = rows(1)
    network(images)
    os.kill(network._process.pid, signal.SIGSEGV)
    network._process.wait()
    with pytest.raises(GhostError, match=r"crashed: its process ended with code -11"):
        network(images)
    network.close()
    network.close()
    with pytest.raises(GhostError, match="was released"):
        network(images)


@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to wait for a process of another")
def test_who_is_killed_leaves_nothing_behind(tmp_path: Path, calls: int) -> None:
    """The worker sees the end of its orders, and clears up what the killed program cannot."""
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny_onnx(side=SIZE))
    program = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from tests.deploy.test_onnx_engines import in_process, rows;"
        "network = in_process(Path(sys.argv[1])); [network(rows(1)) for _ in range(int(sys.argv[2]))];"
        "print(network._process.pid, network._folder.name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(model), str(calls)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as killed:
        told, _ = killed.communicate()
    pid, folder = told.split()
    with suppress(ProcessLookupError):
        worker = os.pidfd_open(int(pid))
        select.select([worker], [], [])
        os.close(worker)
    assert killed.returncode == -signal.SIGKILL
    assert not Path(folder).exists()


def test_a_predictor_tells_its_precision_and_the_time_of_all_portions(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx(side=SIZE, batch=1))
    with open_engine("onnxruntime", tmp_path / "tiny.onnx", (3, SIZE, SIZE), precision="int8") as network:
        assert network.precision == "int8"
        np.testing.assert_allclose(network(rows(3)), scores_of(rows(3)), rtol=1e-5, atol=1e-6)
        assert network.seconds > 0


def in_process(model: Path) -> EngineProcess:
    """Return ONNX Runtime behind the bridge, also where it could be imported."""
    engine = ENGINES["onnxruntime"]
    python = Path(sys.executable) if is_importable(engine) else ensure_environment(engine.environment)
    job = {"files": [str(model)], "threads": 1, "input_shape": (3, SIZE, SIZE), "batch": 1}
    return EngineProcess(python, "onnxruntime", job)


def test_the_bridge_carries_any_number_of_rows(tmp_path: Path) -> None:
    """Growing and shrinking batches through one mapped file; the model is computed by hand."""
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny_onnx(side=SIZE))
    network = in_process(model)
    folder = Path(network._folder.name)
    for count in (1, 5, 2, 33, 1):
        images = rows(count, seed=count)
        np.testing.assert_allclose(network(images), scores_of(images), rtol=1e-5, atol=1e-6)
        assert network.seconds > 0
    # A refusal leaves the bridge standing.
    with pytest.raises(ArtifactError, match="cannot go on"):
        network(np.zeros((1, 4, SIZE, SIZE), np.float32))
    np.testing.assert_allclose(network(rows(1)), scores_of(rows(1)), rtol=1e-5, atol=1e-6)
    network.close()
    assert not folder.exists()


def test_no_such_python(tmp_path: Path) -> None:
    job = {"files": ["x.onnx"], "threads": 1, "input_shape": (3, 8, 8), "batch": 1}
    with pytest.raises(GhostError, match="cannot be started"):
        EngineProcess(tmp_path / "python", "onnxruntime", job)


@pytest.mark.parametrize(
    "engine", [each for each in engine_params() if ENGINES[each.values[0]].form != "onnx"]
)
def test_a_damaged_copy_is_made_again(onnx_ghostnet: Artifact, engine: str) -> None:
    model = onnx_ghostnet.folder / "inference.onnx"
    kept = model_files(ENGINES[engine], model, (3, SIZE, SIZE))
    whole = [path.read_bytes() for path in kept]
    kept[-1].write_bytes(whole[-1][:1000])
    again = model_files(ENGINES[engine], model, (3, SIZE, SIZE))
    assert again == kept
    assert kept[-1].stat().st_size == len(whole[-1])
    assert kept[0].parent.parent.name == "models"


def test_ncnn_takes_one_row_at_a_time(tmp_path: Path) -> None:
    model = tmp_path / "three.onnx"
    model.write_bytes(tiny_onnx(side=SIZE, batch=3))
    assert rows_of(model) == 3
    with pytest.raises(ArtifactError, match="takes 3 rows at once, and ncnn takes one"):
        model_files(ENGINES["ncnn"], model, (3, SIZE, SIZE))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "openvin"}, "Did you mean 'openvino'"),
        ({"engine": "ghost"}, "Unknown engine 'ghost' of the target 'onnx'"),
        ({"precision": "bf16"}, "Accepted: fp32"),
        ({"threads": 0}, "threads is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_options_that_cannot_be(onnx_ghostnet: Artifact, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(GhostError, match=sentence):
        TARGET.open(onnx_ghostnet, **options)


def test_auto_measures_once_and_remembers(onnx_ghostnet: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(onnx_ghostnet.folder, folder)
    artifact, wish = read_artifact(folder), Wish(1)
    assert recall(artifact, wish, ENGINES) is None
    with TARGET.open(artifact, engine="auto", threads=1) as network:
        network(rows(1))
    tuning = recall(artifact, wish, ENGINES)
    assert tuning is not None
    assert set(tuning.milliseconds) == {
        name for name in ENGINES if name == "onnxruntime" or is_at_hand(ENGINES[name])
    }
    assert tuning.engine == min(tuning.milliseconds, key=lambda name: tuning.milliseconds[name])
    with TARGET.open(artifact, threads=1) as network:
        assert isinstance(network, EngineNetwork)
        assert network._order.engine.name == tuning.engine


@pytest.mark.skipif(not is_at_hand(ENGINES["ncnn"]), reason=f"ncnn is not here. {remedy('NCNN')}")
def test_an_engine_is_judged_by_its_own_tolerance(onnx_ghostnet: Artifact, tmp_path: Path) -> None:
    """Golden is moved by ten times of what is tolerated: ncnn is allowed a hundred times as much."""
    folder = tmp_path / "copy"
    shutil.copytree(onnx_ghostnet.folder, folder)
    golden = read_golden(onnx_ghostnet)
    logits = golden.tensor_logits + 1e-4 * np.abs(golden.tensor_logits).max(axis=1, keepdims=True)
    logits[:, ::2] = golden.tensor_logits[:, ::2]
    moved = dataclasses.replace(golden, tensor_logits=logits.astype(np.float32))
    with pytest.raises(VerificationError, match="engine=onnxruntime") as caught:
        verify(TARGET, write_artifact(read_artifact(folder), moved))
    assert "ncnn" not in str(caught.value)


def predict_cls(tmp_path: Path, *overrides: str) -> list[str]:
    config = tmp_path / "inference_cls.yaml"
    config.write_text(
        f"""Global:
  infer_imgs: {tmp_path / "pictures"}
  use_gpu: False
  enable_mkldnn: True
  cpu_num_threads: 1
PreProcess:
  transform_ops:
    - ResizeImage: {{resize_short: {SIZE + SIZE // 8}}}
    - CropImage: {{size: {SIZE}}}
    - NormalizeImage: {{scale: 0.00392157, order: ''}}
    - ToCHWImage:
PostProcess:
  main_indicator: Topk
  Topk: {{topk: 3, class_id_map_file: null}}
""",
        encoding="utf-8",
    )
    return ["predict_cls", "-c", str(config), *(word for change in overrides for word in ("-o", change))]


def test_use_onnx_as_in_paddleclas(
    ghostnet: Artifact, onnx_ghostnet: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same lines from Paddle's files and from ONNX, also where another program wrote the ONNX file."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "golden.png").write_bytes(read_golden(ghostnet).picture)
    where = "Global.inference_model_dir="
    assert main(predict_cls(tmp_path, f"{where}{ghostnet.folder}")) == 0
    expected = capfd.readouterr().out
    assert expected.startswith("golden.png:\tclass id(s): [")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(onnx_ghostnet.folder / "inference.onnx", foreign)
    for folder in (onnx_ghostnet.folder, foreign):
        assert main(predict_cls(tmp_path, f"{where}{folder}", "Global.use_onnx=True")) == 0
        assert capfd.readouterr().out == expected
    assert main(predict_cls(tmp_path, f"{where}{onnx_ghostnet.folder}")) == 2
    assert "Set Global.use_onnx=True" in capfd.readouterr().err
    assert main(predict_cls(tmp_path, f"{where}{ghostnet.folder}", "Global.use_onnx=True")) == 2
    assert "inference.onnx is not there" in capfd.readouterr().err
