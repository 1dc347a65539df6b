"""The network alone: one engine with one model file, asked for outputs and for the time of a batch.

The job gives `engine`, `threads`, `golden` (a .npz whose `tensor` are input rows), and what the engine needs:
`artifact`, `files`, `options`. To load is to make the network ready; the facts are told after the
first prediction. The orders are

    what="score", batch, rows, output, reference    write the outputs for the rows of a .npy file
    what="time", batch, calls                       time calls of that batch

`reference` asks for a run without the engine's optimisations, where only the program itself knows the truth.
"""

from __future__ import annotations

import importlib
import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from .training import open_torchvision

Run = Callable[[Any], Any]
"""`float32 [N, 3, H, W]` to `float32 [N, classes]`."""

_TRIALS = 5
# Engine -> its package, and what the setting is called in which its file in `ppghost/engines/inside` runs it.
_SHIPPED = {
    "onnxruntime": ("onnxruntime", "all optimisations"),
    "mnn": ("MNN", "precision high"),
    "ncnn": ("ncnn", "one by one"),
}


@dataclass
class Loaded:
    """A network that is ready.

    Attributes:
        settings_of: batch size -> name of a setting of the engine -> how it is run; the fastest is taken.
        reference: a run that its optimisations have no part in; None where others know the truth.
    """

    settings_of: Callable[[int], dict[str, Run]]
    reference: Optional[Run] = None


Load = Callable[[], Loaded]


def ours(job: dict[str, Any]) -> tuple[str, Load]:
    """An engine of ppghost, opened as `ppghost infer` opens it."""
    ppghost = importlib.import_module("ppghost")
    target_room = importlib.import_module("ppghost.export.target")
    read_artifact = importlib.import_module("ppghost.artifact").read_artifact

    def load() -> Loaded:
        artifact = read_artifact(job["artifact"])
        target = target_room.load_target(artifact.facts.target)
        predictor = target.open(artifact, threads=job["threads"], **job["options"])
        name = job["options"].get("engine") or type(predictor).__name__
        return Loaded(lambda _: {name: predictor})

    return f"ppghost {ppghost.__version__}", load


def paddle_inference(job: dict[str, Any]) -> tuple[str, Load]:
    """Paddle Inference with oneDNN, set up as PaddleClas' predictor sets it up."""
    import paddle
    from paddle import inference

    def load() -> Loaded:
        predictor, copy_in, copy_out = paddle_predictor(inference, job)

        def run(images: Any) -> Any:
            copy_in(images)
            predictor.run()
            return copy_out()

        return Loaded(lambda _: {"oneDNN": run})

    return f"paddle {paddle.__version__}", load


def paddle_predictor(inference: Any, job: dict[str, Any]) -> tuple[Any, Run, Callable[[], Any]]:
    """Return a predictor on oneDNN, and what copies in and out."""
    config = inference.Config(*job["files"])
    config.disable_gpu()
    config.disable_glog_info()
    config.set_mkldnn_cache_capacity(10)
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(job["threads"])
    config.switch_ir_optim(True)
    if job["options"]["memory_optim"]:
        config.enable_memory_optim()
    predictor = inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    sink = predictor.get_output_handle(predictor.get_output_names()[0])
    return predictor, source.copy_from_cpu, sink.copy_to_cpu


def shipped_engine(job: dict[str, Any]) -> tuple[str, Load]:
    """An engine that ppghost ships to, run by the same file of `ppghost/engines/inside`."""
    package, setting = _SHIPPED[job["engine"]]
    importlib.import_module(package)
    engine = importlib.import_module(f".run_{job['engine']}", __package__)

    def load() -> Loaded:
        ready = [engine.load({**job, "batch": 1})]

        def settings_of(batch: int) -> dict[str, Run]:
            if ready[0].rows not in (None, batch):
                ready[0] = engine.load({**job, "batch": batch})
            return {setting: ready[0].run}

        return Loaded(settings_of)

    return f"{package} {version_of(package)}", load


