"""`python -m driftcam.engines.doctor [--try]`: the engine's findings as JSON, for `driftcam doctor`."""

from __future__ import annotations

import json
import sys

from driftcam.engines.doctor.facts import facts


def main() -> None:
    findings = facts()
    if "--try" in sys.argv[1:]:
        from driftcam.engines.doctor.selftest import try_backends

        findings += try_backends()
    print(json.dumps([finding.to_dict() for finding in findings]))


if __name__ == "__main__":
    main()
