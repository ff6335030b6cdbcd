"""`python -m dev`, which is `make run`."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are loaded Ctrl-C just ends, without a traceback

from dev.run import main  # noqa: E402

sys.exit(main())
