"""What the reports are in a browser: Chromium, without a window, on files."""
