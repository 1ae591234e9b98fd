"""What this machine can run networks on, found out and tried."""
