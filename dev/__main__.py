"""`python -m dev`, which is `make run`."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load ends without a traceback

from dev.run import main  # noqa: E402

sys.exit(main())
