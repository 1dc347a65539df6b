"""From a trained network to what is shipped, with a numerical proof.

`paddle` writes the artifact of a network, `target` finds the folders of `deploy/`, `verify` replays the
golden inputs. Only `paddle` imports Paddle: verifying and opening other targets works on hosts without it.
This room never imports `train` or `data`.
"""
