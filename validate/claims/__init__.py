"""The papers' claims, one file each, and the one tuple that registers them."""

from ..claim import Claim

CLAIMS: tuple[Claim, ...] = ()
