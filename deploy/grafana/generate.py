"""Write Grafana's files. With ``--check``, write nothing and fail if a file is out of date.

python deploy/grafana/generate.py [--check]
"""

import json
import sys
from pathlib import Path
from typing import Any

from dashboards import dashboards

HERE = Path(__file__).parent
PROVISIONING = {
    "provisioning/datasources/veneer.yaml": """\
apiVersion: 1
datasources:
  - name: Prometheus
    uid: prometheus
    type: prometheus
    access: proxy
    url: http://prometheus:9090
    isDefault: true
    jsonData: {timeInterval: 15s}
""",
    "provisioning/dashboards/veneer.yaml": """\
apiVersion: 1
providers:
  - name: Veneer
    folder: Veneer
    type: file
    options: {path: /var/lib/grafana/dashboards}
""",
}


def to_text(dashboard: dict[str, Any]) -> str:
    """Return a dashboard as JSON with one line for each panel, so that a diff is readable."""
    lines = []
    for key, value in dashboard.items():
        if key == "panels":
            inner = ",\n    ".join(json.dumps(panel) for panel in value)
            lines.append(f'  "panels": [\n    {inner}\n  ]')
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def files() -> dict[str, str]:
    """Return the content of every file, by its path below this folder."""
    made = {f"dashboards/{name}.json": to_text(found) for name, found in dashboards().items()}
    return made | PROVISIONING


def main() -> None:
    """Write the files, or check them."""
    stale = []
    for name, text in files().items():
        path = HERE / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"These files are out of date: {', '.join(stale)}. Run 'make dashboards'.")


if __name__ == "__main__":
    main()
