"""Paddle Lite's engine for x86, in float32 and with one thread: its Python package has no setting for more.

It ends the process on a file that it cannot read: the file's header is to be checked before.
"""

from __future__ import annotations

from typing import Any

from .loaded import Loaded


def load(job: dict[str, Any]) -> Loaded:
    """Load a `.nb` file for x86."""
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    config = MobileConfig()
    config.set_model_from_file(job["files"][0])
    predictor = create_paddle_predictor(config)

    def run(images: Any) -> Any:
        predictor.get_input(0).from_numpy(images)
        predictor.run()
        return predictor.get_output(0).numpy().copy()

    return Loaded(predictor.get_version(), None, run)
