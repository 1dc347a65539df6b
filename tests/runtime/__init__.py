"""Tests of ppghost's own inference engine."""
