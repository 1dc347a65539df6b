"""Training: the loop, and the bricks it is made of (losses, optimizers, schedules, metrics, EMA, AMP).

Import the modules: this file loads nothing, so that one brick can be had without the others.
"""
