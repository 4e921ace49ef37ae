"""Lays kernels/ into the package as minivgg.kernels; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

folders = find_packages("kernels")  # one an operation; kernels/ itself is no package, so that it never installs as "kernels"
setup(
    packages=find_packages(include=["minivgg", "minivgg.*"]) + [f"minivgg.kernels.{name}" for name in folders],
    package_dir={f"minivgg.kernels.{name}": f"kernels/{name.replace('.', '/')}" for name in folders},
)
