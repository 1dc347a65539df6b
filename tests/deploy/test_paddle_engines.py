"""The engines of the target 'paddle': equal numbers from each, settings as data, refusals that help."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
import yaml

from ppghost.artifact import FACTS_FILE, Artifact, read_artifact, read_golden
from ppghost.errors import ArtifactError, GhostError, ToolMissingError
from ppghost.export import paddle_inference
from ppghost.export.paddle_inference import (
    ENGINES,
    Call,
    PaddlePrecision,
    PaddlePredictor,
    Settings,
    check_engine,
)
from ppghost.export.target import load_target
from ppghost.export.tuning import PRECISION_RTOL
from ppghost.export.verify import check_predictor
from ppghost.machine import cpu_flags
from ppghost.predict import Classifier, ClonablePredictor
from ppghost.runtime import GhostPredictor

ROOT = Path(__file__).resolve().parents[2]
TARGET = load_target("paddle")
CPU_ENGINES = ("ghost", "openvino", "onednn", "native")


def opened(artifact: Artifact, **options: Any) -> Any:
    """Open, or skip where this machine or this artifact lacks what the engine needs."""
    engine = ENGINES[options["engine"]]
    if not {model.format for model in artifact.facts.models} & set(engine.forms):
        pytest.skip(
            f"the artifact has none of the forms {engine.forms}; export a GhostNet with the fused graph"
        )
    try:
        return TARGET.open(artifact, **options)
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_every_engine_gives_the_networks_numbers(ghostnet: Artifact, engine: str, threads: int) -> None:
    golden = read_golden(ghostnet)
    with opened(ghostnet, engine=engine, threads=threads) as predictor:
        for check in check_predictor(predictor, ghostnet, golden, TARGET.atol, TARGET.rtol, engine):
            assert check.passed, check
        one_by_one = np.concatenate([predictor(row[None]) for row in golden.tensor])
        batches = [predictor(np.repeat(golden.tensor, count, axis=0)) for count in (1, 3)]
    np.testing.assert_allclose(batches[0], one_by_one, atol=1e-6)
    np.testing.assert_allclose(batches[1][::3], one_by_one, atol=1e-6)


@pytest.mark.parametrize("engine", ["openvino", "onednn_bf16"])
def test_bf16_stays_near_the_network(ghostnet: Artifact, engine: str) -> None:
    if "avx512_bf16" not in cpu_flags() and "amx_bf16" not in cpu_flags():
        pytest.skip("this CPU has no bf16; run on one with avx512_bf16 or amx_bf16")
    golden = read_golden(ghostnet)
    with opened(ghostnet, engine=engine, threads=1, precision="bf16") as predictor:
        outputs = predictor(golden.tensor)
        for check in check_predictor(
            predictor, ghostnet, golden, TARGET.atol, PRECISION_RTOL["bf16"], engine
        ):
            assert check.passed, check
    with TARGET.open(ghostnet, engine="native", threads=1) as exact:
        assert np.abs(exact(golden.tensor) - outputs).max() > 1e-6, "bf16 was asked for, fp32 was computed"


def test_openvino_leaves_nothing_behind(
    ghostnet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("work", "temporary", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PPGHOST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with opened(ghostnet, engine="openvino", threads=1) as predictor:
        predictor(read_golden(ghostnet).tensor)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_two_networks_do_not_mix(ghostnet: Artifact, tmp_path: Path) -> None:
    """OpenVINO's engines lie in one table of the process, under names that come from the graph."""
    from ppghost.export.paddle import export_network
    from ppghost.nets.ghostnet import GhostNet
    from tests.export.toys import calibrated

    paddle.seed(4)
    net = calibrated(GhostNet(scale=0.5, class_num=ghostnet.facts.class_num), 32)
    shape = ghostnet.facts.input_shape
    other = export_network(net, tmp_path / "o", name="Other", image_shape=shape, pipeline=ghostnet.pipeline)
    artifacts = [ghostnet, other, ghostnet]
    predictors = [opened(artifact, engine="openvino", threads=1) for artifact in artifacts]
    for _ in range(2):
        for predictor, artifact in zip(predictors, artifacts):
            golden = read_golden(artifact)
            assert all(
                check.passed
                for check in check_predictor(
                    predictor, artifact, golden, TARGET.atol, TARGET.rtol, "openvino"
                )
            )


@pytest.mark.parametrize("engine", ["openvino", "onednn", "native"])
def test_another_thread_may_run_it(ghostnet: Artifact, engine: str) -> None:
    images = read_golden(ghostnet).tensor
    found: list[np.ndarray] = []
    with opened(ghostnet, engine=engine, threads=1) as predictor:
        expected = predictor(images)
        thread = threading.Thread(target=lambda: found.append(predictor(images)))
        thread.start()
        thread.join()
        assert not isinstance(predictor, ClonablePredictor)
    np.testing.assert_array_equal(found[0], expected)


