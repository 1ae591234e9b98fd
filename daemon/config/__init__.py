"""The configuration, and the words in which sources, sinks and sizes are written."""
