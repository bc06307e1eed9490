"""Packages that are not in the store any more, since their tenant came from elsewhere: fetched again as approved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tausestack.errors import Unavailable
from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.fetch_npm import fetch_npm
from tausestack_runtime.adapters.launches import Launch


async def stored(store: Path, launch: Launch) -> Launch:
    """Return how a package is started, fetched again where it has to be.

    Raises `Unavailable` where the index has no more the very files that were approved.
    """
    if not launch.files or (store / launch.store).is_dir():
        return launch
    if launch.registry_type == "pypi":
        package = await fetch_python(store, launch.identifier, launch.version, launch.files)
    else:
        package = await fetch_npm(store, launch.identifier, launch.version)
    if package.wheels != dict(launch.files):
        raise Unavailable(
            f"{launch.identifier} {launch.version} is not in the store, and the index has other files than those that "
            "were approved: install it again"
        )
    return replace(launch, store=package.store)
