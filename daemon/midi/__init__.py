"""MIDI at the daemon: controllers move parameters, looks and switches, and follow what others change."""
