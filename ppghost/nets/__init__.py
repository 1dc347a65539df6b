"""Networks: one family, one file; shared bricks in `blocks`.

Brick: may import paddle. A net knows numbers; it knows neither YAML nor where weights live.
"""
