"""Print the first ```bash block of one section of the README."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def bash_block(text: str, heading: str) -> str:
    """The first ```bash block under `heading`, before the next heading of its level.

    Args:
        text: Markdown.
        heading: the whole line, such as "## Set up".

    Raises:
        ValueError: the text has no such heading, several, or no ```bash block under it.
    """
    level = heading.split(" ", 1)[0]
    sections = re.split(rf"^{re.escape(heading)}[ \t]*\n", text, flags=re.MULTILINE)
    if len(sections) != 2:
        raise ValueError(f"the README has {len(sections) - 1} headings {heading!r}, where one is expected")
    section = re.split(rf"^{level} ", sections[1], maxsplit=1, flags=re.MULTILINE)[0]
    block = re.search(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        raise ValueError(f"the README's section {heading!r} has no ```bash block")
    return block.group(1)


if __name__ == "__main__":
    readme = Path(__file__).resolve().parents[1] / "README.md"
    try:
        sys.stdout.write(bash_block(readme.read_text("utf-8"), sys.argv[1]))
    except ValueError as error:
        sys.exit(f".ci/readme_block.py: {error}")
