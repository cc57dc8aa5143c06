"""The plugin under test is also the plugin in use: nothing to set up beyond naming it."""

pytest_plugins = ["harness.plugin", "pytester"]