def test_a_picture_of_another_size_is_refused(ghostnet: Artifact) -> None:
    with opened(ghostnet, engine="openvino", threads=1) as predictor:
        with pytest.raises(GhostError, match=r"got \[1, 3, 32, 48\]; accepted: \[N, 3, 32, 32\]"):
            predictor(np.zeros((1, 3, 32, 48), np.float32))


def test_the_usual_engine_is_the_best_that_the_artifact_allows(ghostnet: Artifact) -> None:
    forms = {model.format for model in ghostnet.facts.models}
    with TARGET.open(ghostnet, threads=1) as predictor:
        assert isinstance(predictor, GhostPredictor if "ghost" in forms else PaddlePredictor)


def test_ghost_needs_no_paddle(ghostnet: Artifact, tmp_path: Path) -> None:
    """So the first answer comes fast: importing Paddle takes longer than all the rest."""
    with opened(ghostnet, engine="ghost", threads=1):
        pass
    picture = tmp_path / "picture.png"
    picture.write_bytes(read_golden(ghostnet).picture)
    program = (
        "import sys; sys.modules['paddle'] = None; from ppghost.cli import main; "
        f"sys.exit(main(['infer', '--artifact', {str(ghostnet.folder)!r}, {str(picture)!r}]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    with Classifier.from_artifact(ghostnet.folder, engine="native", threads=1) as classifier:
        best = classifier.classify_one(picture)[0]
    assert json.loads(ran.stdout)["class_ids"][0] == best.class_id


def test_an_engine_that_is_missing_is_passed_over_and_told(
    ghostnet: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: object) -> None:
        raise ToolMissingError("There is no compiler.")

    monkeypatch.setattr(type(TARGET).__module__ + ".GhostPredictor", no_compiler)
    caplog.set_level("INFO", "ppghost")
    with TARGET.open(ghostnet, threads=1) as predictor:
        assert isinstance(predictor, PaddlePredictor)
    assert "ghost is passed over: There is no compiler." in caplog.text


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"engine": "openvin"}, GhostError, "Did you mean 'openvino'"),
        ({"engine": "native", "precision": "bf16"}, GhostError, "does not compute in bf16.*onednn"),
        ({"engine": "openvino", "precision": "fp16"}, GhostError, "does not compute in fp16.*tensorrt"),
        (
            {"engine": "openvino", "model_format": "json"},
            ArtifactError,
            "does not read the form 'json'.*pdmodel",
        ),
        ({"engine": "native", "model_format": "onnx"}, ArtifactError, "does not read the form 'onnx'"),
        ({"model_format": "onnx"}, ArtifactError, "no model in the form 'onnx'. Accepted: json, pdmodel"),
        ({"engine": "auto", "model_format": "onnx"}, ArtifactError, "no model in the form 'onnx'"),
        ({"model_format": "pdmodel", "precision": "int8"}, GhostError, "No engine .* pdmodel in int8"),
        ({"engine": "native", "threads": 0}, GhostError, "threads is 0"),
        ({"engine": "native", "batch_size": 0}, GhostError, "batch_size is 0"),
    ],
)
def test_what_open_refuses(
    ghostnet: Artifact, options: dict[str, Any], kind: type[GhostError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        TARGET.open(ghostnet, **options)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle can use a GPU")
@pytest.mark.parametrize("options", [{"engine": "gpu"}, {"engine": "tensorrt", "precision": "fp16"}])
def test_a_gpu_that_is_missing_names_the_wheel(ghostnet: Artifact, options: dict[str, str]) -> None:
    with pytest.raises(ToolMissingError, match="paddlepaddle-gpu.*installation page"):
        TARGET.open(ghostnet, **options)


def test_a_cpu_without_bf16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paddle_inference, "cpu_flags", lambda: frozenset({"sse2", "avx2"}))
    with pytest.raises(GhostError, match="no bf16 arithmetic.*--precision fp32"):
        check_engine("onednn_bf16", "bf16")


def test_what_paddle_says_reaches_the_user(ghostnet: Artifact) -> None:
    """Where batch norms are folded, oneDNN in bf16 fails on the pdmodel form."""
    if "avx512_bf16" not in cpu_flags() or not paddle.__version__.startswith("3.3."):
        pytest.skip("this failure is known of Paddle 3.3 on a CPU with bf16")
    graph, weights = (ghostnet.path_of(f"inference.{suffix}") for suffix in ("pdmodel", "pdiparams"))
    settings = Settings("onednn_bf16", "bf16", input_shape=ghostnet.facts.input_shape)
    with PaddlePredictor(graph, weights, settings) as predictor:
        with pytest.raises(GhostError, match="'onednn_bf16' fails on .*elementwise_add.*another --engine"):
            predictor(read_golden(ghostnet).tensor)


def test_files_that_are_not_what_was_exported(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    artifact = copied()
    weights = artifact.path_of("inference.pdiparams")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="inference.pdiparams was changed"):
        Classifier.from_artifact(artifact.folder, engine="openvino")
    facts = artifact.path_of(FACTS_FILE)
    tree = yaml.safe_load(facts.read_text(encoding="utf-8"))
    tree["Artifact"]["schema"] = 99
    facts.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ArtifactError, match="written in form 99"):
        Classifier.from_artifact(artifact.folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="is no artifact"):
        Classifier.from_artifact(tmp_path / "empty", engine="auto")


