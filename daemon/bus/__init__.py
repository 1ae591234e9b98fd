"""The frame bus for other programs on this machine."""
