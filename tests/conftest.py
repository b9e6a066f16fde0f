"""One profile for all property tests: the same examples everywhere, few enough to stay quick."""

from hypothesis import settings

settings.register_profile(
    "pawnscope", derandomize=True, deadline=None, max_examples=50, database=None
)
settings.load_profile("pawnscope")
