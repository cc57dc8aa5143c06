"""What every test takes for granted of the process that it runs in."""

from __future__ import annotations

import signal

# A shell starts its background jobs deaf to Ctrl-C, and so would be every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
