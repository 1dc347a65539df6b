"""Tests of `ppghost.data` and of the DataLoader section."""
