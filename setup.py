"""Build ppghost; every other setting is in pyproject.toml."""

from setuptools import find_packages, setup

# Found, not listed: a new room needs no edit here. The last two are the folders configs/ and deploy/.
setup(packages=[*find_packages(include=["ppghost", "ppghost.*"]), "ppghost.configs", "ppghost.deploy"])
