"""Property tests draw the same examples in every run; compilation makes first examples slow."""

from hypothesis import settings

settings.register_profile("fixed", deadline=None, derandomize=True)
settings.load_profile("fixed")
