"""Print the results of `evaluate --results FILE` as a Markdown table, one line per architecture."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path


def architecture(name: str) -> str:
    """The architecture of a class: its name without the framework and the head."""
    return re.sub(
        r"^Flax|(?:For[A-Z]\w*|LMHead|Encoder|Text|Vision|ImageModel)?(?:Model|Module)$|For[A-Z]\w*$",
        "",
        name,
    )


def main(path: str) -> None:
    results = json.loads(Path(path).read_text())
    titles = list(results)
    rows: dict[str, dict[str, Counter[str]]] = {}
    models: Counter[str] = Counter(architecture(name) for name in results[titles[0]])
    for title in titles:
        for name, counts in results[title].items():
            rows.setdefault(architecture(name), {}).setdefault(title, Counter()).update(counts)
    print(f"| architecture | models | {' | '.join(titles)} |")
    print("| --- " * (len(titles) + 2) + "|")
    for name, found in rows.items():
        cells = [
            f"{c['exact']} / {c['open']} / {c['wrong'] + c['extra']}" for c in (found[t] for t in titles)
        ]
        print(f"| {name} | {models[name]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1])
