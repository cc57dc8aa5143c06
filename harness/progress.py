"""A progress bar on a terminal: requests, tokens per second, time left. Nothing where nobody watches."""

from __future__ import annotations

import sys
import time
from typing import Any


class Bar:
    """Progress of one model; quiet unless standard error is a terminal."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._bar: Any = None
        self._requests = 0
        self._total = 0
        self._tokens = 0
        self._since = 0.0

    def start(self, requests: int, tokens: int) -> None:
        """Open a bar over `tokens` tokens, which stand for the time better than requests do."""
        if not sys.stderr.isatty():
            return
        from tqdm import tqdm  # noqa: PLC0415 - only terminals need it

        self._requests, self._total, self._tokens, self._since = 0, requests, 0, time.perf_counter()
        layout = "asking the model {percentage:3.0f}% |{bar:24}| {postfix} [{elapsed}<{remaining}]"
        self._bar = tqdm(total=tokens, file=sys.stderr, leave=False, bar_format=layout, dynamic_ncols=True)

    def advance(self, requests: int, tokens: int) -> None:
        """Move the bar by one batch."""
        if self._bar is None:
            return
        self._requests += requests
        self._tokens += tokens
        rate = self._tokens / max(time.perf_counter() - self._since, 1e-9)
        self._bar.set_postfix_str(f"{self._requests}/{self._total} requests, {rate:.0f} tokens/s", refresh=False)
        self._bar.update(tokens)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
