"""What a long-running service owes the machine: systemd, logs, metrics, a pulse."""
