"""The commands of `driftcam`, a module a family: `add` describes it to argparse, `main` does it."""
