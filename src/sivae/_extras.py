"""Optional dependencies, loaded when used, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from sivae._errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module.

    Parameters
    ----------
    module
        Name to import, for example ``"matplotlib.pyplot"``.
    extra
        The extra of this distribution that installs it.

    Returns
    -------
    The module.

    Raises
    ------
    MissingExtraError
        If it is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingExtraError(
            f"{package} is not installed and is needed here. Install it with: pip install 'sivae-tools[{extra}]'"
        ) from error
