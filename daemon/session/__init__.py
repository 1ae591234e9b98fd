"""Sessions: one source, one stream through the engine, any number of sinks."""