def test_paddle_refuses_a_broken_graph_with_a_reason(tmp_path: Path) -> None:
    graph, weights = tmp_path / "inference.json", tmp_path / "inference.pdiparams"
    graph.write_text("{}")
    weights.write_bytes(b"")
    with pytest.raises(ArtifactError, match="cannot load .*inference.json"):
        PaddlePredictor(graph, weights, Settings("native"))


def calls_of(**changes: Any) -> dict[str, Call]:
    settings = dataclasses.replace(Settings("tensorrt", input_shape=(3, 32, 48)), **changes)
    calls = settings.calls("x", Path("/cache"))
    assert len({call.name for call in calls}) == len(calls)
    return {call.name: call for call in calls}


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", PaddlePrecision.FP32), ("fp16", PaddlePrecision.FP16)]
)
def test_tensorrt_settings(precision: str, expected: PaddlePrecision) -> None:
    calls = calls_of(precision=precision, usual_batch=4, largest_batch=16, workspace_bytes=1 << 20)
    names = list(calls)
    # TensorRT refuses to be switched on before the GPU is.
    assert names.index("enable_use_gpu") < names.index("enable_tensorrt_engine")
    assert "disable_gpu" not in names
    assert calls["enable_tensorrt_engine"].named == {
        "workspace_size": 1 << 20,
        "max_batch_size": 16,
        "min_subgraph_size": 3,
        "precision_mode": expected,
        "use_static": True,
        "use_calib_mode": False,
    }
    assert calls["set_optim_cache_dir"].arguments == ("/cache",)
    assert calls["set_trt_dynamic_shape_info"].named == {
        "min_input_shape": {"x": [1, 3, 32, 48]},
        "max_input_shape": {"x": [16, 3, 32, 48]},
        "optim_input_shape": {"x": [4, 3, 32, 48]},
    }


def test_tensorrt_keeps_one_folder_for_each_engine_that_it_builds(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_text(file.name)
    folders = {
        paddle_inference._engine_cache(dataclasses.replace(Settings("tensorrt"), **changes), *ordered)
        for changes in ({}, {"precision": "fp16"}, {"largest_batch": 8}, {"input_shape": (3, 32, 32)})
        for ordered in (files, files[::-1])
    }
    assert len(folders) == 8


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "ghost"])
def test_the_calls_are_those_of_this_paddle(engine: str) -> None:
    """Each call binds to the signature of the real class; those for a GPU are not made."""
    config = paddle.inference.Config()
    for precision in ENGINES[engine].precisions:
        for call in Settings(engine, precision).calls("x", Path("/cache")):
            assert hasattr(config, call.name), call
            documented = getattr(config, call.name).__doc__
            assert all(f"{name}:" in documented for name in call.named), documented
            for value in call.named.values():
                if isinstance(value, PaddlePrecision):
                    assert hasattr(paddle.inference.PrecisionType, value.value)


def test_an_older_paddle_knows_onednn_by_its_old_name() -> None:
    class OldConfig:
        def __init__(self) -> None:
            self.made: list[str] = []

        def enable_mkldnn(self) -> None:
            self.made.append("enable_mkldnn")

        def enable_mkldnn_bfloat16(self) -> None:
            self.made.append("enable_mkldnn_bfloat16")

        def set_mkldnn_cache_capacity(self, capacity: int) -> None:
            self.made.append(f"capacity {capacity}")

    config = OldConfig()
    for call in Settings("onednn_bf16", "bf16").calls("x", Path("/cache")):
        if "onednn" in call.name:
            paddle_inference._apply(config, call, None)
    assert config.made == ["capacity 10", "enable_mkldnn", "enable_mkldnn_bfloat16"]


def test_every_engine_that_is_here_is_verified(ghostnet: Artifact) -> None:
    variants = TARGET.variants(ghostnet)
    pairs = {(variant["engine"], variant["model_format"]) for variant in variants}
    assert {("native", "json"), ("native", "pdmodel"), ("onednn", "json"), ("onednn", "pdmodel")} <= pairs
    assert all(form in ENGINES[engine].forms for engine, form in pairs)
    assert len(pairs) == len(variants)
    assert read_artifact(ghostnet.folder) == ghostnet
