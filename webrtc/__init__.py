"""Browsers: the page, and the peers that bring its pictures."""
