"""Paddle Lite's converter on one model; runs in a Python that has `paddlelite`, of ppghost it needs nothing.

    PYTHON lite_opt.py JOB

JOB is JSON: `graph` and `weights` (files of Paddle's old form), `target` ("arm" or "x86"), `fp16` (whether
ARM computes in 16 bits), `weights16` (whether the weights are stored in 16 bits), `out` (the file to write,
without its suffix `.nb`). The last line of standard output is the converter's version.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Convert."""
    from paddlelite.lite import Opt

    job = json.loads(sys.argv[1])
    opt = Opt()
    opt.set_model_file(job["graph"])
    opt.set_param_file(job["weights"])
    opt.set_model_type("naive_buffer")
    opt.set_optimize_out(job["out"])
    if job["fp16"]:
        opt.enable_fp16()  # before the places: those are made for the precision
    opt.set_valid_places(job["target"])
    if job["weights16"]:
        opt.set_quant_model(True)
        opt.set_quant_type("QUANT_INT16")
    opt.run()
    sys.stdout.write(f"\n{opt.version()}\n")


if __name__ == "__main__":
    main()
