"""Check Pawnscope: `python3 scripts/test.py [--quick] [PYTEST ARGUMENTS]`; see setup/checks.py."""

import os
import sys

if __name__ == "__main__":
    # Python put scripts/ here, where files would hide library modules of the same name.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        from scripts.setup.environment import run_in_environment

        run_in_environment("scripts.setup.checks", extras=("test",))
    except KeyboardInterrupt:
        sys.exit(130)
