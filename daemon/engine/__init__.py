"""The engine process as the daemon sees it, and the supervisor that keeps one alive."""
