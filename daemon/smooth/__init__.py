"""Pictures between those of the engine: how they are made, and when they are shown."""
