"""From a trained network to what is shipped, with a numerical proof.

`fuse` converts a network into the graph that is shipped, `paddle` writes its artifact, `target` finds the
folders of `deploy/`, `verify` replays the golden inputs. Only `fuse` and `paddle` import Paddle: verifying
and opening other targets works on hosts without it.
This room never imports `train` or `data`.
"""
