"""Look up the versions of constraints.txt among known vulnerabilities; fails where that cannot be done.

Run as: python scripts/audit.py. Needs pip-audit (group audit) and a network that reaches its advisories. What could not
be looked up counts as a failure: an audit that saw nothing must not pass.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip",
           "--progress-spinner", "off", "--format", "json"]  # fmt: skip


def lines(told: dict) -> list[str]:
    """What is wrong, in a line each; empty if every package was looked up and none is vulnerable."""
    packages = told["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in packages
        for hole in one.get("vulns", [])
    ]
    if skipped or not packages:
        found.append(
            f"{len(skipped)} of {len(packages)} packages could not be looked up ({', '.join(skipped[:3])} ...): no "
            "advisories were reached. Nothing is known about them; try again with a network that reaches them."
        )
    return found


def main() -> int:
    """Run the audit and say what it found."""
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stderr.write(f"Nothing was audited: {reason}\npip-audit and a network are needed.\n")
        return 1
    wrong = lines(told)
    sys.stderr.write("".join(f"{line}\n" for line in wrong))
    if not wrong:
        sys.stdout.write(f"Audit: {len(told['dependencies'])} packages, no known vulnerability\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
