"""What holds for all tests: the same few examples everywhere, and a ^C that reaches children."""

import os
import signal

from hypothesis import settings

# As every command does, and before anything imports torch: workers of pytest share the cores, and
# OpenMP threads that spin while they wait take them from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile(
    "pawnscope", derandomize=True, deadline=None, max_examples=50, database=None
)
settings.load_profile("pawnscope")

# A shell starts background jobs with ^C ignored, and children inherit that: tests that interrupt a
# child would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