def openvino(job: dict[str, Any]) -> tuple[str, Load]:
    """OpenVINO: the latency hint; for batches also the throughput hint, each stream with its part."""
    import openvino as ov

    engine = importlib.import_module(".run_openvino", __package__)

    def compiled(batch: int, hint: str) -> Any:
        return engine.compiled(job, batch, {**job["options"], "PERFORMANCE_HINT": hint})

    def load() -> Loaded:
        ready = {1: compiled(1, "LATENCY")}

        def settings_of(batch: int) -> dict[str, Run]:
            request = (ready.pop(batch, None) or compiled(batch, "LATENCY")).create_infer_request()
            settings = {"latency hint": lambda images: request.infer([images], share_inputs=True)[0].copy()}
            streams = job["threads"]
            if batch > 1 and streams > 1 and batch % streams == 0:
                parallel = compiled(batch // streams, "THROUGHPUT")
                queue = ov.AsyncInferQueue(parallel, streams)
                settings["throughput hint"] = lambda images: _in_streams(queue, images, streams)
            return settings

        return Loaded(settings_of)

    return f"openvino {version_of('openvino')}", load


def _in_streams(queue: Any, images: Any, streams: int) -> Any:
    parts: list[Any] = [None] * streams

    def keep(request: Any, place: int) -> None:
        parts[place] = request.get_output_tensor(0).data.copy()

    queue.set_callback(keep)
    for place, part in enumerate(np.split(images, streams)):
        queue.start_async([part], place)
    queue.wait_all()
    return np.concatenate(parts)


def timm(job: dict[str, Any]) -> tuple[str, Load]:
    """PyTorch: timm's network, compiled with frozen weights, channels last. Its weights are its own."""
    import torch
    import torch._inductor.config

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    open_torchvision()
    create_model = importlib.import_module("timm").create_model

    def load() -> Loaded:
        torch._inductor.config.freezing = True
        net = create_model(job["options"]["network"], num_classes=job["options"]["class_num"]).eval()
        net = net.to(memory_format=torch.channels_last)
        # One compilation for each batch size: the code for any size is slower.
        compiled = torch.compile(net, dynamic=False)

        def run_with(network: Any) -> Run:
            def run(images: Any) -> Any:
                with torch.inference_mode():
                    rows = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
                    return network(rows).numpy()

            return run

        return Loaded(lambda _: {"compiled, frozen, channels last": run_with(compiled)}, run_with(net))

    return f"torch {torch.__version__}, timm {version_of('timm')}", load


ENGINES: dict[str, Callable[[dict[str, Any]], tuple[str, Load]]] = {
    "ours": ours,
    "paddle": paddle_inference,
    "openvino": openvino,
    "timm": timm,
    **dict.fromkeys(_SHIPPED, shipped_engine),
}


def version_of(package: str) -> str:
    """Return the version of an installed package."""
    import importlib.metadata

    return importlib.metadata.version(package)


class Bench:
    """A loaded network that obeys orders.

    Args:
        loaded: the network.
        rows: `float32 [N, 3, H, W]`, what it is timed with.
    """

    def __init__(self, loaded: Loaded, rows: Any) -> None:
        self._loaded = loaded
        self._rows = rows
        self._batch = 0
        self._chosen = ""
        self._run: Run

    def obey(self, what: str, batch: int, **words: Any) -> dict[str, Any]:
        """Do what is ordered; the first order for a batch size prepares the engine for it."""
        self._prepare(batch)
        orders: dict[str, Callable[..., dict[str, Any]]] = {"score": self._score, "time": self._time}
        return orders[what](batch, **words)

    def _prepare(self, batch: int) -> None:
        """Take the fastest of the engine's settings for a batch size."""
        if batch == self._batch:
            return
        settings, images = self._loaded.settings_of(batch), tiled(self._rows, batch)
        if len(settings) > 1:
            names = sorted(settings, key=lambda name: _typical_seconds(settings[name], images))
        else:
            names = list(settings)
        self._batch, self._chosen, self._run = batch, names[0], settings[names[0]]

    def _score(self, batch: int, rows: str, output: str, *, reference: bool = False) -> dict[str, Any]:
        images = np.load(rows)
        run = (self._loaded.reference or self._run) if reference else self._run
        parts = [run(tiled(images[start : start + batch], batch)) for start in range(0, len(images), batch)]
        np.save(output, np.concatenate(parts)[: len(images)])
        return {"setting": self._chosen}

    def _time(self, batch: int, calls: int) -> dict[str, Any]:
        images = tiled(self._rows, batch)
        return {"seconds": [_seconds(self._run, images) for _ in range(calls)]}


def tiled(rows: Any, batch: int) -> Any:
    """Return the rows, repeated until there are `batch` of them."""
    return np.ascontiguousarray(rows[np.arange(batch) % len(rows)])


def _seconds(run: Run, images: Any) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start


def _typical_seconds(run: Run, images: Any) -> float:
    return statistics.median([_seconds(run, images) for _ in range(_TRIALS + 1)][1:])


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """Load the network and predict once; return the engine's version and the seconds of loading."""
    version, load = ENGINES[job["engine"]](job)
    with np.load(job["golden"]) as arrays:
        rows = arrays["tensor"]
    start = time.perf_counter()
    bench = Bench(load(), rows)
    load_seconds = time.perf_counter() - start
    bench.obey("time", 1, calls=1)
    return {"framework": version, "load_seconds": load_seconds}, bench.obey
