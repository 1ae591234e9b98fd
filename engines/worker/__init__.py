"""The engine process: frames of many streams in from the daemon, results out, over the frame bus."""
