"""Measurements of training: `training` compares steps of several programs, `step_parts` takes one step apart.

`worker` is a program of its own: it runs in the environments of the other programs too, and there nothing of
ours can be imported. `report` turns results into a table, JSON and a plot.

Door: may import every floor; prints nothing.
"""
