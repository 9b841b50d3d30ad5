#!/usr/bin/python3
"""Reads the dashboard and the alert rules: PromQL that parses, panels that do not overlap, and no metric that nobody writes.

That the binary writes them is held by an end-to-end test, which scrapes it; here each name has to stand in the source at least."""

import glob
import json
import re
import subprocess
import sys
import tempfile

import yaml

faults = []
exprs = []
with open("config/grafana/provisioning/datasources/prometheus.yml", encoding="utf-8") as file:
    sources = {source["uid"] for source in yaml.safe_load(file)["datasources"]}
for path in glob.glob("config/grafana/dashboards/*.json"):
    with open(path, encoding="utf-8") as file:
        board = json.load(file)
    taken = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if x >= 24 or taken.setdefault((x, y), panel["id"]) != panel["id"]:
                    faults.append(f"{path}: {panel['title']} lies on another panel or over the edge")
                    break
        for target in panel["targets"]:
            exprs.append(target["expr"])
            if target["datasource"]["uid"] not in sources:
                faults.append(f"{path}: {panel['title']} asks a source that is not provisioned")
    if len({panel["id"] for panel in board["panels"]}) != len(board["panels"]):
        faults.append(f"{path}: an id is there twice")
    exprs += [note["expr"] for note in board["annotations"]["list"]]
with open("config/alerts.yml", encoding="utf-8") as file:
    exprs += [rule["expr"] for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
# As rules promtool reads them; Grafana's variables are regular expressions in them.
rules = [{"record": f"check:{n}", "expr": re.sub(r"\$\w+", ".*", expr)} for n, expr in enumerate(exprs)]
with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
    yaml.safe_dump({"groups": [{"name": "check", "rules": rules}]}, file)
    file.flush()
    checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
if checked.returncode != 0:
    faults.append(checked.stdout + checked.stderr)
written = ""
for path in glob.glob("src/app/*.rs") + glob.glob("src/app/**/*.rs") + ["src/metrics.rs"]:
    with open(path, encoding="utf-8") as file:
        written += file.read()
for name in sorted(set(re.findall(r"\bvedette_\w+", " ".join(exprs)))):
    if f'"{re.sub("_(bucket|count|sum)$", "", name)}"' not in written:
        faults.append(f"nobody writes {name}")
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(bool(faults))
