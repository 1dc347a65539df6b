"""Tests of `ppghost.vision`."""
