"""activeduel: which preference pair should be labelled next, and by whom?

``activeduel.theory`` is the mathematics, ``activeduel.sim`` the worlds with known truth,
``activeduel.validate`` the papers' claims and their verdicts, ``activeduel.paper_figs`` the figures.
"""

from ._numba_cache import configure as _configure
from ._version import __version__

_configure()

__all__ = ["__version__"]
