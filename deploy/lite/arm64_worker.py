"""Run an exported network with Paddle Inference's own kernels; `check_arm64.py` runs this under qemu.

    PYTHON arm64_worker.py GRAPH WEIGHTS INPUTS.npy OUTPUTS.npy

Imports nothing of ppghost, which is not there. The last line of standard output is the processor's kind,
Paddle's version, and the seconds of one picture, as JSON.
"""

from __future__ import annotations

import json
import platform
import sys
import time


def main() -> None:
    """Load, run one picture at a time, save."""
    import numpy as np
    import paddle
    from paddle import inference

    graph, weights, inputs, outputs = sys.argv[1:]
    config = inference.Config(graph, weights)
    config.disable_gpu()
    config.disable_mkldnn()
    config.set_cpu_math_library_num_threads(1)
    predictor = inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    sink = predictor.get_output_handle(predictor.get_output_names()[0])
    rows = []
    start = time.perf_counter()
    for image in np.load(inputs):
        source.copy_from_cpu(np.ascontiguousarray(image[np.newaxis]))
        predictor.run()
        rows.append(sink.copy_to_cpu()[0].copy())
    seconds = (time.perf_counter() - start) / len(rows)
    np.save(outputs, np.stack(rows))
    facts = {"machine": platform.machine(), "paddle": paddle.__version__, "seconds": seconds}
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


if __name__ == "__main__":
    main()
