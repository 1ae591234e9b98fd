"""`driftcam config`: check and show the configuration."""

from __future__ import annotations

import argparse

from driftcam.daemon.commands.serve import add_configuration, loader


def add(commands: argparse._SubParsersAction) -> None:
    config = commands.add_parser("config", help="check or show the configuration")
    actions = config.add_subparsers(dest="action", required=True)
    for name, about in (("check", "say what is wrong and where"), ("show", "with everything that is not given")):
        parser = actions.add_parser(name, help=about)
        add_configuration(parser)
        parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Returns the exit status. Raises `ConfigError`, which has a line for everything that is wrong."""
    from driftcam.daemon.config.folders import config_file

    config = loader(options)()
    path = options.config or config_file()
    if options.action == "check":
        print(f"{path}: {'it is right' if path.exists() else 'there is no such file; everything has its default'}")
        return 0
    for section, values in config.model_dump(mode="json", exclude_none=True).items():
        print(f"[{section}]")
        for name, value in values.items():
            print(f"{name} = {_toml(value)}")
        print()
    return 0


def _toml(value: object) -> str:
    """A value of a configuration as TOML, which JSON is but for tables."""
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
