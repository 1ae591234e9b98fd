"""What ends a run with one clear line. Bad values are `engines.api.ParameterError`; this is the rest."""


class RunError(Exception):
    """Something outside failed while running: a full disk, an engine that cannot be kept alive. One line."""
