"""What a stream remembers of its own pictures, so that a stroke stays on the thing that it is painted on."""
