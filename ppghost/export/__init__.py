"""From a trained network to what is shipped, with a numerical proof.

`fuse` converts a network into the graph that is shipped, `paddle` writes its artifact, `target` finds the
folders of `deploy/`, `verify` replays the golden inputs, `tuning` measures which engine is the fastest, and
`paddle_inference` runs Paddle's. Only `fuse`, `paddle` and what opens an engine of Paddle import Paddle:
verifying and opening other targets works on hosts without it.
This room never imports `train` or `data`.
"""
