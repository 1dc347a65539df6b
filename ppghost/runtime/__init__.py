"""ppghost's own inference engine for GhostNet on a CPU."""
