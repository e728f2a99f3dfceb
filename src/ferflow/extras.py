"""The extras of the package: which of them brings a library, and how one is told to install it. It knows no command.

What an extra asks for stands in the package's metadata alone; where the package comes from (a clone, a wheel) nothing here knows.
"""

from importlib.metadata import requires

EXTRAS = ("train", "data", "track", "flows", "cluster", "serve", "monitor")
_PACKAGES = {"sklearn": "scikit-learn", "pytorch_grad_cam": "grad-cam"}  # modules that are not called as their package


def how(extra: str) -> str:
    """What to do to have an extra."""
    return f"install ferflow with its extra '{extra}'"


def missing(module: str) -> str | None:
    """What to say where a module cannot be imported: the extra that brings it; None for one that no extra names."""
    from packaging.requirements import Requirement

    name = _PACKAGES.get(module.split(".")[0], module.split(".")[0]).replace("_", "-").lower()
    asked = [one for one in map(Requirement, requires("ferflow") or []) if one.name.lower() == name]
    for extra in EXTRAS:
        if any(one.marker and one.marker.evaluate({"extra": extra}) for one in asked):
            return f"the package {name} is not installed; {how(extra)}"
    return None
