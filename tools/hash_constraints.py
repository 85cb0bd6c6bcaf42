"""Write constraints-hashes.txt: every package that `facerestore[all]` needs, with the SHA-256 of its file.

    pip install --dry-run --ignore-installed --quiet --report report.json -c constraints.txt ".[all]"
    python tools/hash_constraints.py report.json > constraints-hashes.txt

pip's report holds the hashes that the package index states. They are those of one platform and Python, which the first
lines of the file name.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

OWN = "facerestore"


def pinned(report: dict[str, Any]) -> str:
    """The content of the file, from pip's installation report.

    Raises:
        ValueError: a package comes from elsewhere than the public index, or without a SHA-256.
    """
    rows = []
    for one in report["install"]:
        name, version = one["metadata"]["name"], one["metadata"]["version"]
        if name == OWN:
            continue
        where = one["download_info"]
        digest = where.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not where["url"].startswith("https://files.pythonhosted.org/"):
            raise ValueError(f"{name} {version}: has no SHA-256 of the public index ({where['url']})")
        rows.append(f"{name.lower().replace('_', '-')}=={version} --hash=sha256:{digest}")
    of = report["environment"]
    platform = f"{of['platform_system']} {of['platform_machine']}, {of['implementation_name']} {of['python_version']}"
    return "\n".join(
        [
            f"# For {platform} only; made by tools/hash_constraints.py from constraints.txt.",
            "# pip install --require-hashes -r constraints-hashes.txt",
            "# pip install --no-deps --no-build-isolation .",
            *sorted(rows),
            "",
        ]
    )


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(pinned(json.load(file)))
